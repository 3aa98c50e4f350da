/** Durations as Go writes them: `2m0s`, `1h0m0s`, `1.5s`, `300ms`. */

const units: Readonly<Record<string, number>> = { ns: 1e-9, us: 1e-6, µs: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 };

/** Seconds; undefined when `text` is no duration. `0` needs no unit. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  const part = /(\d{1,15}(?:\.\d{0,9})?)(ns|us|µs|ms|s|m|h)/y;
  let seconds = 0;
  while (part.lastIndex < text.length) {
    const match = part.exec(text);
    if (!match) return undefined;
    seconds += Number(match[1]) * units[match[2]!]!;
  }
  return text === '' ? undefined : seconds;
}

export function formatDuration(seconds: number): string {
  if (seconds === 0) return '0s';
  const nanoseconds = Math.round(seconds * 1e9);
  if (nanoseconds < 1e3) return `${nanoseconds}ns`;
  if (nanoseconds < 1e6) return `${nanoseconds / 1e3}µs`;
  if (nanoseconds < 1e9) return `${nanoseconds / 1e6}ms`;
  const minutes = Math.floor(nanoseconds / 60e9);
  const rest = `${(nanoseconds - minutes * 60e9) / 1e9}s`;
  if (minutes === 0) return rest;
  const hours = Math.floor(minutes / 60);
  return hours === 0 ? `${minutes}m${rest}` : `${hours}h${minutes % 60}m${rest}`;
}
