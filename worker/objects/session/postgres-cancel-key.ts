/** The process id and secret key with which a client's CancelRequest names this session (PostgreSQL docs 54.2.8). */
import { randomBytes } from "../identifiers.ts";

export class CancelKey {
  readonly processId: number;
  readonly secret: Uint8Array;

  constructor(processId: number, secret: Uint8Array) {
    this.processId = processId;
    this.secret = secret;
  }

  static random(): CancelKey {
    const random = randomBytes(4);
    // Positive, as PostgreSQL's own process ids are: some clients print them signed.
    return new CancelKey(new DataView(random.buffer).getUint32(0) & 0x7fffffff, randomBytes(32));
  }

  /** Whether a CancelRequest names this session; `minor` of the protocol 3 that its client speaks. */
  fits(processId: number, secret: Uint8Array, minor: number): boolean {
    // Protocol 3.0 has room for four bytes of the key only.
    const expected = this.secret.subarray(0, minor >= 2 ? this.secret.length : 4);
    return processId === this.processId && sameSecret(secret, expected);
  }
}

/** Compares without telling by its time how much was right. */
function sameSecret(given: Uint8Array, expected: Uint8Array): boolean {
  if (given.length !== expected.length) return false;
  let difference = 0;
  for (const [index, byte] of given.entries()) difference |= byte ^ (expected[index] ?? 0);
  return difference === 0;
}
