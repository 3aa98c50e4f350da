/**
 * The small executable that container runtimes start as the CNI plugin. The complete program is 100 MiB, and its start
 * costs more than all the rest of an ADD; what the plugin has to do is one exchange over a unix socket. So Godwit writes,
 * for the processor it runs on, an executable of one or two kilobytes that does just that, and becomes the complete
 * program where that is not enough. Pure, but for `installPlugin`.
 */
import { mkdirSync } from 'node:fs';
import { replaceFile } from '../base/mod.ts';
import { Arm64Machine } from './arm64.ts';
import type { Machine } from './machine.ts';
import { assemble } from './program.ts';
import type { Program } from './program.ts';
import { X86Machine } from './x86-64.ts';

export { ANSWER_TIMEOUT_SECONDS, decodePlain, encodePlainAnswer, isPlain, NO_ANSWER } from './exchange.ts';
export type { PlainRequest } from './exchange.ts';
export type { Program } from './program.ts';

const machines: Readonly<Record<string, () => Machine>> = {
  x64: () => new X86Machine(),
  arm64: () => new Arm64Machine(),
};

/** The executable, for a processor as `process.arch` names it; undefined for one that is not known. */
export function pluginFile(program: Program, architecture: string = process.arch): Uint8Array | undefined {
  const machine = machines[architecture]?.();
  return machine && assemble(machine, program);
}

/** For processors without a machine: the same by way of a shell. */
function script({ complete }: Program): Uint8Array {
  const words = complete.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  return new TextEncoder().encode(`#!/bin/sh\nexec ${words} "$@"\n`);
}

/** Puts the plugin at `path`, in one step: a runtime may start it at any time. Throws what the file system says. */
export function installPlugin(path: string, program: Program): void {
  const directory = path.slice(0, path.lastIndexOf('/')) || '/';
  mkdirSync(directory, { recursive: true });
  // runtimes list the directory
  const temporary = `${directory}/.godwit-${process.pid}`;
  replaceFile(path, pluginFile(program) ?? script(program), { mode: 0o755, temporary, outlives: 'kill' });
}
