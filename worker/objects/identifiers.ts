/** Random identifiers. The alphabet is Crockford's base 32 in lower case: no letters that look alike. */
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

export function randomBytes(length: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}

/** `prefix_` and 26 characters, 130 bits. */
export function identifier(prefix: string): string {
  let text = "";
  for (const byte of randomBytes(26)) text += ALPHABET[byte & 31] ?? "";
  return `${prefix}_${text}`;
}
