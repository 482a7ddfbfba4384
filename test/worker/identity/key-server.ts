/** A real HTTP server that publishes keys as an identity provider does, and can be made to fail. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type CryptoKey, type JWK, SignJWT, exportJWK, generateKeyPair } from "jose";
import type { Issuer } from "../../../worker/identity/issuer.ts";

export type TestKey = { readonly kid: string; readonly privateKey: CryptoKey; readonly jwk: JWK };

export async function newKey(kid: string, algorithm = "RS256"): Promise<TestKey> {
  const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true });
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: algorithm, use: "sig" } };
}

export type KeyServer = {
  readonly url: string;
  /** What the key set holds now. */
  keys: JWK[];
  /** Answers with this instead, or hangs. */
  failure: "none" | "status" | "hang" | "huge" | "not json" | "redirect";
  /** Changes to the discovery document. */
  discovery: Record<string, unknown>;
  /** How often the key set was asked for. */
  asked: number;
  readonly close: () => Promise<void>;
};

export async function startKeyServer(keys: JWK[]): Promise<KeyServer> {
  const server = createServer((request, response) => {
    const json = (body: unknown): void => {
      response.setHeader("content-type", "application/json").end(JSON.stringify(body));
    };
    if (request.url === "/keys") state.asked++;
    if (state.failure === "status") return void response.writeHead(503).end("down");
    if (state.failure === "hang") return;
    if (state.failure === "not json") return void response.end("<html>");
    if (state.failure === "redirect")
      return void response.writeHead(302, { location: "http://127.0.0.1:1/" }).end();
    if (state.failure === "huge") return void response.end(`{"keys":[${" ".repeat(2 << 20)}]}`);
    if (request.url === "/.well-known/openid-configuration") {
      return json({ issuer: state.url, jwks_uri: `${state.url}/keys`, ...state.discovery });
    }
    if (request.url === "/keys") return json({ keys: state.keys });
    response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const state: KeyServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    keys,
    failure: "none",
    discovery: {},
    asked: 0,
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
  return state;
}

export function issuerAt(url: string, more: Partial<Issuer> = {}): Issuer {
  return {
    issuer: url,
    audience: ["sallyport"],
    algorithms: ["RS256"],
    scopes: ["openid"],
    principal: "User",
    rules: [],
    require: {},
    nameClaim: "email",
    groupsClaim: "groups",
    ...more,
  };
}

/** The moment at which all tests take place, in milliseconds. */
export const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
export const SECONDS = NOW / 1000;

/** A token that is good in every respect, save for what is changed; `undefined` removes a claim or header. */
export async function sign(
  key: TestKey,
  issuer: string,
  claims: Record<string, unknown> = {},
  header: Record<string, unknown> = {},
): Promise<string> {
  const all = {
    iss: issuer,
    aud: "sallyport",
    sub: "alice",
    iat: SECONDS - 10,
    exp: SECONDS + 3600,
    email: "alice@example.com",
    groups: ["engineers"],
    ...claims,
  };
  const kept = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  return await new SignJWT(kept)
    .setProtectedHeader({ alg: String(key.jwk.alg), kid: key.kid, ...header })
    .sign(key.privateKey);
}

export function part(value: unknown): string {
  return Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
}
