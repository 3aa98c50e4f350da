/** Runs a scenario of Calico's with its drill; everything in it has to be right. */
import { expect } from 'bun:test';
import { leftovers, runCommand } from './lab.ts';
import type { TestLabs } from './lab.ts';

export interface Report {
  readonly ok: boolean;
  readonly nodes: { name: string; routes: { line: string; expected: boolean }[] }[];
  readonly pods: { name: string; addresses: string[] }[];
  readonly reachability: { passed: number; total: number };
  readonly problems: string[];
  readonly drill: {
    ok: boolean;
    sent: number;
    lost: number;
    steps: { step: string; problems: string[]; traffic: { address: string }[] }[];
  };
}

export async function runCalico(labs: TestLabs, short: string, scenario: string): Promise<Report> {
  const name = labs.name(short);
  const { stdout, stderr } = await runCommand('lab', 'run', scenario, '--name', name, '--check', '--json');
  const report = JSON.parse(stdout) as Report;
  expect(report.problems, stderr).toEqual([]);
  expect(report.drill.steps.flatMap(({ step, problems }) => problems.map((p) => `${step}: ${p}`))).toEqual([]);
  expect(report.ok).toBe(true);
  expect(leftovers(name)).toEqual([]);
  return report;
}
