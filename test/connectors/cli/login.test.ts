import { mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeJwt, exportJWK, generateKeyPair } from "jose";
import { Provider } from "oidc-provider";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Oidc, startOidc } from "../../../scripts/lib/oidc.ts";
import { freePort } from "../../../scripts/lib/ports.ts";
import { browse } from "./browser.ts";
import { type StandIn, startStandIn } from "./stand-in-gateway.ts";
import { run, start, until } from "./support.ts";

let oidc: Oidc;
let gateway: StandIn;
let home: string;
let environment: Record<string, string>;

const WHOAMI = {
  status: 200,
  body: {
    principal: {
      type: "User",
      issuer: "x",
      subject: "engineer",
      name: "engineer@shop.example",
      groups: ["engineers"],
    },
    expiresAt: "2026-11-22T09:00:00Z",
    resources: null,
  },
};

beforeAll(async () => {
  oidc = await startOidc();
  gateway = await startStandIn({
    issuer: { issuer: oidc.issuer, clientId: oidc.clientId, publicKey: oidc.publicKey },
  });
  gateway.answers.set("GET /v1/whoami", WHOAMI);
});
afterAll(async () => {
  await gateway?.stop();
  await oidc?.stop();
});
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "sally-login-"));
  environment = { XDG_CONFIG_HOME: home };
  gateway.exchanges.length = 0;
});
afterEach(() => rm(home, { recursive: true, force: true }));

/** Starts `sally login` and resolves to the address that it shows. */
async function beginLogin(...words: string[]) {
  const login = start(["login", "--gateway", gateway.url, "--no-browser", ...words], environment);
  const shown = /\n {2}(http\S+)\n/;
  await until(() => shown.test(login.seen().err));
  return { ...login, address: shown.exec(login.seen().err)?.[1] ?? "" };
}

