/** Labels or annotations of a Node that take it out of service by hand; any value but `false`. */
export const CORDON_MARK = 'godwit.io/cordoned';
export const DRAIN_MARK = 'godwit.io/drain';

/** Whether a Node carries the mark, as a label or an annotation. */
export const isMarked = (mark: string, ...maps: readonly Readonly<Record<string, string>>[]): boolean =>
  maps.some((map) => map[mark] !== undefined && map[mark] !== 'false');
