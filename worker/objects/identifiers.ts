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

/** The identifier that follows from these parts, for what has to be found again by them: 130 bits of a digest. */
export async function derivedIdentifier(prefix: string, parts: readonly string[]): Promise<string> {
  const text = new TextEncoder().encode(JSON.stringify(parts));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  let name = "";
  for (const byte of digest.subarray(0, 26)) name += ALPHABET[byte & 31] ?? "";
  return `${prefix}_${name}`;
}

/** Whether a text has the form of an identifier with that prefix; strangers send anything. */
export function isIdentifier(prefix: string, text: string): boolean {
  return text.startsWith(`${prefix}_`) && /^[0-9a-hjkmnp-tv-z]{26}$/.test(text.slice(prefix.length + 1));
}
