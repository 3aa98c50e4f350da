/** nf_tables of one network namespace over netlink: transactions run whole, tables read back, changes told. */
import type { Reader } from '../base/mod.ts';
import {
  Batch,
  forEachAttribute,
  forEachMessage,
  listenNetlink,
  NETLINK,
  NetlinkSocket,
  NLM_F,
  readString,
} from '../netlink/mod.ts';
import { addressFromBytes, compareAddresses } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import {
  NF_INET_HOOK,
  NFNL,
  NFPROTO,
  NFT_KEY_TYPE,
  NFT_MSG,
  NFTA_CHAIN,
  NFTA_DATA,
  NFTA_GEN_PROC_PID,
  NFTA_HOOK,
  NFTA_LIST_ELEM,
  NFTA_RULE,
  NFTA_SET,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST,
  NFTA_TABLE,
} from './codes.ts';
import { encodeElements, encodeStatement } from './encode.ts';
import { ruleComment } from './table.ts';
import type { AddressSet, BaseChain, ChainState, Hook, NftFamily, SetState, TableName, TableState } from './table.ts';
import { formatOperation } from './transaction.ts';
import type { Operation, Transaction } from './transaction.ts';

/** A base chain of whoever: who else has a say about packets. */
export interface ForeignChain {
  readonly table: TableName;
  readonly chain: string;
  readonly base: BaseChain;
}

export interface Nftables extends Disposable {
  /** The table as it is, or undefined when there is none; throws KernelError when the kernel has no nf_tables. */
  read(name: TableName): TableState | undefined;
  /** All base chains there are. */
  baseChains(): readonly ForeignChain[];
  /** Runs all of it or nothing; throws KernelError with the operation that was refused. */
  run(transaction: Transaction): void;
  /** Calls back after changes by other processes, and when such may have been missed, until disposed. */
  watch(changed: () => void): Disposable;
}

const COMMENT = 0;
/** Userdata is a list of type, length, value; libnftables keeps comments as type 0, zero-terminated. */
function userdata(comment: string): Uint8Array {
  const text = new TextEncoder().encode(`${comment}\0`);
  return Uint8Array.of(COMMENT, text.length, ...text);
}

function readComment(value: Reader): string {
  while (value.remaining >= 2) {
    const [type, length] = [value.u8(), value.u8()];
    const text = value.sub(length);
    if (type === COMMENT && !text.failed) return readString(text);
  }
  return '';
}

const names = Object.fromEntries(Object.entries(NFPROTO).map(([name, number]) => [number, name])) as Record<
  number,
  NftFamily | undefined
>;
const hooks = Object.fromEntries(Object.entries(NF_INET_HOOK).map(([name, number]) => [number, name])) as Record<
  number,
  Hook | undefined
>;

/** struct nfgenmsg: family, version, resource (network order). */
const header = (batch: Batch, family: number, resource = 0): Batch =>
  batch
    .u8(family)
    .u8(0)
    .u8(resource >> 8)
    .u8(resource & 0xff);

/** An attribute's length is 16 bits: this many elements fit into one message. */
const MAX_ELEMENTS = 1000;

/** The set, then its elements, in as many messages as it takes. */
function encodeSet(batch: Batch, set: AddressSet, id: number, table: string, begin: Begin): void {
  begin(NFT_MSG.NEWSET, NLM_F.CREATE).attributeString(NFTA_SET.TABLE, table).attributeString(NFTA_SET.NAME, set.name);
  batch.attributeU32be(NFTA_SET.KEY_TYPE, NFT_KEY_TYPE[set.family]);
  batch.attributeU32be(NFTA_SET.KEY_LEN, set.family === 4 ? 4 : 16).attributeU32be(NFTA_SET.ID, id + 1);
  batch.end();
  for (let at = 0; at < set.addresses.length; at += MAX_ELEMENTS) {
    begin(NFT_MSG.NEWSETELEM, NLM_F.CREATE).attributeString(NFTA_SET_ELEM_LIST.TABLE, table);
    batch.attributeString(NFTA_SET_ELEM_LIST.SET, set.name);
    batch.nested(NFTA_SET_ELEM_LIST.ELEMENTS, () => encodeElements(batch, set.addresses.slice(at, at + MAX_ELEMENTS)));
    batch.end();
  }
}

type Begin = (type: number, flags: number) => Batch;

