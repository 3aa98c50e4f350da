/** eBPF without a compiler or libbpf: an assembler, and bpf(2) for maps and programs. */
export * from './assembler.ts';
export { BpfMap, loadClassifier, mapsOfProgram } from './objects.ts';
export * from './tcx.ts';
