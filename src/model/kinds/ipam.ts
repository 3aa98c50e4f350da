/** Addresses that are never given to anyone, and how blocks are shared out. */
import { z } from 'zod';
import * as f from '../fields.ts';
import { defineKind } from '../kind.ts';
import type { Problem } from '../kind.ts';

const reservation = f.section({
  reservedCIDRs: f.withDefault(f.list(f.interfaceAddress(), 'IP prefixes or addresses'), []),
});
export type IpReservationSpec = z.output<typeof reservation>;

export const ipReservation = defineKind<'IPReservation', IpReservationSpec>({
  kind: 'IPReservation',
  plural: 'ipreservations',
  shortNames: ['reservation', 'reservations'],
  namespaced: false,
  spec: reservation,
  columns: [{ heading: 'NAME', cell: (reservation) => reservation.name }],
  wide: [
    { heading: 'NAME', cell: (reservation) => reservation.name },
    {
      heading: 'CIDRS',
      cell: ({ spec }) => spec.reservedCIDRs.map((cidr) => `${cidr.address}/${cidr.prefixLength}`).join(','),
    },
  ],
});

const configuration = f.section({
  strictAffinity: f.withDefault(f.explicit(f.flag), false),
  maxBlocksPerHost: f.withDefault(f.integer(0, 2 ** 31 - 1), 0),
  autoAllocateBlocks: f.withDefault(f.explicit(f.flag), true),
  kubeVirtVMAddressPersistence: f.optional(f.choice('Enabled', 'Disabled')),
  ipCooldownSeconds: f.withDefault(f.integer(0, 1200), 0),
});
export type IpamConfigurationSpec = z.output<typeof configuration>;

/** Rules between the settings; `godwit ipam configure` checks them as well. */
export function checkIpamConfiguration(config: IpamConfigurationSpec, name = 'default'): Problem[] {
  const problems: Problem[] = [];
  if (name !== 'default') problems.push({ path: 'metadata.name', message: `${name} is not; allowed: default` });
  if (!config.strictAffinity && !config.autoAllocateBlocks)
    problems.push({
      path: 'spec.autoAllocateBlocks',
      message: 'false needs strictAffinity true: else no address could be given',
    });
  if (config.maxBlocksPerHost > 0 && !config.strictAffinity)
    problems.push({
      path: 'spec.maxBlocksPerHost',
      message: `${config.maxBlocksPerHost} needs strictAffinity true; allowed: 0`,
    });
  return problems;
}

export const ipamConfiguration = defineKind<'IPAMConfiguration', IpamConfigurationSpec>({
  kind: 'IPAMConfiguration',
  plural: 'ipamconfigurations',
  shortNames: ['ipamconfig', 'ipamconfigs'],
  namespaced: false,
  spec: configuration,
  columns: [
    { heading: 'NAME', cell: (config) => config.name },
    { heading: 'STRICTAFFINITY', cell: (config) => String(config.spec.strictAffinity) },
    { heading: 'AUTOALLOCATEBLOCKS', cell: (config) => String(config.spec.autoAllocateBlocks) },
  ],
  wide: [
    { heading: 'NAME', cell: (config) => config.name },
    { heading: 'STRICTAFFINITY', cell: (config) => String(config.spec.strictAffinity) },
    { heading: 'AUTOALLOCATEBLOCKS', cell: (config) => String(config.spec.autoAllocateBlocks) },
    { heading: 'MAXBLOCKSPERHOST', cell: (config) => String(config.spec.maxBlocksPerHost) },
  ],
  check: checkIpamConfiguration,
});
