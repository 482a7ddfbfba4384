/**
 * Single-use secrets that the gateway hands out and keeps only as hashes: tickets for dialling back and join
 * tokens for enrolling a connector. Records are plain data; storing the returned record is the caller's
 * part, and it must be stored before the secret's use takes effect.
 */
import { LIMITS } from "../../wire/limits.ts";
import { equalBytes, utf8 } from "../../wire/bytes.ts";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { base64url } from "./token-form.ts";

/** Bytes of randomness in a secret. */
export const SECRET_BYTES = 32;

const TICKET = /^tkt_[A-Za-z0-9_-]{43}$/;
const JOIN_TOKEN = /^sjt_[A-Za-z0-9_-]{43}$/;

/** SHA-256 of a secret, base64url. The secrets are random and long, so no salt or stretching is needed. */
async function hashSecret(secret: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", utf8(secret))));
}

function checkRandom(random: Uint8Array): void {
  if (random.length !== SECRET_BYTES) throw new Error(`a secret is made from ${SECRET_BYTES} random bytes`);
}

/** A ticket with which a connector dials back to one session. */
export type TicketRecord = { readonly hash: string; readonly expiresAt: number; readonly used: boolean };

/** `random` is 32 random bytes, `now` milliseconds since the epoch. The ticket lives for 30 seconds. */
export async function newTicket(
  random: Uint8Array,
  now: number,
): Promise<{ readonly ticket: string; readonly record: TicketRecord }> {
  checkRandom(random);
  const ticket = `tkt_${base64url(random)}`;
  return {
    ticket,
    record: { hash: await hashSecret(ticket), expiresAt: now + LIMITS.time.ticket, used: false },
  };
}

/** The record to store, marked as used, or a refusal that does not say why. */
export async function useTicket(
  record: TicketRecord | undefined,
  ticket: string,
  now: number,
): Promise<Result<TicketRecord, Refusal>> {
  const invalid = err(refusal("ticket_invalid", "the ticket is not valid, or no longer"));
  if (!TICKET.test(ticket)) return invalid;
  const hash = await hashSecret(ticket);
  if (record === undefined || record.used || record.expiresAt <= now || !sameHash(record.hash, hash))
    return invalid;
  return ok({ ...record, used: true });
}

/** A token with which one connector enrols its key, once. */
export type JoinTokenRecord = {
  /** The connector's name, the only one it enrols. */
  readonly name: string;
  readonly hash: string;
  readonly expiresAt: number;
  readonly usedAt?: number;
};

/** `random` is 32 random bytes, `now` milliseconds since the epoch. The token lives for an hour. */
export async function newJoinToken(
  name: string,
  random: Uint8Array,
  now: number,
): Promise<{ readonly token: string; readonly record: JoinTokenRecord }> {
  checkRandom(random);
  const token = `sjt_${base64url(random)}`;
  return { token, record: { name, hash: await hashSecret(token), expiresAt: now + LIMITS.time.joinToken } };
}

/** The hash under which a join token's record is found, or undefined when it has not a token's form. */
export async function joinTokenHash(token: string): Promise<string | undefined> {
  return JOIN_TOKEN.test(token) ? await hashSecret(token) : undefined;
}

/** The record to store, marked as used, or a refusal that does not say why. */
export async function useJoinToken(
  record: JoinTokenRecord | undefined,
  token: string,
  name: string,
  now: number,
): Promise<Result<JoinTokenRecord, Refusal>> {
  const hash = await joinTokenHash(token);
  const good =
    record !== undefined &&
    hash !== undefined &&
    record.usedAt === undefined &&
    record.expiresAt > now &&
    record.name === name &&
    sameHash(record.hash, hash);
  if (good) return ok({ ...record, usedAt: now });
  return err(
    refusal("connector_not_trusted", "the join token is not valid for this connector, or no longer", {
      hint: "make a new one with sally connector enroll",
    }),
  );
}

/** Hashes of unguessable secrets: comparing them early-out tells nothing about the secret. */
function sameHash(a: string, b: string): boolean {
  return equalBytes(utf8(a), utf8(b));
}
