/**
 * The program of the small executable: what the variables and standard input hold goes to the agent, what the agent
 * answers goes to standard output. It judges nothing and knows no JSON. Whenever something is not as usual (no agent, an
 * agent that listens elsewhere, a configuration too large, no CNI_COMMAND) it becomes the complete program by execve(2),
 * with the same variables and with a standard input that holds what was read of it: so every rule exists once.
 */
import { Constants, elfFile, MEMORY_ADDRESS } from './elf.ts';
import * as exchange from './exchange.ts';
import type { Machine, Register } from './machine.ts';

export interface Program {
  /** The agent's socket. */
  readonly socket: string;
  /** Command of the complete program: absolute path, and arguments that come before all others. */
  readonly complete: readonly string[];
  /** What is printed when the complete program cannot be started, either. */
  readonly lastWords: string;
}

const [STDIN, STDOUT] = [0, 1];
const [AF_UNIX, SOCK_STREAM, SOCK_CLOEXEC, SOL_SOCKET] = [1, 1, 0o2000000, 1];
const [SO_RCVTIMEO, SO_SNDTIMEO, MSG_NOSIGNAL, MFD_CLOEXEC] = [20, 21, 0x4000, 1];
const [EINTR, EAGAIN] = [4, 11];
const SOCKET_PATH_BYTES = 108;

/** Four letters as the number a load of them gives. */
const letters = (text: string): number => Buffer.from(text, 'latin1').readInt32LE();

/** The writable memory: the request as it is sent, the answer, and the arguments of the complete program. */
const REQUEST = MEMORY_ADDRESS;
const VARIABLES = REQUEST + exchange.REQUEST_HEADER;
const VARIABLES_END = VARIABLES + exchange.MAX_VARIABLES;
const ANSWER = VARIABLES_END + exchange.MAX_INPUT + 16;
const ANSWER_END = ANSWER + exchange.MAX_ANSWER;
const ENVIRONMENT = ANSWER_END;
const ARGUMENTS = ENVIRONMENT + 8;
/** Also room for arguments of its own: called by hand, it is the complete program. */
const MAX_ARGUMENTS = 4096;
const MEMORY_END = ARGUMENTS + 8 * MAX_ARGUMENTS;

/** The executable file for a processor. */
export function assemble(machine: Machine, program: Program): Uint8Array {
  const constants = new Constants();
  const path = new TextEncoder().encode(program.socket);
  if (path.length >= SOCKET_PATH_BYTES) throw new Error(`${program.socket} is too long for a socket`);
  const address = new Uint8Array(2 + SOCKET_PATH_BYTES);
  address[0] = AF_UNIX;
  address.set(path, 2);

  const writer = new ProgramWriter(machine, constants);
  writer.collectVariables();
  writer.readInput();
  writer.send(constants.add(address), address.length);
  writer.receive();
  writer.print();
  writer.handOver(program);
  return elfFile(machine.elfMachine, constants, machine.finish(), MEMORY_END - MEMORY_ADDRESS);
}

/** The parts of the program, in the order in which they run. `stack` is kept through all of them. */
class ProgramWriter {
  private readonly m: Machine;
  private readonly constants: Constants;
  private readonly stack: Register = 'r1';

  constructor(machine: Machine, constants: Constants) {
    this.m = machine;
    this.constants = constants;
  }

  /** Copies every variable that begins with `CNI_`. Leaves in r2 where the last one ends. */
  collectVariables(): void {
    const { m, stack } = this;
    const [isAsked, at, entry, text, byte] = ['r0', 'r2', 'r3', 'r4', 'r5'] as const;
    m.stackPointer(stack);
    // argc, that many arguments, a zero, the environment
    m.load(8, entry, stack, 0);
    for (let doubled = 1; doubled < 8; doubled *= 2) m.add(entry, entry);
    m.add(entry, stack);
    m.add(entry, 16);
    m.set(at, ENVIRONMENT);
    m.store(8, entry, at, 0);
    m.set(at, VARIABLES);
    m.set(isAsked, 0);

    m.label('next variable');
    m.load(8, text, entry, 0);
    m.jumpIf(text, 'eq', 0, 'variables done');
    m.add(entry, 8);
    // strings lie one after another, and more than seven bytes follow the last
    m.load(4, byte, text, 0);
    m.jumpIf(byte, 'ne', letters('CNI_'), 'next variable');
    m.load(4, byte, text, 4);
    m.jumpIf(byte, 'ne', letters('COMM'), 'copy');
    m.set(isAsked, 1);
    m.label('copy');
    m.jumpIf(at, 'ge', VARIABLES_END, 'become complete');
    m.load(1, byte, text, 0);
    m.store(1, byte, at, 0);
    m.add(text, 1);
    m.add(at, 1);
    m.jumpIf(byte, 'ne', 0, 'copy');
    m.jump('next variable');

    m.label('variables done');
    m.jumpIf(isAsked, 'eq', 0, 'become complete');
  }

  /** Reads standard input to where r2 points; leaves in r2 where it ends, and writes the request's header. */
  readInput(): void {
    const { m } = this;
    const [at, number, header, room] = ['r2', 'r3', 'r4', 'r5'] as const;
    m.set(header, REQUEST);
    for (let i = 0; i < exchange.MAGIC.length; i += 4) {
      m.set(number, letters(String.fromCharCode(...exchange.MAGIC.subarray(i, i + 4))));
      m.store(4, number, header, i);
    }
    m.set(number, at);
    m.add(number, -VARIABLES);
    m.store(4, number, header, exchange.MAGIC.length);

    m.set(room, exchange.MAX_INPUT + 1);
    m.label('read');
    m.call('read', STDIN, at, room);
    m.jumpIf('r0', 'lt', 0, 'become complete');
    m.add(at, 'r0');
    m.subtract(room, 'r0');
    m.set(number, exchange.MAX_INPUT + 1);
    m.subtract(number, room);
    m.store(4, number, header, exchange.MAGIC.length + 4);
    m.jumpIf(room, 'eq', 0, 'give back');
    m.jumpIf('r0', 'ne', 0, 'read');
  }

