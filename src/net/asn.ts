/** An autonomous system number, 0 to 4294967295 (RFC 6793). */
export type Asn = number & { readonly __brand: 'Asn' };

/** Accepts asplain (`4200000000`) and asdot (`64086.59904`), RFC 5396. */
export function parseAsn(text: string | number): Asn | undefined {
  const asdot = /^(\d{1,5})\.(\d{1,5})$/.exec(String(text));
  if (asdot) {
    const [high, low] = [Number(asdot[1]), Number(asdot[2])];
    return high > 0xffff || low > 0xffff ? undefined : ((high * 65536 + low) as Asn);
  }
  if (!/^\d{1,10}$/.test(String(text))) return undefined;
  const value = Number(text);
  return value > 0xffffffff ? undefined : (value as Asn);
}
