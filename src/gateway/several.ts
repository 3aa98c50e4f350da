/** Which texts belong to a key: nearly always one, which then has no list of its own. */
import { TextMap } from '../base/mod.ts';

const nobody: readonly string[] = [];

export class Several<K extends string> {
  private readonly lists = new TextMap<K, string | readonly string[]>();

  /** Sorted: every announcer has them in one order, whatever came first. */
  of(key: K): readonly string[] {
    const list = this.lists.get(key);
    return list === undefined ? nobody : typeof list === 'string' ? [list] : list;
  }

  keys(): Iterable<K> {
    return this.lists.keys();
  }

  /** False when it was there already. */
  add(key: K, text: string): boolean {
    const list = this.of(key);
    if (list.includes(text)) return false;
    this.lists.set(key, list.length === 0 ? text : [...list, text].sort());
    return true;
  }

  /** False when it was not there. */
  remove(key: K, text: string): boolean {
    const list = this.of(key);
    if (!list.includes(text)) return false;
    const rest = list.filter((other) => other !== text);
    if (rest.length === 0) this.lists.delete(key);
    else this.lists.set(key, rest.length === 1 ? rest[0]! : rest);
    return true;
  }
}
