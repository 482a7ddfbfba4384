/**
 * The append-only log in an object's own SQLite. Events gather during one turn of the object and are written
 * by `flush`, before anything that they speak of leaves the object: the platform's output gate then holds
 * every outgoing message until the write is durable.
 */
import { type ChainHead, type ChainedEvent, type EventBody, chainEvent, chainStart } from "./chain.ts";

export class Recorder {
  readonly #sql: SqlStorage;
  #head: ChainHead;
  #pending: ChainedEvent[] = [];

  /** `subject` seeds the chain: the session's identifier. */
  constructor(sql: SqlStorage, subject: string) {
    this.#sql = sql;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, at TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL, json TEXT NOT NULL)",
    );
    const last = sql
      .exec<{ seq: number; hash: string }>("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")
      .toArray()[0];
    this.#head = last ?? chainStart(subject);
  }

  /** Adds an event to this turn. */
  record(at: Date, body: EventBody): void {
    const event = chainEvent(this.#head, at, body);
    this.#head = { seq: event.seq, hash: event.hash };
    this.#pending.push(event);
  }

  /** Writes this turn's events. @throws when SQLite cannot: then nothing of the turn may take effect. */
  flush(): void {
    if (this.#pending.length === 0) return;
    for (const event of this.#pending) {
      this.#sql.exec(
        "INSERT INTO events (seq, at, previous, hash, json) VALUES (?, ?, ?, ?, ?)",
        event.seq,
        event.at,
        event.previous,
        event.hash,
        event.json,
      );
    }
    this.#pending = [];
  }

  get head(): ChainHead {
    return this.#head;
  }

  /** The last events that are written, oldest first. */
  recent(limit: number): ChainedEvent[] {
    return this.#sql
      .exec<ChainedEvent>("SELECT seq, at, previous, hash, json FROM events ORDER BY seq DESC LIMIT ?", limit)
      .toArray()
      .reverse();
  }

  /** Events after `after`, at most `limit`, and at most about a megabyte of them. */
  read(after: number, limit: number): { events: ChainedEvent[]; more: boolean } {
    const events: ChainedEvent[] = [];
    let size = 0;
    const rows = this.#sql.exec<ChainedEvent>(
      "SELECT seq, at, previous, hash, json FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
      after,
      limit + 1,
    );
    for (const row of rows) {
      if (events.length >= limit || (size > READ_BYTES && events.length > 0)) return { events, more: true };
      events.push(row);
      size += row.json.length;
    }
    return { events, more: false };
  }
}

const READ_BYTES = 1 << 20;
