/** Where ownership is read. */
export { CalicoSource } from './calico.ts';
export { FlannelSource } from './flannel.ts';
export { KubernetesSource } from './kubernetes.ts';
export type { Source } from './source.ts';
export { StatusSource } from './status.ts';
