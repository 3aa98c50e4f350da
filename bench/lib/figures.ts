export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** One line: the median in ms, and the median of the ratios to a peer, pair by pair. */
export function ratioLine(name: string, ours: readonly number[], peer: readonly number[]): string {
  const ratios = ours.map((value, i) => value / peer[i]!);
  return `${name.padEnd(25)} ${median(ours).toFixed(0)} ms, ${median(ratios).toFixed(2)} × the peer`;
}
