/**
 * `godwit completion`: what a shell needs to complete commands, options, their values and kinds of resources. The script
 * is made of the commands themselves and asks the program nothing when it is used.
 */
import type { Command } from 'commander';
import { kindNames, kinds } from '../model/mod.ts';

export type Shell = 'bash' | 'zsh';

/** Commands whose first argument is a kind of resource. */
const aboutKinds = new Set(['get', 'delete', 'patch', 'explain']);

/** By path of commands (`ipam show`): what may come next; by path and option: what may follow that. */
function collect(command: Command, path: string, words: Map<string, string[]>, values: Map<string, string[]>): void {
  const { commands, options } = command;
  const shown = options.filter(({ hidden }) => !hidden);
  words.set(path, [
    ...commands.map((sub) => sub.name()),
    ...shown.flatMap(({ short, long }) => [short, long].filter((flag) => flag !== undefined && flag !== null)),
    '--help',
    ...(aboutKinds.has(path) ? kindNames.map((kind) => kinds[kind].plural) : []),
  ]);
  for (const { short, long, argChoices = [], required, optional } of shown) {
    if (!required && !optional) continue;
    // an empty list stands for a file, which is what a shell offers of its own accord
    for (const flag of [short, long]) if (flag) values.set(`${path} ${flag}`, argChoices);
  }
  for (const sub of commands) collect(sub, `${path} ${sub.name()}`.trim(), words, values);
}

const entries = (map: ReadonlyMap<string, readonly string[]>): string =>
  [...map].map(([key, list]) => `  ["${key}"]="${list.join(' ')}"`).join('\n');

/** All groups must be loaded into `program`. */
export function completionScript(program: Command, shell: Shell): string {
  const words = new Map<string, string[]>();
  const values = new Map<string, string[]>();
  collect(program, '', words, values);
  // an associative array has no empty key in bash
  const named = new Map([...words].map(([path, list]) => [path === '' ? '-' : path, list]));
  const trimmed = new Map([...values].map(([key, list]) => [key.trim(), list]));
  return `# ${shell} completion: source <(godwit completion ${shell})
${shell === 'zsh' ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''}declare -gA _godwit_words=(
${entries(named)}
)
declare -gA _godwit_values=(
${entries(trimmed)}
)
_godwit() {
  local word path="" current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    [[ -n "\${_godwit_words[\${path:+$path }$word]}" ]] && path="\${path:+$path }$word"
  done
  local option="\${path:+$path }$before"
  if [[ "$before" == -* && -n "\${_godwit_values[$option]+there}" ]]; then
    if [[ -n "\${_godwit_values[$option]}" ]]; then
      COMPREPLY=($(compgen -W "\${_godwit_values[$option]}" -- "$current"))
    else
      COMPREPLY=($(compgen -f -- "$current"))
    fi
    return
  fi
  COMPREPLY=($(compgen -W "\${_godwit_words[\${path:--}]}" -- "$current"))
}
complete -o default -F _godwit godwit
`;
}
