import { describe, expect, it } from "vitest";
import {
  generateSigningKey,
  mintSessionToken,
  verifySessionToken,
} from "../../../../worker/identity/session-token.ts";
import { SigningKeys } from "../../../../worker/objects/control/keys.ts";
import { LIMITS } from "../../../../wire/limits.ts";
import { openSqlite } from "../../../support/sqlite.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const MINUTE = 60_000;
const PRINCIPAL = { type: "User", issuer: "https://idp", subject: "a", name: "a", groups: [] } as const;

async function keysAt(sql: ReturnType<typeof openSqlite>): Promise<SigningKeys> {
  const keys = new SigningKeys(sql as unknown as ConstructorParameters<typeof SigningKeys>[0]);
  await keys.prepare(NOW);
  return keys;
}

async function tokenAt(keys: SigningKeys, now: number): Promise<string> {
  const request = {
    gateway: "https://gw",
    principal: PRINCIPAL,
    resources: null,
    tokenId: "t",
    subjectExpiresAt: now + LIMITS.time.sessionToken,
    now,
  };
  return (await mintSessionToken(keys.current(now), request)).token;
}

describe("signing keys", () => {
  it("overlap: no token is ever refused for its key while it lasts, and the old key goes after that", async () => {
    const keys = await keysAt(openSqlite());
    const next = await generateSigningKey();
    const first = keys.current(NOW).kid;
    keys.add(next, NOW + LIMITS.time.keyPublished, NOW);
    for (let minute = 0; minute < 40; minute++) {
      const issued = NOW + minute * MINUTE;
      const token = await tokenAt(keys, issued);
      for (const later of [0, 7 * MINUTE, LIMITS.time.sessionToken - 1000]) {
        const verified = await verifySessionToken(
          token,
          keys.verification(issued + later),
          "https://gw",
          issued + later,
        );
        expect(verified.ok, `issued at ${minute}, used ${later} later`).toBe(true);
      }
    }
    expect(keys.status(NOW).map(({ status }) => status)).toEqual(["published", "signing"]);
    const signing = NOW + LIMITS.time.keyPublished;
    expect(keys.status(signing).map(({ kid, status }) => [kid, status])).toEqual([
      [next.kid, "signing"],
      [first, "verifying"],
    ]);
    expect(keys.status(NOW + 30 * MINUTE).map(({ kid }) => kid)).toEqual([next.kid]);
  });

  it("survive a restart, and two rotations in a row", async () => {
    const sql = openSqlite();
    const keys = await keysAt(sql);
    const [second, third] = [await generateSigningKey(), await generateSigningKey()];
    const token = await tokenAt(keys, NOW);
    keys.add(second, NOW + 2 * MINUTE, NOW);
    keys.add(third, NOW + 3 * MINUTE, NOW + MINUTE);
    const again = await keysAt(sql);
    expect([0, 2, 3, 60].map((minutes) => again.current(NOW + minutes * MINUTE).kid)).toEqual([
      keys.current(NOW).kid,
      second.kid,
      third.kid,
      third.kid,
    ]);
    const at = NOW + 14 * MINUTE;
    expect((await verifySessionToken(token, again.verification(at), "https://gw", at)).ok).toBe(true);
  });
});
