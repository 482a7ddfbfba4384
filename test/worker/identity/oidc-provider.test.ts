/** The demo's issuer, as configured, with a real OpenID provider and a whole login. */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Oidc, startOidc } from "../../../scripts/lib/oidc.ts";
import { parseConfig } from "../../../worker/config/parse.ts";
import { verifyIdentityToken } from "../../../worker/identity/identity-token.ts";
import type { Issuer } from "../../../worker/identity/issuer.ts";
import { type KeySource, createKeySource } from "../../../worker/identity/key-source.ts";
import { createPolicyEngine } from "../../../worker/policy/cedar/engine.ts";
import { testCedar } from "../../support/cedar.ts";

let provider: Oidc;
let issuers: readonly Issuer[];
let keySource: KeySource;

beforeAll(async () => {
  provider = await startOidc();
  const file = new URL("../../../scripts/demo/config/sallyport.yaml", import.meta.url);
  const text = readFileSync(file, "utf8").replaceAll("${ISSUER}", provider.issuer);
  const config = parseConfig({ "sallyport.yaml": text }, createPolicyEngine(testCedar()));
  if (!config.ok) throw new Error(JSON.stringify(config.error));
  issuers = config.value.issuers;
  keySource = createKeySource(fetch);
});
afterAll(() => provider.stop());

async function verify(token: string) {
  return await verifyIdentityToken(token, issuers, keySource, Date.now());
}

/** Code flow with PKCE (RFC 7636), cookies and redirects by hand; gives the ID token. */
async function login(user: string): Promise<string> {
  const cookies = new Map<string, string>();
  const go = async (url: string, init: RequestInit = {}): Promise<Response> => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, { ...init, redirect: "manual", headers: { ...init.headers, cookie } });
    for (const set of response.headers.getSetCookie()) {
      const [pair = ""] = set.split(";");
      cookies.set(pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1));
    }
    return response;
  };
  const location = (response: Response): string =>
    new URL(response.headers.get("location") ?? "", provider.issuer).toString();

  const verifier = randomBytes(32).toString("base64url");
  const redirect = "http://127.0.0.1:1/callback";
  const parameters = new URLSearchParams({
    client_id: provider.clientId,
    response_type: "code",
    redirect_uri: redirect,
    scope: "openid profile email groups",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    state: "s",
  });
  const page = location(await go(`${provider.issuer}/auth?${parameters.toString()}`));
  let next = location(await go(page, { method: "POST", body: new URLSearchParams({ user }) }));
  for (let hops = 0; hops < 5 && !next.startsWith(redirect); hops++) next = location(await go(next));
  const answer = await fetch(`${provider.issuer}/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: provider.clientId,
      code: new URL(next).searchParams.get("code") ?? "",
      redirect_uri: redirect,
      code_verifier: verifier,
    }),
  });
  const { id_token: token } = (await answer.json()) as { id_token?: string };
  if (token === undefined) throw new Error(`no ID token: ${answer.status}`);
  return token;
}

describe("with a real OpenID provider", () => {
  it("a login's ID token gives the user with groups and name", async () => {
    const result = await verify(await login("reviewer-a"));
    expect(result.ok ? result.value.principal : result.error).toEqual({
      type: "User",
      issuer: provider.issuer,
      subject: "reviewer-a",
      name: "reviewer-a@shop.example",
      groups: ["dba"],
    });
  });

  it("the demo's agent is a workload", async () => {
    const result = await verify(await provider.issueIdToken("agent", { ttl: 3600 }));
    expect(result.ok ? result.value.principal : result.error).toMatchObject({
      type: "Workload",
      subject: "agent",
      groups: ["agents"],
    });
  });

  it("an expired token, one for another audience, and one of another provider are refused", async () => {
    const other = await startOidc();
    const tokens = [
      await provider.issueIdToken("engineer", { ttl: -10 }),
      await provider.issueIdToken("engineer", { ttl: 3600, audience: "another-app" }),
      await other.issueIdToken("engineer", { ttl: 3600 }),
      await other.issueIdToken("engineer", { ttl: 3600, claims: { iss: provider.issuer } }),
    ];
    await other.stop();
    const outcomes = await Promise.all(tokens.map(verify));
    expect(outcomes.map((result) => (result.ok ? "ok" : result.error.problem))).toEqual([
      "expired",
      "audience_wrong",
      "issuer_unknown",
      "key_unknown",
    ]);
  });
});
