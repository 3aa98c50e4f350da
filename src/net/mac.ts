/** A link-layer address in lower-case colon form: `ee:ee:ee:ee:ee:ee`. */
export type MacAddress = string & { readonly __brand: 'MacAddress' };

export function parseMac(text: string): MacAddress | undefined {
  return /^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text) ? (text.toLowerCase() as MacAddress) : undefined;
}

export const macBytes = (mac: MacAddress): Uint8Array => Uint8Array.from(mac.split(':'), (h) => parseInt(h, 16));

export const macFromBytes = (bytes: Uint8Array): MacAddress =>
  Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join(':') as MacAddress;
