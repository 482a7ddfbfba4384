/**
 * Notifications on their way out. Each is a row, written in the same turn as what it tells of, and stays until
 * its receiver has taken it or three days have passed: a crash, a deployment or a receiver that is down loses
 * none. A receiver may get one twice and tells them apart by their id. What is sent is the approval as it is
 * when it is sent.
 *
 * The webhook's signature: `sally-signature: v1=` HMAC-SHA256 (hex) over `<timestamp>.<body>` with the secret,
 * `sally-timestamp` in seconds; a receiver refuses what is older than five minutes.
 */
import { createHmac } from "node:crypto";
import { LIMITS } from "../../../wire/limits.ts";
import type { Approval } from "../../policy/approval.ts";
import { fillTemplate } from "../../policy/notification-template.ts";
import {
  type NotificationEvent,
  type NotificationTarget,
  concerns,
  slackMessage,
  templateValue,
} from "../../policy/notification.ts";
import { identifier } from "../identifiers.ts";
import { showApproval } from "./shown-approval.ts";

/** Pauses after the first, second, … failure; the last one repeats. */
const BACK_OFF = [5, 15, 60, 300, 900, 3600].map((seconds) => seconds * 1000);
const GIVE_UP_AFTER = 3 * 24 * 3_600_000;
const KEEP_DELIVERED = 7 * 24 * 3_600_000;
/** Deliveries at once. */
const ABREAST = 20;
/** The reviewer's estimate of rows comes a moment after the request; the first delivery waits for it. */
const FIRST_AFTER = 1_000;

type Row = {
  readonly id: string;
  readonly target: string;
  readonly event: string;
  readonly approval: string;
  readonly at: number;
  readonly attempts: number;
};

export type DeliveryStatus = {
  readonly id: string;
  readonly target: string;
  readonly event: string;
  readonly approval: string;
  readonly at: number;
  readonly attempts: number;
  readonly status: "waiting" | "delivered" | "given_up";
  readonly nextAt?: number;
  readonly error?: string;
};

export type OutboxHost = {
  readonly targets: () => readonly NotificationTarget[];
  /** A secret of the gateway's by name. */
  readonly secret: (name: string) => string | undefined;
  readonly approval: (id: string, now: number) => Approval | undefined;
  /** Address of an approval for people. */
  readonly link: (approval: string) => string;
  readonly record: (body: { readonly type: string; readonly [field: string]: unknown }) => void;
};

export class Outbox {
  readonly #sql: SqlStorage;
  readonly #host: OutboxHost;

