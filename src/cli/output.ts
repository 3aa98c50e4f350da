/**
 * How commands speak: what was asked for on stdout, as a table, as one JSON document or as YAML; everything else on
 * stderr. Colour only on a terminal and never with NO_COLOR. Every cell passes through `printable`.
 */
import { writeSync } from 'node:fs';
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { GodwitError, messageOf, printable } from '../base/mod.ts';

export const outputFormats = ['table', 'json', 'yaml'] as const;
export type OutputFormat = (typeof outputFormats)[number];

/** Adds `-o/--output table|json|yaml` and `--json`; read them with `outputFormat`. */
export function withOutput(command: Command): Command {
  return command
    .addOption(new Option('-o, --output <format>', 'how to print').choices(outputFormats).default('table'))
    .option('--json', 'the same as -o json');
}

export interface OutputOptions {
  readonly output?: OutputFormat;
  readonly json?: boolean;
}

export const outputFormat = (options: OutputOptions): OutputFormat =>
  options.json === true ? 'json' : (options.output ?? 'table');

/**
 * One line on stderr, for everything that is not the result. (The runtime's console.error paints what it writes red on a
 * terminal, which progress is not.)
 */
export function say(line: string): void {
  const bytes = new TextEncoder().encode(`${line}\n`);
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(process.stderr.fd, bytes, at);
  } catch {
    // nobody reads it, or not fast enough; the work goes on
  }
}

/** Writes all of it to stdout before it resolves, also to a slow pipe. */
export async function print(text: string): Promise<void> {
  await Bun.write(Bun.stdout, text.endsWith('\n') ? text : `${text}\n`);
}

/** Prints `value` as asked for; `text` makes the form for people and is called only then. */
export async function show(options: OutputOptions, value: unknown, text: () => string): Promise<void> {
  const format = outputFormat(options);
  if (format === 'json') return print(JSON.stringify(value, undefined, 2));
  if (format === 'yaml') return print((await import('yaml')).stringify(value, { lineWidth: 0 }));
  return print(text());
}

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 } as const;
export type Style = keyof typeof codes;

/** https://no-color.org: any non-empty NO_COLOR turns colour off, whatever else is set. */
export function hasColor(stream: { isTTY?: boolean }, environment = process.env): boolean {
  return !environment['NO_COLOR'] && environment['TERM'] !== 'dumb' && stream.isTTY === true;
}

/** A function that wraps text in a style, or leaves it alone where `stream` shows no colour. */
export function painter(stream: { isTTY?: boolean } = process.stdout): (style: Style, text: string) => string {
  const on = hasColor(stream);
  return (style, text) => (on && text !== '' ? `\x1b[${codes[style]}m${text}\x1b[0m` : text);
}

export interface Cell {
  readonly text: string;
  readonly style?: Style;
}
export type Row = readonly (string | Cell)[];

/** Aligned columns, two spaces apart, headings first; no line ends in blanks. */
export function table(headings: readonly string[], rows: readonly Row[], paint = painter()): string {
  const cells = rows.map((row) =>
    row.map((cell): Cell => {
      const { text, ...style } = typeof cell === 'string' ? { text: cell } : cell;
      return { text: printable(text, 500), ...style };
    }),
  );
  const head = headings.map((text): Cell => ({ text, style: 'bold' }));
  const all = headings.length > 0 ? [head, ...cells] : cells;
  const widths: number[] = [];
  for (const row of all) {
    row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, Bun.stringWidth(cell.text))));
  }
  return all.map((row) => layOut(row, widths, paint)).join('\n');
}

function layOut(row: readonly Cell[], widths: readonly number[], paint: ReturnType<typeof painter>): string {
  let line = '';
  let gap = '';
  row.forEach((cell, i) => {
    if (cell.text === '' && i === row.length - 1) return;
    line += gap + (cell.style === undefined ? cell.text : paint(cell.style, cell.text));
    gap = ' '.repeat(widths[i]! - Bun.stringWidth(cell.text) + 2);
  });
  return line.trimEnd();
}

/** Columns of the terminal behind stdout; without one, as wide as anything. */
export const terminalWidth = (): number => (process.stdout.isTTY ? process.stdout.columns || 80 : Infinity);

/** For option values: a whole number in a range, or commander's message about it. */
export function integerBetween(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
    if (value >= low && value <= high) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${low} to ${high}.`);
  };
}

/** Says on stderr what went wrong, as a person wants to read it; the stack only when GODWIT_DEBUG asks for it. */
export function tellError(error: unknown): void {
  say(`godwit: ${printableLines(messageOf(error))}`);
  if (error instanceof GodwitError) {
    if (error.hint !== '') say(`  ${printableLines(error.hint)}`);
  } else {
    if (refusedToUser(error)) say('  Run it as root, or give it a place of your own: --help names the options.');
    if (process.env['GODWIT_DEBUG'] && error instanceof Error) say(error.stack ?? '');
  }
}

/** A file or directory that only root may have, asked for by somebody else. */
const refusedToUser = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'EACCES' && process.getuid?.() !== 0;

/** A message of several lines keeps them; no other control character reaches the terminal. */
const printableLines = (text: string): string =>
  text
    .split('\n')
    .map((line) => printable(line, 2000))
    .join('\n');
