/**
 * The key of `hash` masks as HMAC needs it (RFC 2104): the key XORed with the inner and the outer pad. Both
 * travel to the server as startup parameters of the connection, never in a statement.
 */

/** SHA-256's block, in bytes. */
const BLOCK = 64;

export type HashPads = { readonly inner: string; readonly outer: string };

/** @param hexKey 16 to 64 bytes in hexadecimal; anything else gives undefined. */
export function hashPads(hexKey: string): HashPads | undefined {
  if (hexKey.length % 2 !== 0 || hexKey.length < 32 || hexKey.length > 2 * BLOCK) return undefined;
  const bytes: number[] = [];
  for (let at = 0; at < hexKey.length; at += 2) {
    const byte = Number.parseInt(hexKey.slice(at, at + 2), 16);
    if (Number.isNaN(byte)) return undefined;
    bytes.push(byte);
  }
  while (bytes.length < BLOCK) bytes.push(0);
  const pad = (with_: number): string =>
    bytes.map((byte) => (byte ^ with_).toString(16).padStart(2, "0")).join("");
  return { inner: pad(0x36), outer: pad(0x5c) };
}
