import { describe, expect, it } from "vitest";
import {
  type VerifiedToken,
  decodeGrant,
  encodeGrant,
  mintGrant,
  renewGrant,
} from "../../../worker/policy/grant.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const TOKEN: VerifiedToken = {
  principal: { type: "User", issuer: "https://idp", subject: "zoë", name: "Zoë 🚪", groups: ["dba"] },
  resources: ["shop-db"],
  tokenId: "t1",
  issuedAt: NOW,
  expiresAt: NOW + 900_000,
};
const OPTIONS = { session: "s1", noWait: false, now: NOW };

function mint(token = TOKEN, resource = "shop-db", options: Partial<Parameters<typeof mintGrant>[2]> = {}) {
  return mintGrant(token, { name: resource }, { ...OPTIONS, ...options });
}

function outcome(result: ReturnType<typeof mint>): string {
  return result.ok ? "ok" : result.error.code;
}

describe("a grant", () => {
  it("holds what the token and the check established", () => {
    const result = mint(TOKEN, "shop-db", { reason: "ticket 42", noWait: true });
    expect(result).toEqual({
      ok: true,
      value: {
        session: "s1",
        principal: TOKEN.principal,
        resource: "shop-db",
        expiresAt: NOW + 900_000,
        noWait: true,
        reason: "ticket 42",
        tokenId: "t1",
        issuedAt: NOW,
        actors: [],
        tasks: [],
      },
    });
  });

  it("is refused for a resource that the token does not name, or after its end", () => {
    expect(outcome(mint(TOKEN, "other-db"))).toBe("resource_not_in_token");
    expect(outcome(mint({ ...TOKEN, resources: [] }))).toBe("resource_not_in_token");
    expect(outcome(mint({ ...TOKEN, resources: null }, "other-db"))).toBe("ok");
    expect(outcome(mint(TOKEN, "shop-db", { now: NOW + 900_000 }))).toBe("token_expired");
  });

  it("is refused with a reason that is too long or would deceive a reviewer", () => {
    for (const reason of ["x".repeat(1001), "a\u001b[2Jb", "a\u202eb", "a\nb"]) {
      expect(outcome(mint(TOKEN, "shop-db", { reason }))).toBe("request_invalid");
    }
    expect(outcome(mint(TOKEN, "shop-db", { reason: "x".repeat(1000) }))).toBe("ok");
  });

  it("of a task needs the task's whole chain, which covers the resource and has not ended", () => {
    const terms = {
      rights: [{ resources: ["shop-db"], actions: ["postgres:select"] }],
      maxOperations: null,
      maxRows: null,
      deadline: NOW + 60_000,
    };
    const step = { id: "tsk_1", name: "", terms, principal: TOKEN.principal, actors: [] };
    const token = { ...TOKEN, resources: null, task: "tsk_1" };
    expect(outcome(mint(token))).toBe("token_invalid");
    expect(outcome(mint({ ...token, tasks: [{ ...step, id: "tsk_2" }] }))).toBe("token_invalid");
    expect(outcome(mint({ ...token, tasks: [step] }, "other-db"))).toBe("task_not_permitted");
    const over = { ...step, id: "tsk_0", terms: { ...terms, deadline: NOW } };
    expect(outcome(mint({ ...token, tasks: [over, step] }))).toBe("task_ended");
    const good = mint({ ...token, tasks: [step] });
    expect(good.ok && good.value.expiresAt).toBe(NOW + 60_000);
  });

  it("is renewed for the same actors, task and key only", () => {
    const agent = { ...TOKEN.principal, subject: "agent" };
    const token: VerifiedToken = { ...TOKEN, actors: [agent], proofKey: "key" };
    const grant = mint(token);
    if (!grant.ok) throw new Error("no grant");
    const renew = (changes: Partial<VerifiedToken>): string =>
      outcome(renewGrant(grant.value, { ...token, ...changes }, NOW));
    expect(renew({ expiresAt: NOW + 1_000_000 })).toBe("ok");
    const { actors: _, ...alone } = token;
    expect(outcome(renewGrant(grant.value, alone, NOW))).toBe("token_invalid");
    expect(renew({ actors: [TOKEN.principal] })).toBe("token_invalid");
    expect(renew({ actors: [agent, agent] })).toBe("token_invalid");
    expect(renew({ task: "tsk_1" })).toBe("token_invalid");
    expect(renew({ proofKey: "other" })).toBe("token_invalid");
    const { proofKey: __, ...unbound } = token;
    expect(outcome(renewGrant(grant.value, unbound, NOW))).toBe("token_invalid");
  });

  it("is renewed for the same principal only", () => {
    const grant = mint();
    if (!grant.ok) throw new Error("not minted");
    const later = { ...TOKEN, tokenId: "t2", expiresAt: NOW + 1_800_000 };
    const renewed = renewGrant(grant.value, later, NOW);
    expect(renewed.ok && renewed.value).toMatchObject({
      session: "s1",
      tokenId: "t2",
      expiresAt: NOW + 1_800_000,
    });
    for (const change of [{ subject: "eve" }, { issuer: "https://other" }, { type: "Workload" as const }]) {
      const stolen = { ...later, principal: { ...TOKEN.principal, ...change } };
      expect(outcome(renewGrant(grant.value, stolen, NOW))).toBe("token_invalid");
    }
    expect(outcome(renewGrant(grant.value, { ...later, resources: ["other"] }, NOW))).toBe(
      "resource_not_in_token",
    );
  });

  it("survives its way to an object, names beyond ASCII included", () => {
    const grant = mint(TOKEN, "shop-db", { reason: "schön" });
    if (!grant.ok) throw new Error("not minted");
    const header = encodeGrant(grant.value);
    expect(header).toMatch(/^[A-Za-z0-9_-]+$/);
    expect(decodeGrant(header)).toEqual(grant);
  });

  it("is not restored from anything that is no whole grant", () => {
    const grant = mint();
    if (!grant.ok) throw new Error("not minted");
    const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    for (const header of [
      null,
      "",
      "!!",
      "AAAA",
      encode(null),
      encode([]),
      encode("x"),
      "A".repeat(70_000),
    ]) {
      expect(outcome(decodeGrant(header))).toBe("internal");
    }
    for (const member of ["session", "principal", "resource", "expiresAt", "noWait", "tokenId"]) {
      expect(outcome(decodeGrant(encode({ ...grant.value, [member]: undefined })))).toBe("internal");
    }
    expect(outcome(decodeGrant(encode({ ...grant.value, expiresAt: "never" })))).toBe("internal");
  });
});
