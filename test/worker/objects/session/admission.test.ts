import { describe, expect, it } from "vitest";
import { refusal } from "../../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../../wire/result.ts";
import { Admission } from "../../../../worker/objects/session/admission.ts";
import { type Grant, type VerifiedToken, encodeGrant, mintGrant } from "../../../../worker/policy/grant.ts";
import type { Refusal } from "../../../../wire/refusals.ts";

const NOW = Date.parse("2026-11-22T10:00:00Z");
const TOKEN: VerifiedToken = {
  principal: { type: "User", issuer: "https://idp", subject: "a", name: "A", groups: ["dba", "ops"] },
  resources: null,
  tokenId: "token-1",
  issuedAt: NOW,
  expiresAt: NOW + 900_000,
};

function grantOf(token: VerifiedToken, more: { noWait?: boolean; reason?: string } = {}): Grant {
  const grant = mintGrant(token, { name: "api" }, { session: "ses_1", noWait: false, now: NOW, ...more });
  if (!grant.ok) throw new Error(grant.error.message);
  return grant.value;
}

/** An admission whose answers are these, the last for ever, and how often it asked. */
function admission(...answers: Result<VerifiedToken, Refusal>[]): { admit: Admission; asked: () => number } {
  let asked = 0;
  const admit = new Admission(async () => {
    const answer = answers[Math.min(asked++, answers.length - 1)];
    if (answer === undefined) throw new Error("nothing to answer");
    return answer;
  });
  return { admit, asked: () => asked };
}

const LEFT: VerifiedToken = { ...TOKEN, principal: { ...TOKEN.principal, groups: ["ops"] } };
const REVOKED = err(refusal("principal_revoked", "revoked"));

describe("the admission of requests to a session", () => {
  it("asks once whether a token counts, and takes the groups from the answer", async () => {
    const { admit, asked } = admission(ok(LEFT));
    const header = encodeGrant(grantOf(TOKEN));
    const first = await admit.admit(header, true, undefined, NOW);
    expect(first.ok && first.value.principal.groups).toEqual(["ops"]);
    const known = first.ok ? first.value : undefined;
    for (let at = 0; at < 10; at++) expect((await admit.admit(header, true, known, NOW + at)).ok).toBe(true);
    expect(asked()).toBe(1);
  });

  it("asks once for all that come together, and gives each what it said of itself", async () => {
    const { admit, asked } = admission(ok(TOKEN));
    const grants = await Promise.all(
      [{ noWait: true }, { reason: "ticket 7" }, {}].map((more) =>
        admit.admit(encodeGrant(grantOf(TOKEN, more)), true, undefined, NOW),
      ),
    );
    expect(asked()).toBe(1);
    expect(grants.map((grant) => grant.ok && [grant.value.noWait, grant.value.reason])).toEqual([
      [true, undefined],
      [false, "ticket 7"],
      [false, undefined],
    ]);
  });

  it("asks again after a while, and refuses what does not count any more", async () => {
    const { admit, asked } = admission(ok(TOKEN), REVOKED);
    const header = encodeGrant(grantOf(TOKEN));
    const known = grantOf(TOKEN);
    expect((await admit.admit(header, true, known, NOW)).ok).toBe(true);
    expect((await admit.admit(header, true, known, NOW + 5_000)).ok).toBe(false);
    // Refused is not admitted: the next is asked about again.
    expect((await admit.admit(header, true, known, NOW + 5_001)).ok).toBe(false);
    expect(asked()).toBe(3);
  });

  it("asks about a session that has been put out of memory, and about any other token", async () => {
    const { admit, asked } = admission(ok(TOKEN));
    const header = encodeGrant(grantOf(TOKEN));
    await admit.admit(header, true, grantOf(TOKEN), NOW);
    expect(asked()).toBe(1);
    await admit.admit(header, true, grantOf({ ...TOKEN, tokenId: "token-2" }), NOW + 1);
    expect(asked()).toBe(2);
  });

  it("does not ask about what has been admitted before, and takes no grant that is malformed", async () => {
    const { admit, asked } = admission(REVOKED);
    expect((await admit.admit(encodeGrant(grantOf(TOKEN)), false, undefined, NOW)).ok).toBe(true);
    expect((await admit.admit(null, true, undefined, NOW)).ok).toBe(false);
    expect((await admit.admit("!", false, undefined, NOW)).ok).toBe(false);
    expect(asked()).toBe(0);
  });
});