  /** Sends the request, which ends at r2; leaves the connection in r3. */
  send(address: number, addressLength: number): void {
    const { m, constants } = this;
    const [end, connection, at, left] = ['r2', 'r3', 'r4', 'r5'] as const;
    const timeout = constants.addWords(exchange.ANSWER_TIMEOUT_SECONDS, 0);
    m.call('socket', AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    m.jumpIf('r0', 'lt', 0, 'give back');
    m.set(connection, 'r0');
    // also for connect(2), which waits while the agent's backlog is full
    for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) {
      m.call('setsockopt', connection, SOL_SOCKET, option, timeout, 16);
    }
    m.call('connect', connection, address, addressLength);
    m.jumpIf('r0', 'lt', 0, 'give back');

    m.set(at, REQUEST);
    m.set(left, end);
    m.subtract(left, at);
    m.label('send');
    m.call('sendto', connection, at, left, MSG_NOSIGNAL, 0, 0);
    this.judge('send');
    m.add(at, 'r0');
    m.subtract(left, 'r0');
    m.jumpIf(left, 'gt', 0, 'send');
  }

  /** Receives until the answer is whole; leaves the length of its text in r4. */
  receive(): void {
    const { m } = this;
    const [at, connection, length, left] = ['r2', 'r3', 'r4', 'r5'] as const;
    m.set(at, ANSWER);
    m.label('receive');
    m.set(left, ANSWER_END);
    m.subtract(left, at);
    m.call('recvfrom', connection, at, left, 0, 0, 0);
    this.judge('receive');
    m.jumpIf('r0', 'eq', 0, 'give back');
    m.add(at, 'r0');
    m.set(left, at);
    m.add(left, -(ANSWER + exchange.ANSWER_HEADER));
    m.jumpIf(left, 'lt', 0, 'receive');
    m.set(length, ANSWER);
    m.load(4, length, length, 4);
    m.jumpIf(left, 'lt', length, 'receive');
  }

  /** Prints r4 bytes of the answer and ends. */
  print(): void {
    const { m } = this;
    const [at, left] = ['r2', 'r4'] as const;
    m.set(at, ANSWER + exchange.ANSWER_HEADER);
    m.label('print');
    m.jumpIf(left, 'le', 0, 'printed');
    m.call('write', STDOUT, at, left);
    m.jumpIf('r0', 'eq', -EINTR, 'print');
    m.jumpIf('r0', 'lt', 0, 'fail');
    m.add(at, 'r0');
    m.subtract(left, 'r0');
    m.jump('print');
    m.label('printed');
    m.set(at, ANSWER);
    m.load(4, at, at, 0);
    m.call('exit_group', at);
  }

  /** Becomes the complete program: with what was read as its standard input, and with the reason as its argument. */
  handOver(program: Program): void {
    const { m, constants, stack } = this;
    const [at, left, file, temporary] = ['r2', 'r4', 'r3', 'r5'] as const;
    m.label('no answer');
    // as if it had been started with that argument
    m.set(stack, constants.addWords(2, 0, constants.addText(exchange.NO_ANSWER), 0));

    m.label('give back');
    m.call('memfd_create', constants.addText('stdin'), MFD_CLOEXEC);
    m.jumpIf('r0', 'lt', 0, 'fail');
    m.set(file, 'r0');
    m.set(temporary, REQUEST);
    m.load(4, at, temporary, exchange.MAGIC.length);
    m.load(4, left, temporary, exchange.MAGIC.length + 4);
    m.add(at, VARIABLES);
    m.label('copy input');
    m.jumpIf(left, 'le', 0, 'rewind');
    m.call('write', file, at, left);
    m.jumpIf('r0', 'le', 0, 'fail');
    m.add(at, 'r0');
    m.subtract(left, 'r0');
    m.jump('copy input');
    m.label('rewind');
    m.call('lseek', file, 0, 0);
    m.call('dup3', file, STDIN, 0);

    m.label('become complete');
    const words = program.complete.map((word) => constants.addText(word));
    m.set(at, ARGUMENTS);
    for (const [i, word] of words.entries()) {
      m.set(temporary, word);
      m.store(8, temporary, at, 8 * i);
    }
    m.add(at, 8 * words.length);
    m.set(left, stack);
    m.add(left, 16);
    m.label('next argument');
    m.jumpIf(at, 'ge', MEMORY_END, 'fail');
    m.load(8, temporary, left, 0);
    m.store(8, temporary, at, 0);
    m.add(left, 8);
    m.add(at, 8);
    m.jumpIf(temporary, 'ne', 0, 'next argument');
    m.set(temporary, ENVIRONMENT);
    m.load(8, temporary, temporary, 0);
    m.call('execve', words[0]!, ARGUMENTS, temporary);

    m.label('fail');
    const last = new TextEncoder().encode(program.lastWords);
    m.call('write', STDOUT, constants.add(last), last.length);
    m.call('exit_group', 1);
  }

  /** After a call on the socket: again when it was interrupted, elsewhere when it failed. */
  private judge(again: string): void {
    const { m } = this;
    m.jumpIf('r0', 'eq', -EINTR, again);
    m.jumpIf('r0', 'eq', -EAGAIN, 'no answer');
    m.jumpIf('r0', 'lt', 0, 'give back');
  }
}