function encode(batch: Batch, operation: Operation): void {
  const { table } = operation;
  const begin: Begin = (type, flags) =>
    header(batch.begin(type, flags, formatOperation(operation)), NFPROTO[table.family]);
  switch (operation.op) {
    case 'addTable':
      begin(NFT_MSG.NEWTABLE, NLM_F.CREATE).attributeString(NFTA_TABLE.NAME, table.name);
      if (operation.comment !== undefined) batch.attribute(NFTA_TABLE.USERDATA, userdata(operation.comment));
      break;
    case 'deleteTable':
      begin(NFT_MSG.DELTABLE, 0).attributeString(NFTA_TABLE.NAME, table.name);
      break;
    case 'addSet':
      encodeSet(batch, operation.set, operation.id, table.name, begin);
      return;
    case 'addChain': {
      const { name, base } = operation.chain;
      begin(NFT_MSG.NEWCHAIN, NLM_F.CREATE).attributeString(NFTA_CHAIN.TABLE, table.name);
      batch.attributeString(NFTA_CHAIN.NAME, name);
      if (base) {
        batch.nested(NFTA_CHAIN.HOOK, () => {
          batch.attributeU32be(NFTA_HOOK.HOOKNUM, NF_INET_HOOK[base.hook]);
          batch.attributeU32be(NFTA_HOOK.PRIORITY, base.priority >>> 0);
        });
        batch.attributeU32be(NFTA_CHAIN.POLICY, base.policy === 'accept' ? 1 : 0);
        batch.attributeString(NFTA_CHAIN.TYPE, base.type);
      }
      break;
    }
    case 'addRule':
      begin(NFT_MSG.NEWRULE, NLM_F.CREATE | NLM_F.APPEND).attributeString(NFTA_RULE.TABLE, table.name);
      batch.attributeString(NFTA_RULE.CHAIN, operation.chain);
      batch.nested(NFTA_RULE.EXPRESSIONS, () => {
        for (const statement of operation.rule.statements) encodeStatement(batch, statement, table.family);
      });
      batch.attribute(NFTA_RULE.USERDATA, userdata(ruleComment(operation.rule)));
      break;
  }
  batch.end();
}

/** The transaction between the two messages that make it one. */
export function encodeTransaction(transaction: Transaction): Batch {
  const batch = new Batch();
  header(batch.begin(NFNL.MSG_BATCH_BEGIN, 0, 'nftables transaction'), 0, NFNL.SUBSYS_NFTABLES).end();
  for (const operation of transaction) encode(batch, operation);
  header(batch.begin(NFNL.MSG_BATCH_END, 0, 'nftables commit'), 0, NFNL.SUBSYS_NFTABLES).end();
  return batch;
}

interface ChainRecord {
  readonly table: TableName;
  readonly chain: string;
  readonly base: BaseChain | undefined;
}

function decodeChain(body: Reader): ChainRecord | undefined {
  const family = names[body.u8()];
  body.skip(3);
  let [table, chain, type] = ['', '', ''];
  let [hook, priority, policy] = [-1, 0, 1];
  forEachAttribute(body, (attribute, value) => {
    if (attribute === NFTA_CHAIN.TABLE) table = readString(value);
    else if (attribute === NFTA_CHAIN.NAME) chain = readString(value);
    else if (attribute === NFTA_CHAIN.TYPE) type = readString(value);
    else if (attribute === NFTA_CHAIN.POLICY) policy = value.u32();
    else if (attribute === NFTA_CHAIN.HOOK) {
      forEachAttribute(value, (inner, number) => {
        if (inner === NFTA_HOOK.HOOKNUM) hook = number.u32();
        else if (inner === NFTA_HOOK.PRIORITY) priority = number.u32() | 0;
      });
    }
  });
  const at = hooks[hook];
  if (family === undefined) return undefined;
  const base: BaseChain | undefined =
    at === undefined
      ? undefined
      : { type: type as BaseChain['type'], hook: at, priority, policy: policy === 1 ? 'accept' : 'drop' };
  return { table: { family, name: table }, chain, base };
}

function decodeRule(body: Reader): { table: TableName; chain: string; comment: string } | undefined {
  const family = names[body.u8()];
  body.skip(3);
  let [table, chain, comment] = ['', '', ''];
  forEachAttribute(body, (attribute, value) => {
    if (attribute === NFTA_RULE.TABLE) table = readString(value);
    else if (attribute === NFTA_RULE.CHAIN) chain = readString(value);
    else if (attribute === NFTA_RULE.USERDATA) comment = readComment(value);
  });
  return family === undefined ? undefined : { table: { family, name: table }, chain, comment };
}

function decodeSetName(body: Reader): { table: TableName; set: string } | undefined {
  const family = names[body.u8()];
  body.skip(3);
  let [table, set] = ['', ''];
  forEachAttribute(body, (attribute, value) => {
    if (attribute === NFTA_SET.TABLE) table = readString(value);
    else if (attribute === NFTA_SET.NAME) set = readString(value);
  });
  return family === undefined ? undefined : { table: { family, name: table }, set };
}

