/** Starts the identity provider and issues ID tokens signed with its key. */
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type CryptoKey, type JWK, SignJWT, exportJWK, generateKeyPair, importJWK } from "jose";
import { OIDC_CLIENT_ID, OIDC_USERS, type OidcUserName, claimsOf } from "./oidc-users.ts";
import { freePort } from "./ports.ts";
import { type Supervised, supervise, tail } from "./processes.ts";

export type OidcOptions = {
  /** Default: a free one. The port is part of the issuer's name. */
  readonly port?: number;
  /** Keeps the signing key, so that tokens outlive a restart. Without it the key is new each time. */
  readonly keyFile?: string;
  readonly logFile?: string;
  /** Makes the console's client a confidential one with this secret. */
  readonly consoleSecret?: string;
};

/** What crosses to oidc-process.ts. */
export type OidcProcessOptions = {
  readonly issuer: string;
  readonly port: number;
  readonly key: Readonly<Record<string, unknown>>;
  readonly cookieKey: string;
  readonly consoleSecret?: string;
};

/** A later message to oidc-process.ts: what it says of a user from now on. */
export type ChangedGroups = { readonly user: OidcUserName; readonly groups: readonly string[] };

export type IdTokenOptions = {
  /** Seconds until it expires, from now; negative for one that has expired. */
  readonly ttl: number;
  /** Default: the client id of `sally login`. */
  readonly audience?: string;
  /** `typ` of its header; default `JWT`. An access token of RFC 9068 has `at+jwt`. */
  readonly type?: string;
  /** Replaces or adds claims, for tests of what is refused. */
  readonly claims?: Readonly<Record<string, unknown>>;
};

export type Oidc = {
  readonly issuer: string;
  readonly clientId: string;
  readonly process: Supervised;
  /** The public signing key, as its JWKS endpoint shows it. */
  readonly publicKey: JWK;
  /** An ID token for a user, signed (RS256) with the provider's own key. */
  issueIdToken(user: OidcUserName, options: IdTokenOptions): Promise<string>;
  /** From now on the provider says that the user is in these groups, at each login and each renewal. */
  setGroups(user: OidcUserName, groups: readonly string[]): Promise<void>;
  stop(): Promise<void>;
};

type Keys = { readonly key: JWK; readonly cookieKey: string };
type Answer = { readonly ready: true } | { readonly ready: false; readonly error: string };

/** Starts the provider on the loopback interface; resolves when it listens. */
export async function startOidc(options: OidcOptions = {}): Promise<Oidc> {
  const port = options.port ?? (await freePort());
  const issuer = `http://127.0.0.1:${port}`;
  const { key, cookieKey } = await loadKeys(options.keyFile);
  const child = await supervise({
    name: "the identity provider",
    command: process.execPath,
    args: [join(dirname(fileURLToPath(import.meta.url)), "oidc-process.ts")],
    ipc: true,
    ...(options.logFile === undefined ? {} : { logFile: options.logFile }),
  });
  const message: OidcProcessOptions = {
    issuer,
    port,
    key: { ...key },
    cookieKey,
    ...(options.consoleSecret === undefined ? {} : { consoleSecret: options.consoleSecret }),
  };
  const answer = await new Promise<Answer>((resolve) => {
    child.process.once("message", (received) => resolve(received as Answer));
    void child.exited.then(() => resolve({ ready: false, error: tail(child.logFile) }));
    child.process.send(message);
  });
  if (!answer.ready) {
    await child.stop();
    throw new Error(`the identity provider did not start: ${answer.error}`);
  }
  const signingKey = (await importJWK(key, "RS256")) as CryptoKey;
  const { kty, n, e, kid } = key;
  return {
    issuer,
    clientId: OIDC_CLIENT_ID,
    process: child,
    publicKey: { kty, n, e, kid, alg: "RS256", use: "sig" } as JWK,
    issueIdToken: (user, { ttl, audience = OIDC_CLIENT_ID, type = "JWT", claims = {} }) => {
      const now = Math.floor(Date.now() / 1000);
      const payload = {
        iss: issuer,
        sub: OIDC_USERS[user].subject,
        aud: audience,
        // One that has expired was issued before that.
        iat: ttl > 0 ? now : now + ttl - 300,
        exp: now + ttl,
        jti: randomUUID(),
        ...claimsOf(OIDC_USERS[user]),
        ...claims,
      };
      return new SignJWT(payload)
        .setProtectedHeader({ alg: "RS256", kid: key.kid ?? "", typ: type })
        .sign(signingKey);
    },
    setGroups: (user, groups) =>
      new Promise((resolve) => {
        child.process.once("message", () => resolve());
        child.process.send({ user, groups } satisfies ChangedGroups);
      }),
    stop: () => child.stop(),
  };
}

async function loadKeys(file: string | undefined): Promise<Keys> {
  if (file !== undefined && existsSync(file)) return JSON.parse(await readFile(file, "utf8")) as Keys;
  const pair = await generateKeyPair("RS256", { extractable: true });
  const key: JWK = {
    ...(await exportJWK(pair.privateKey)),
    kid: randomBytes(8).toString("hex"),
    alg: "RS256",
    use: "sig",
  };
  const keys: Keys = { key, cookieKey: randomBytes(24).toString("base64url") };
  if (file !== undefined) await writeFile(file, JSON.stringify(keys), { mode: 0o600 });
  return keys;
}
