import { describe, expect, it } from "vitest";
import {
  joinTokenHash,
  newJoinToken,
  newTicket,
  useJoinToken,
  useTicket,
} from "../../../worker/identity/secrets.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const random = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);

describe("a ticket", () => {
  it("is good once, for 30 seconds, and only its hash is kept", async () => {
    const { ticket, record } = await newTicket(random(1), NOW);
    expect(JSON.stringify(record)).not.toContain(ticket.slice(4));
    const used = await useTicket(record, ticket, NOW + 29_999);
    expect(used).toEqual({ ok: true, value: { ...record, used: true } });
    expect((await useTicket(used.ok ? used.value : undefined, ticket, NOW)).ok).toBe(false);
    expect((await useTicket(record, ticket, NOW + 30_000)).ok).toBe(false);
  });

  it("is refused for another session, when unknown or malformed, always in the same words", async () => {
    const { ticket, record } = await newTicket(random(1), NOW);
    const { ticket: other } = await newTicket(random(2), NOW);
    const attempts = [
      await useTicket(record, other, NOW),
      await useTicket(undefined, ticket, NOW),
      await useTicket(record, "", NOW),
      await useTicket(record, `${ticket} `, NOW),
      await useTicket(record, record.hash, NOW),
      await useTicket({ ...record, used: true }, ticket, NOW),
    ];
    expect(attempts.map((attempt) => (attempt.ok ? "ok" : attempt.error.code))).toEqual(
      Array(6).fill("ticket_invalid"),
    );
    expect(new Set(attempts.map((attempt) => JSON.stringify(attempt))).size).toBe(1);
  });

  it("is never made from less randomness than it should be", async () => {
    await expect(newTicket(new Uint8Array(16), NOW)).rejects.toThrow("32 random bytes");
  });
});

describe("a join token", () => {
  it("enrols the connector that it is bound to, once, within an hour", async () => {
    const { token, record } = await newJoinToken("demo", random(3), NOW);
    expect(await joinTokenHash(token)).toBe(record.hash);
    const used = await useJoinToken(record, token, "demo", NOW + 3_599_999);
    expect(used).toEqual({ ok: true, value: { ...record, usedAt: NOW + 3_599_999 } });
    expect((await useJoinToken(used.ok ? used.value : undefined, token, "demo", NOW)).ok).toBe(false);
    expect((await useJoinToken(record, token, "demo", NOW + 3_600_000)).ok).toBe(false);
    expect((await useJoinToken(record, token, "other", NOW)).ok).toBe(false);
    expect((await useJoinToken(undefined, token, "demo", NOW)).ok).toBe(false);
  });

  it("is not a ticket, nor a ticket a join token", async () => {
    const { token, record } = await newJoinToken("demo", random(3), NOW);
    const { ticket } = await newTicket(random(3), NOW);
    expect((await useJoinToken(record, ticket, "demo", NOW)).ok).toBe(false);
    expect(await joinTokenHash(ticket)).toBeUndefined();
    expect((await useTicket({ hash: record.hash, expiresAt: NOW + 1, used: false }, token, NOW)).ok).toBe(
      false,
    );
  });
});