describe("sally login", () => {
  it("signs in at a real OpenID Connect provider and keeps the tokens for the user alone", async () => {
    const { address, done } = await beginLogin();
    const page = await browse(address, "engineer");
    expect(page).toMatchObject({ status: 200 });
    expect(page.text).toContain("You are signed in.");
    const ran = await done;
    expect(ran).toMatchObject({ code: 0, out: `signed in to ${gateway.url} as engineer@shop.example\n` });
    const directory = join(home, "sally");
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    for (const name of await readdir(directory))
      expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600);
    const stored = JSON.parse(
      await readFile(join(directory, `login-${encodeURIComponent(gateway.url)}.json`), "utf8"),
    ) as { idToken: string };
    expect(decodeJwt(stored.idToken)).toMatchObject({
      sub: "engineer",
      aud: "sally-cli",
      groups: ["engineers"],
    });
    expect(ran.out + ran.err).not.toContain(stored.idToken);
    // The gateway has become the default, and the token is what is exchanged.
    const me = await run(["whoami"], environment);
    expect(me).toMatchObject({ code: 0, err: "" });
    expect(me.out).toContain("engineer@shop.example");
    expect(gateway.exchanges.at(-1)?.get("subject_token")).toBe(stored.idToken);
  });

  it("asks with PKCE S256, state and nonce, all new each time", async () => {
    const first = await beginLogin();
    const second = await beginLogin();
    const [a, b] = [first, second].map(({ address }) => new URL(address).searchParams);
    expect(a?.get("code_challenge_method")).toBe("S256");
    expect(a?.get("response_type")).toBe("code");
    expect(a?.get("redirect_uri")).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/callback$/);
    for (const name of ["state", "nonce", "code_challenge"]) {
      expect(a?.get(name)).toMatch(/^[\w-]{43}$/);
      expect(a?.get(name)).not.toBe(b?.get(name));
    }
    for (const { child, done } of [first, second]) {
      child.kill();
      await done;
    }
  });

  it("is not disturbed by answers without its state, and refuses one of another issuer", async () => {
    const { address, done } = await beginLogin();
    const redirect = new URL(new URL(address).searchParams.get("redirect_uri") ?? "");
    const guess = await fetch(`${redirect.href}?code=x&state=guess`);
    expect(guess.status).toBe(400);
    expect(await guess.text()).toContain("not the sign-in that sally waits for");
    expect((await fetch(`${redirect.origin}/favicon.ico`)).status).toBe(400);
    const answer = await browse(address, "engineer", ({ pathname }) => pathname === "/callback");
    const mixed = new URL(answer.url);
    mixed.searchParams.set("iss", "https://attacker.example");
    expect((await fetch(mixed)).status).toBe(400);
    expect(await done).toMatchObject({ code: 5, out: "" });
    expect((await done).err).toContain(
      "sally: the browser's answer came from another issuer than the one asked\n",
    );
  });

  it("says what the issuer says when it gives no code, and when the code is wrong", async () => {
    const denied = await beginLogin();
    await browse(denied.address, "nobody");
    expect((await denied.done).code).toBe(5);
    expect((await denied.done).err).toMatch(/sally: the issuer refused: /);
    const wrong = await beginLogin();
    const answer = await browse(wrong.address, "engineer", ({ pathname }) => pathname === "/callback");
    const url = new URL(answer.url);
    url.searchParams.set("code", "wrong");
    await fetch(url);
    expect((await wrong.done).code).toBe(5);
    expect((await wrong.done).err).toContain(`sally: the issuer ${oidc.issuer} gave no token: `);
  });

  it("cannot use a code of another sign-in: the verifier is its own", async () => {
    const mine = await beginLogin();
    const other = await beginLogin();
    const stolen = new URL(
      (await browse(other.address, "reviewer-a", ({ pathname }) => pathname === "/callback")).url,
    );
    const own = new URL(
      (await browse(mine.address, "engineer", ({ pathname }) => pathname === "/callback")).url,
    );
    own.searchParams.set("code", stolen.searchParams.get("code") ?? "");
    await fetch(own);
    expect((await mine.done).code).toBe(5);
    other.child.kill();
    await other.done;
  });

  it("wants an issuer that the gateway trusts", async () => {
    const ran = await run(
      ["login", "--gateway", gateway.url, "--issuer", "https://other.example"],
      environment,
    );
    expect(ran).toEqual({
      code: 2,
      out: "",
      err: `sally: ${gateway.url} does not trust the issuer https://other.example\n  ${oidc.issuer}\n  hint: choose one of these with --issuer\n`,
    });
  });

  it("refuses an issuer that says it is another one", async () => {
    const server = createServer((_, response) => {
      response.setHeader("content-type", "application/json");
      const at = "https://elsewhere.example";
      response.end(
        JSON.stringify({ issuer: at, authorization_endpoint: at, token_endpoint: at, jwks_uri: at }),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const issuer = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
    const odd = await startStandIn({ issuer: { issuer, clientId: "x", publicKey: oidc.publicKey } });
    const ran = await run(["login", "--gateway", odd.url, "--no-browser"], environment);
    expect(ran).toMatchObject({
      code: 1,
      err: `sally: ${issuer} says that it is https://elsewhere.example\n`,
    });
    await odd.stop();
    server.close();
  });

  it("is undone by logout", async () => {
    const { address, done } = await beginLogin();
    await browse(address, "engineer");
    await done;
    expect(await run(["logout"], environment)).toEqual({
      code: 0,
      out: "",
      err: `sally: signed out of ${gateway.url}\n`,
    });
    expect(await run(["whoami"], environment)).toEqual({
      code: 5,
      out: "",
      err: `sally: not signed in to ${gateway.url}\n  hint: sign in with: sally login --gateway ${gateway.url} (a workload uses --token-file)\n`,
    });
  });
});

describe("where the identity token comes from", () => {
  it("reads --token-file, SALLY_TOKEN_FILE, SALLY_TOKEN in this order, the file anew each time", async () => {
    const tokens = await Promise.all([1, 2, 3].map((n) => oidc.issueIdToken("agent", { ttl: 100 + n })));
    const [a, b, c] = tokens as [string, string, string];
    const files = [join(home, "a"), join(home, "b")] as [string, string];
    await writeFile(files[0], `${a}\n`);
    await writeFile(files[1], b);
    const all = { ...environment, SALLY_GATEWAY: gateway.url, SALLY_TOKEN_FILE: files[1], SALLY_TOKEN: c };
    const used = async (words: string[], env: Record<string, string | undefined>): Promise<string | null> => {
      expect((await run(["whoami", ...words], env)).code).toBe(0);
      return gateway.exchanges.at(-1)?.get("subject_token") ?? null;
    };
    expect(await used(["--token-file", files[0]], all)).toBe(a);
    expect(await used([], all)).toBe(b);
    expect(await used([], { ...all, SALLY_TOKEN_FILE: undefined })).toBe(c);
    await writeFile(files[1], a);
    expect(await used([], all)).toBe(a);
  });

  it("never falls back to the login, nor to a browser, when a token file is of no use", async () => {
    const env = { ...environment, SALLY_GATEWAY: gateway.url };
    const missing = await run(["whoami", "--token-file", "/nonexistent"], env);
    expect(missing).toMatchObject({
      code: 5,
      err: "sally: cannot read token file /nonexistent: no such file or directory\n",
    });
    const file = join(home, "token");
    await writeFile(file, "");
    expect(await run(["whoami"], { ...env, SALLY_TOKEN_FILE: file })).toMatchObject({
      code: 5,
      err: `sally: token file ${file} is empty\n`,
    });
    await writeFile(file, "two\r\nlines of secret");
    const odd = await run(["whoami"], { ...env, SALLY_TOKEN_FILE: file });
    expect(odd).toMatchObject({ code: 5, err: `sally: token file ${file} does not hold a token\n` });
    await writeFile(file, "x".repeat(70_000));
    expect(await run(["whoami"], { ...env, SALLY_TOKEN_FILE: file })).toMatchObject({
      code: 5,
      err: `sally: token file ${file} is too long for a token\n`,
    });
    expect(gateway.exchanges).toHaveLength(0);
  });
});

describe("refreshing", () => {
  /** A provider whose ID tokens are stale at once and whose refresh tokens may be used once only. */
  async function rotatingProvider() {
    const port = await freePort();
    const issuer = `http://127.0.0.1:${port}`;
    const pair = await generateKeyPair("RS256", { extractable: true });
    const key = { ...(await exportJWK(pair.privateKey)), kid: "k", alg: "RS256", use: "sig" };
    const configuration = {
      clients: [
        {
          client_id: "sally-cli",
          application_type: "native",
          token_endpoint_auth_method: "none",
          grant_types: ["authorization_code", "refresh_token"],
          response_types: ["code"],
          redirect_uris: ["http://127.0.0.1/callback"],
        },
      ],
      jwks: { keys: [key] },
      cookies: { keys: ["x"] },
      features: { devInteractions: { enabled: false } },
      rotateRefreshToken: true,
      interactions: { url: (_: unknown, { uid }: { uid: string }) => `/login/${uid}` },
      ttl: {
        Interaction: 60,
        Session: 60,
        Grant: 60,
        IdToken: 10,
        AccessToken: 60,
        AuthorizationCode: 60,
        RefreshToken: 60,
      },
      findAccount: (_: unknown, id: string) => ({ accountId: id, claims: () => ({ sub: id }) }),
    };
    // The declared configuration is what the demo uses; the package takes this one as well.
    const provider = new Provider(issuer, configuration as never);
    const callback = provider.callback();
    const uses = { tokenRequests: 0 };
    const server = createServer((request, response) => {
      if (request.url === "/token") uses.tokenRequests += 1;
      if (request.url?.startsWith("/login/") !== true) return callback(request, response);
      void (async () => {
        const { params } = await provider.interactionDetails(request, response);
        const grant = new provider.Grant({ accountId: "engineer", clientId: "sally-cli" });
        grant.addOIDCScope(String(params["scope"]));
        const result = { login: { accountId: "engineer" }, consent: { grantId: await grant.save() } };
        await provider.interactionFinished(request, response, result);
      })();
    });
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    const { kty, n, e } = key;
    return { issuer, publicKey: { kty, n, e, alg: "RS256", kid: "k" } as never, server, uses };
  }

  it("keeps a login alive past its ID token, with several sally at once, though a refresh token works once", async () => {
    const provider = await rotatingProvider();
    const other = await startStandIn({
      issuer: { issuer: provider.issuer, clientId: "sally-cli", publicKey: provider.publicKey },
    });
    other.scopes = ["openid", "offline_access"];
    other.answers.set("GET /v1/whoami", WHOAMI);
    try {
      const login = start(["login", "--gateway", other.url, "--no-browser"], environment);
      const shown = /\n {2}(http\S+)\n/;
      await until(() => shown.test(login.seen().err));
      await browse(shown.exec(login.seen().err)?.[1] ?? "", "engineer");
      expect((await login.done).code).toBe(0);
      const codes = await Promise.all([1, 2, 3, 4].map(() => run(["whoami"], environment)));
      for (const { code, err } of codes) expect({ code, err }).toEqual({ code: 0, err: "" });
      // One for the code, then one by each sally, each with the token that the one before it was given.
      expect(provider.uses.tokenRequests).toBe(5);
    } finally {
      await other.stop();
      provider.server.closeAllConnections();
      provider.server.close();
    }
  });

  it("asks to sign in again when the login is over", async () => {
    const { address, done } = await beginLogin();
    await browse(address, "engineer");
    await done;
    const path = join(home, "sally", `login-${encodeURIComponent(gateway.url)}.json`);
    const login = JSON.parse(await readFile(path, "utf8")) as object;
    await writeFile(path, JSON.stringify({ ...login, expiresAt: 1, refreshToken: "used up" }));
    expect(await run(["whoami"], environment)).toEqual({
      code: 5,
      out: "",
      err: `sally: your sign-in at ${oidc.issuer} has expired\n  hint: sign in again with: sally login --gateway ${gateway.url}\n`,
    });
  });
});