  constructor(sql: SqlStorage, host: OutboxHost) {
    this.#sql = sql;
    this.#host = host;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS outbox (
        id TEXT PRIMARY KEY, target TEXT NOT NULL, event TEXT NOT NULL, approval TEXT NOT NULL,
        at INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_at INTEGER, delivered_at INTEGER,
        error TEXT);
      CREATE INDEX IF NOT EXISTS outbox_next ON outbox (next_at) WHERE next_at IS NOT NULL;
      CREATE INDEX IF NOT EXISTS outbox_at ON outbox (at);
    `);
  }

  /** Puts one row for each target that is to be told. */
  put(approval: Approval, event: NotificationEvent, now: number): void {
    for (const target of this.#host.targets()) {
      if (!concerns(target, approval, event, now)) continue;
      this.#sql.exec(
        "INSERT INTO outbox (id, target, event, approval, at, next_at) VALUES (?, ?, ?, ?, ?, ?)",
        identifier("ntf"),
        target.name,
        event,
        approval.id,
        now,
        now + (event === "requested" ? FIRST_AFTER : 0),
      );
    }
  }

  /** When something is to be sent next, in milliseconds since the epoch. */
  next(): number {
    const row = this.#sql.exec<{ at: number | null }>("SELECT min(next_at) AS at FROM outbox").one();
    return row.at ?? Number.POSITIVE_INFINITY;
  }

  /** Newest first. */
  list(limit: number): DeliveryStatus[] {
    return this.#sql
      .exec<Row & { next_at: number | null; delivered_at: number | null; error: string | null }>(
        "SELECT * FROM outbox ORDER BY at DESC LIMIT ?",
        limit,
      )
      .toArray()
      .map(({ next_at, delivered_at, error, ...row }) => ({
        ...row,
        status: delivered_at !== null ? "delivered" : next_at === null ? "given_up" : "waiting",
        ...(next_at === null ? {} : { nextAt: next_at }),
        ...(error === null ? {} : { error }),
      }));
  }

  /** Sends what is due. Never rejects. */
  async deliver(now: number): Promise<void> {
    const due = this.#sql
      .exec<Row>(
        "SELECT id, target, event, approval, at, attempts FROM outbox WHERE next_at <= ? ORDER BY next_at LIMIT ?",
        now,
        ABREAST,
      )
      .toArray();
    await Promise.all(due.map((row) => this.#deliverOne(row)));
    this.#sql.exec(
      "DELETE FROM outbox WHERE next_at IS NULL AND (at < ? OR id IN (SELECT id FROM outbox WHERE next_at IS NULL ORDER BY at DESC LIMIT -1 OFFSET ?))",
      now - KEEP_DELIVERED,
      LIMITS.approvals.outbox,
    );
  }

  async #deliverOne(row: Row): Promise<void> {
    const failure = await this.#send(row);
    const now = Date.now();
    if (failure === undefined) {
      this.#sql.exec(
        "UPDATE outbox SET next_at = NULL, delivered_at = ?, attempts = attempts + 1, error = NULL WHERE id = ?",
        now,
        row.id,
      );
      return;
    }
    const givenUp = failure.final || now - row.at > GIVE_UP_AFTER;
    const pause = BACK_OFF[Math.min(row.attempts, BACK_OFF.length - 1)] ?? 0;
    if (givenUp) {
      const { id: notification, target, approval } = row;
      this.#host.record({
        type: "notification_given_up",
        notification,
        target,
        approval,
        reason: failure.why,
      });
    }
    console.warn(`notification to ${row.target} failed: ${failure.why}`);
    this.#sql.exec(
      "UPDATE outbox SET next_at = ?, attempts = attempts + 1, error = ? WHERE id = ?",
      // Spread, so that what failed together does not come back together.
      givenUp ? null : now + Math.round(pause * (0.75 + Math.random() / 2)),
      failure.why,
      row.id,
    );
  }

  async #send(row: Row): Promise<{ readonly why: string; readonly final: boolean } | undefined> {
    const target = this.#host.targets().find(({ name }) => name === row.target);
    if (target === undefined) return { why: "the target is not configured any more", final: true };
    const approval = this.#host.approval(row.approval, Date.now());
    if (approval === undefined) return { why: "the approval is gone", final: true };
    const made = this.#request(target, row, approval);
    if (typeof made === "string") return { why: made, final: false };
    try {
      const response = await fetch(made.url, {
        method: "POST",
        headers: { "content-type": "application/json", "user-agent": "sallyport", ...made.headers },
        body: made.body,
        // A redirect would carry the message to where nobody has configured it.
        redirect: "manual",
        signal: AbortSignal.timeout(LIMITS.approvals.deliveryTime),
      });
      await response.body?.cancel();
      return response.ok ? undefined : { why: `it answered ${response.status}`, final: false };
    } catch (error) {
      const timedOut = error instanceof Error && error.name === "TimeoutError";
      return { why: timedOut ? "it did not answer in time" : "it cannot be reached", final: false };
    }
  }

  /** The request, or what is missing for it. */
  #request(
    target: NotificationTarget,
    row: Row,
    approval: Approval,
  ): { url: string; headers: Record<string, string>; body: string } | string {
    const event = row.event as NotificationEvent; // Written by `put` only.
    const facts = { event, approval, url: this.#host.link(approval.id) };
    const missing = (name: string): string => `the gateway has no secret ${name}`;
    switch (target.type) {
      case "webhook": {
        const secret = this.#host.secret(target.secret);
        if (secret === undefined) return missing(target.secret);
        const body = JSON.stringify({
          id: row.id,
          event,
          at: new Date(row.at).toISOString(),
          url: facts.url,
          approval: showApproval(approval),
        });
        const timestamp = String(Math.floor(Date.now() / 1000));
        const signature = createHmac("sha256", secret).update(`${timestamp}.${body}`).digest("hex");
        const headers = {
          "sally-notification": row.id,
          "sally-timestamp": timestamp,
          "sally-signature": `v1=${signature}`,
        };
        return { url: target.url, headers, body };
      }
      case "slack": {
        const url = this.#host.secret(target.url);
        if (url === undefined || !isSafe(url)) return missing(target.url);
        return {
          url,
          headers: {},
          body: JSON.stringify(slackMessage(facts, target.signingSecret !== undefined)),
        };
      }
      case "template": {
        const token = target.token === undefined ? undefined : this.#host.secret(target.token);
        if (target.token !== undefined && token === undefined) return missing(target.token);
        const body = fillTemplate(target.body, (name) => templateValue(facts, name) ?? "");
        if (!body.ok) return `its template ${body.error}`;
        const headers: Record<string, string> =
          token === undefined ? {} : { authorization: `Bearer ${token}` };
        return { url: target.url, headers, body: body.value };
      }
    }
  }
}

/** An address that came as a secret was checked by nobody yet. */
function isSafe(address: string): boolean {
  const url = URL.parse(address);
  if (url?.protocol === "https:") return true;
  return url?.protocol === "http:" && ["127.0.0.1", "[::1]", "localhost"].includes(url.hostname);
}
