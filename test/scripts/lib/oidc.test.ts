import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRemoteJWKSet, decodeJwt, jwtVerify } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Oidc, startOidc } from "../../../scripts/lib/oidc.ts";

let directory: string;
let oidc: Oidc;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sallyport-oidc-"));
  oidc = await startOidc({ keyFile: join(directory, "key.json") });
});
afterAll(async () => {
  await oidc.stop();
  await rm(directory, { recursive: true });
});

type Metadata = {
  readonly issuer: string;
  readonly jwks_uri: string;
  readonly authorization_endpoint: string;
  readonly token_endpoint: string;
};
const metadata = async (): Promise<Metadata> =>
  (await (await fetch(`${oidc.issuer}/.well-known/openid-configuration`)).json()) as Metadata;

describe("the demo's identity provider", () => {
  it("publishes the key that its tokens are signed with", async () => {
    const { jwks_uri: uri, issuer } = await metadata();
    expect(issuer).toBe(oidc.issuer);
    const token = await oidc.issueIdToken("agent", { ttl: 60 });
    const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(uri)), {
      issuer,
      audience: oidc.clientId,
    });
    expect(payload).toMatchObject({ sub: "agent", groups: ["agents"] });
  });

  it("issues tokens that have expired when a test asks for one", async () => {
    const { iat = 0, exp = 0 } = decodeJwt(await oidc.issueIdToken("engineer", { ttl: -60 }));
    expect(exp).toBeLessThan(Date.now() / 1000);
    expect(iat).toBeLessThan(exp);
  });

  it("keeps its key over a restart", async () => {
    const again = await startOidc({ keyFile: join(directory, "key.json") });
    await again.stop();
    expect(again.publicKey).toEqual(oidc.publicKey);
  });

  it("logs a user in by the code flow with PKCE on any loopback port, and refreshes", async () => {
    const { authorization_endpoint: authorize, token_endpoint: tokens } = await metadata();
    const redirect = "http://127.0.0.1:51234/callback";
    const verifier = randomBytes(32).toString("base64url");
    const url = new URL(authorize);
    url.search = new URLSearchParams({
      client_id: oidc.clientId,
      response_type: "code",
      scope: "openid profile email groups",
      redirect_uri: redirect,
      code_challenge: createHash("sha256").update(verifier).digest("base64url"),
      code_challenge_method: "S256",
      state: "the-state",
      nonce: "the-nonce",
    }).toString();
    const browser = createBrowser(redirect);
    const page = await browser(url.href);
    expect(page.text).toContain("reviewer-a");
    const back = new URL((await browser(page.url, new URLSearchParams({ user: "reviewer-a" }))).url);
    expect(back.searchParams.get("state")).toBe("the-state");
    const post = async (form: Record<string, string>): Promise<Record<string, string>> =>
      (await (await fetch(tokens, { method: "POST", body: new URLSearchParams(form) })).json()) as Record<
        string,
        string
      >;
    const answer = await post({
      grant_type: "authorization_code",
      client_id: oidc.clientId,
      redirect_uri: redirect,
      code: back.searchParams.get("code") ?? "",
      code_verifier: verifier,
    });
    expect(decodeJwt(answer["id_token"] ?? "")).toMatchObject({
      sub: "reviewer-a",
      groups: ["dba"],
      nonce: "the-nonce",
    });
    const refreshed = await post({
      grant_type: "refresh_token",
      client_id: oidc.clientId,
      refresh_token: answer["refresh_token"] ?? "",
    });
    expect(decodeJwt(refreshed["id_token"] ?? "")).toMatchObject({ sub: "reviewer-a", groups: ["dba"] });
  });

  it("refuses a client that does not use PKCE", async () => {
    const { authorization_endpoint: authorize } = await metadata();
    const query = `client_id=${oidc.clientId}&response_type=code&scope=openid&redirect_uri=http://127.0.0.1:51234/callback`;
    const response = await fetch(`${authorize}?${query}`, { redirect: "manual" });
    expect(response.headers.get("location")).toContain("error=invalid_request");
  });
});

/** Follows redirects with cookies, as a browser does, until it is sent to `stopAt`. */
function createBrowser(
  stopAt: string,
): (url: string, form?: URLSearchParams) => Promise<{ url: string; text: string }> {
  const jar = new Map<string, string>();
  return async (start, form) => {
    let url = start;
    let body = form;
    for (;;) {
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
      const response = await fetch(url, {
        redirect: "manual",
        headers: { cookie },
        ...(body === undefined ? {} : { method: "POST", body }),
      });
      body = undefined;
      for (const line of response.headers.getSetCookie()) {
        const [pair = ""] = line.split(";");
        jar.set(pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1));
      }
      const location = response.headers.get("location");
      if (location === null) return { url, text: await response.text() };
      url = new URL(location, url).href;
      if (url.startsWith(stopAt)) return { url, text: "" };
    }
  };
}
