/**
 * The chain that makes a recording tamper-evident: each event's hash covers its own exact JSON text and the
 * hash before it, so that no event can be changed, removed, added or moved without every later hash changing.
 *
 *   hash(n) = SHA-256( hex(hash(n-1)) "\n" json(n) ),   hash(0) = SHA-256 over the session's identifier
 */
import { createHash } from "node:crypto";

export type ChainHead = { readonly seq: number; readonly hash: string };

/** What an event says; `type` first, the rest depends on it (docs/api.md). */
export type EventBody = { readonly type: string; readonly [field: string]: unknown };

export type ChainedEvent = {
  readonly seq: number;
  /** RFC 3339, UTC. */
  readonly at: string;
  readonly previous: string;
  readonly hash: string;
  /** The exact text under the hash: `{"seq":…,"at":…,"body":{…}}`. */
  readonly json: string;
};

export function chainStart(subject: string): ChainHead {
  return { seq: 0, hash: sha256(subject) };
}

export function chainEvent(head: ChainHead, at: Date, body: EventBody): ChainedEvent {
  const seq = head.seq + 1;
  const time = at.toISOString();
  const json = JSON.stringify({ seq, at: time, body });
  return { seq, at: time, previous: head.hash, hash: sha256(`${head.hash}\n${json}`), json };
}

export function sha256(text: string | Uint8Array): string {
  return createHash("sha256").update(text).digest("hex");
}