function decodeElements(body: Reader): IpAddress[] {
  const addresses: IpAddress[] = [];
  const key = (value: Reader) =>
    forEachAttribute(value, (attribute, bytes) => {
      const { remaining } = bytes;
      if (attribute === NFTA_DATA.VALUE && (remaining === 4 || remaining === 16))
        addresses.push(addressFromBytes(bytes.view(remaining)));
    });
  body.skip(4);
  forEachAttribute(body, (attribute, list) => {
    if (attribute !== NFTA_SET_ELEM_LIST.ELEMENTS) return;
    forEachAttribute(list, (inner, element) => {
      if (inner !== NFTA_LIST_ELEM) return;
      forEachAttribute(element, (field, value) => {
        if (field === NFTA_SET_ELEM_KEY) key(value);
      });
    });
  });
  return addresses;
}

function decodeTable(body: Reader): (TableName & { comment: string }) | undefined {
  const family = names[body.u8()];
  body.skip(3);
  let [name, comment] = ['', ''];
  forEachAttribute(body, (attribute, value) => {
    if (attribute === NFTA_TABLE.NAME) name = readString(value);
    else if (attribute === NFTA_TABLE.USERDATA) comment = readComment(value);
  });
  return family === undefined ? undefined : { family, name, comment };
}

const same = (a: TableName, b: TableName): boolean => a.family === b.family && a.name === b.name;

/** Whether a datagram tells a change that another process made: each commit ends in a message naming its maker. */
function byOthers(bytes: Uint8Array): boolean {
  let others = false;
  forEachMessage(bytes, (message, body) => {
    if (message.type !== NFT_MSG.NEWGEN) return;
    body.skip(4);
    forEachAttribute(body, (attribute, value) => {
      if (attribute === NFTA_GEN_PROC_PID && value.u32() !== process.pid) others = true;
    });
  });
  return others;
}

/** The tables of the network namespace this thread is in when it is opened; throws KernelError without netfilter. */
export function openNftables(): Nftables {
  const socket = new NetlinkSocket(NETLINK.NETFILTER);
  const chains = (family: number): ChainRecord[] =>
    socket.dump(
      NFT_MSG.GETCHAIN,
      'list chains',
      (b) => void header(b, family),
      (_type, body) => decodeChain(body),
    );
  const sets = (name: TableName): SetState[] => {
    const build = (batch: Batch) => header(batch, NFPROTO[name.family]).attributeString(NFTA_SET.TABLE, name.name);
    const list = socket.dump(
      NFT_MSG.GETSET,
      'list sets',
      (batch) => void build(batch),
      (_type, body) => decodeSetName(body),
    );
    return list
      .filter((record) => same(record.table, name))
      .map(({ set }) => {
        const parts = socket.dump(
          NFT_MSG.GETSETELEM,
          `list set ${set}`,
          (batch) => void build(batch).attributeString(NFTA_SET_ELEM_LIST.SET, set),
          (_type, body) => decodeElements(body),
        );
        return { name: set, addresses: parts.flat().sort(compareAddresses) };
      });
  };
  return {
    read(name) {
      const family = NFPROTO[name.family];
      const build = (batch: Batch) => void header(batch, family);
      const tables = socket.dump(NFT_MSG.GETTABLE, 'list tables', build, (_type, body) => decodeTable(body));
      const table = tables.find((t) => same(t, name));
      if (!table) return undefined;
      const rules = socket.dump(
        NFT_MSG.GETRULE,
        'list rules',
        (batch) => void header(batch, family).attributeString(NFTA_RULE.TABLE, name.name),
        (_type, body) => decodeRule(body),
      );
      const states = chains(family)
        .filter((record) => same(record.table, name))
        .map(({ chain, base }): ChainState => {
          const comments = rules.filter((r) => same(r.table, name) && r.chain === chain).map((r) => r.comment);
          return { name: chain, ...(base === undefined ? {} : { base }), rules: comments };
        });
      return { family: name.family, name: name.name, comment: table.comment, sets: sets(name), chains: states };
    },
    baseChains: () =>
      chains(0).flatMap(({ table, chain, base }) => (base === undefined ? [] : [{ table, chain, base }])),
    run(transaction) {
      if (transaction.length > 0) socket.requestWhole(encodeTransaction(transaction));
    },
    watch: (changed) =>
      listenNetlink({
        protocol: NETLINK.NETFILTER,
        groups: [NFNL.GROUP_NFTABLES],
        receiveBufferBytes: 1 << 20,
        data: (bytes) => {
          if (byOthers(bytes)) changed();
        },
        lost: () => changed(),
      }),
    [Symbol.dispose]: () => socket[Symbol.dispose](),
  };
}
