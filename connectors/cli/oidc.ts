/**
 * Signing in with OpenID Connect: the authorization code flow with PKCE, as an application on this machine
 * does it (RFC 8252: system browser, loopback redirect, port of its own; RFC 7636 S256; RFC 9207 issuer in
 * the answer). `sally` is a public client and holds no secret. The gateway verifies the ID token again on
 * every exchange; it is verified here so that a wrong one is never stored.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";
import { z } from "zod";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import type { LoginIssuer } from "./answers.ts";
import { type Failure, fail } from "./failure.ts";
import { isLoopback } from "./gateway.ts";
import { parseJson, request } from "./http.ts";

export type Tokens = {
  readonly idToken: string;
  readonly refreshToken: string | undefined;
  /** Seconds since the epoch. */
  readonly expiresAt: number;
  readonly tokenEndpoint: string;
  readonly name: string;
};

export type SignInOptions = {
  readonly issuer: LoginIssuer;
  /** Shows the address to the user, and opens a browser with it if that is wanted and can be. */
  readonly present: (address: string) => void;
  /** Milliseconds until the user must be done. */
  readonly patience: number;
};

const Metadata = z.object({
  issuer: z.string(),
  authorization_endpoint: z.string(),
  token_endpoint: z.string(),
  jwks_uri: z.string(),
  authorization_response_iss_parameter_supported: z.boolean().optional(),
  code_challenge_methods_supported: z.array(z.string()).optional(),
});
type Metadata = z.infer<typeof Metadata>;

const TokenAnswer = z.object({ id_token: z.string(), refresh_token: z.string().optional() });

/** Asymmetric algorithms only: the symmetric ones would take the client id for a key, `none` takes nothing. */
const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];

export async function signIn(options: SignInOptions): Promise<Result<Tokens, Failure>> {
  const metadata = await discover(options.issuer.issuer);
  if (!metadata.ok) return metadata;
  const state = randomBytes(32).toString("base64url");
  const nonce = randomBytes(32).toString("base64url");
  const verifier = randomBytes(32).toString("base64url");
  const callback = await openCallback(state, metadata.value, options.patience);
  if (!callback.ok) return callback;
  const { redirectUri, code } = callback.value;
  const { scopes } = options.issuer;
  const address = new URL(metadata.value.authorization_endpoint);
  const parameters: Record<string, string> = {
    response_type: "code",
    client_id: options.issuer.clientId,
    redirect_uri: redirectUri,
    scope: [...new Set(["openid", ...scopes])].join(" "),
    state,
    nonce,
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    // OpenID Connect Core section 11: offline access is given only with the user's consent.
    ...(scopes.includes("offline_access") ? { prompt: "consent" } : {}),
  };
  for (const [name, value] of Object.entries(parameters)) address.searchParams.set(name, value);
  options.present(address.href);
  const received = await code;
  if (!received.ok) return received;
  return redeem(options.issuer, metadata.value, { code: received.value, redirectUri, verifier, nonce });
}

/** OpenID Connect Discovery section 4. */
async function discover(issuer: string): Promise<Result<Metadata, Failure>> {
  const insecure = insecureAddress(issuer);
  if (insecure) return fail(EXIT.failed, `the issuer's address ${issuer} is not https`);
  const answer = await request(
    `the issuer ${issuer}`,
    `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`,
  );
  if (!answer.ok) return answer;
  const parsed = Metadata.safeParse(answer.value.status === 200 ? parseJson(answer.value.text) : undefined);
  if (!parsed.success)
    return fail(EXIT.unreachable, `${issuer} does not answer like an openid connect issuer`);
  const metadata = parsed.data;
  // A document of another issuer would let that one take this one's place (section 4.3).
  if (metadata.issuer !== issuer) return fail(EXIT.failed, `${issuer} says that it is ${metadata.issuer}`);
  const endpoints = [metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri];
  if (endpoints.some(insecureAddress))
    return fail(EXIT.failed, `an endpoint of the issuer ${issuer} is not https`);
  if (metadata.code_challenge_methods_supported?.includes("S256") === false) {
    return fail(EXIT.failed, `the issuer ${issuer} does not support PKCE with S256`);
  }
  return ok(metadata);
}

function insecureAddress(address: string): boolean {
  if (!URL.canParse(address)) return true;
  const url = new URL(address);
  return url.protocol !== "https:" && !(url.protocol === "http:" && isLoopback(url.hostname));
}

type Callback = { readonly redirectUri: string; readonly code: Promise<Result<string, Failure>> };

/**
 * Listens on a free port of 127.0.0.1 for the one redirect that carries our state. Other requests (a favicon,
 * another program's guess) are answered and change nothing.
 */
async function openCallback(
  state: string,
  metadata: Metadata,
  patience: number,
): Promise<Result<Callback, Failure>> {
  let settle: (result: Result<string, Failure>) => void = () => undefined;
  const code = new Promise<Result<string, Failure>>((resolve) => (settle = resolve));
  const server = createServer((incoming, response) => {
    const result = readCallback(incoming, state, metadata);
    if (result === undefined)
      return answerPage(response, 400, "This is not the sign-in that sally waits for.");
    answerPage(
      response,
      result.ok ? 200 : 400,
      result.ok
        ? "You are signed in. You can close this page and go back to your terminal."
        : "The sign-in failed. Your terminal says why.",
    );
    settle(result);
  });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
  } catch {
    return fail(EXIT.failed, "cannot listen on 127.0.0.1 for the browser's answer");
  }
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const timer = setTimeout(
    () =>
      settle(
        fail(EXIT.unauthenticated, "nobody signed in in time", { hint: "start again with: sally login" }),
      ),
    patience,
  );
  void code.then(() => {
    clearTimeout(timer);
    server.close();
    // The browser keeps its connection open; the page it asked for has been written by then.
    setTimeout(() => server.closeAllConnections(), 500).unref();
  });
  return ok({ redirectUri: `http://127.0.0.1:${port}/callback`, code });
}

/** The code or the error in the redirect; undefined when this is not the answer to our request. */
function readCallback(
  incoming: IncomingMessage,
  state: string,
  metadata: Metadata,
): Result<string, Failure> | undefined {
  if (incoming.method !== "GET" || incoming.url === undefined) return undefined;
  if (!URL.canParse(incoming.url, "http://127.0.0.1")) return undefined;
  const url = new URL(incoming.url, "http://127.0.0.1");
  if (url.pathname !== "/callback" || !sameText(url.searchParams.get("state") ?? "", state)) return undefined;
  const issuer = url.searchParams.get("iss");
  const mustName = metadata.authorization_response_iss_parameter_supported === true;
  if (issuer === null ? mustName : issuer !== metadata.issuer) {
    return fail(EXIT.unauthenticated, "the browser's answer came from another issuer than the one asked");
  }
  const error = url.searchParams.get("error");
  if (error !== null) {
    return fail(
      EXIT.unauthenticated,
      `the issuer refused: ${url.searchParams.get("error_description") ?? error}`,
    );
  }
  const code = url.searchParams.get("code");
  return code === null ? fail(EXIT.unauthenticated, "the issuer's answer has no code") : ok(code);
}

function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function answerPage(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    connection: "close",
  });
  response.end(
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>Sallyport</title><p>${text}</p></html>\n`,
  );
}

async function redeem(
  issuer: LoginIssuer,
  metadata: Metadata,
  granted: { code: string; redirectUri: string; verifier: string; nonce: string },
): Promise<Result<Tokens, Failure>> {
  const answer = await request(`the issuer ${issuer.issuer}`, metadata.token_endpoint, {
    method: "POST",
    headers: { accept: "application/json" },
    body: new URLSearchParams({
      grant_type: "authorization_code",
      code: granted.code,
      redirect_uri: granted.redirectUri,
      client_id: issuer.clientId,
      code_verifier: granted.verifier,
    }),
  });
  if (!answer.ok) return answer;
  const body = parseJson(answer.value.text);
  const parsed = TokenAnswer.safeParse(answer.value.status === 200 ? body : undefined);
  if (!parsed.success) {
    const error = z.object({ error: z.string(), error_description: z.string().optional() }).safeParse(body);
    const why = error.success
      ? (error.data.error_description ?? error.data.error)
      : `HTTP ${answer.value.status}`;
    return fail(EXIT.unauthenticated, `the issuer ${issuer.issuer} gave no token: ${why}`);
  }
  return verifyIdToken(issuer, metadata, parsed.data.id_token, granted.nonce, parsed.data.refresh_token);
}

/** OpenID Connect Core section 3.1.3.7. */
async function verifyIdToken(
  issuer: LoginIssuer,
  metadata: Metadata,
  idToken: string,
  nonce: string,
  refreshToken: string | undefined,
): Promise<Result<Tokens, Failure>> {
  try {
    const { payload } = await jwtVerify(idToken, createRemoteJWKSet(new URL(metadata.jwks_uri)), {
      issuer: issuer.issuer,
      audience: issuer.clientId,
      algorithms: ALGORITHMS,
      clockTolerance: 60,
      requiredClaims: ["exp", "sub", "nonce"],
    });
    if (!sameText(String(payload["nonce"]), nonce)) {
      return fail(EXIT.unauthenticated, "the issuer's token answers another sign-in than this one");
    }
    const several = Array.isArray(payload.aud) && payload.aud.length > 1;
    if (payload["azp"] !== undefined ? payload["azp"] !== issuer.clientId : several) {
      return fail(EXIT.unauthenticated, "the issuer's token is for another application");
    }
    const named = [payload["preferred_username"], payload["email"], payload.sub].find(
      (name) => typeof name === "string",
    );
    return ok({
      idToken,
      refreshToken,
      // requiredClaims has made sure of exp and sub.
      expiresAt: payload.exp ?? 0,
      tokenEndpoint: metadata.token_endpoint,
      name: typeof named === "string" ? named : "unknown",
    });
  } catch (error) {
    const why =
      error instanceof errors.JOSEError
        ? error.code.replace(/^ERR_/, "").replaceAll("_", " ").toLowerCase()
        : "its keys cannot be had";
    return fail(EXIT.unauthenticated, `the token of ${issuer.issuer} cannot be verified: ${why}`);
  }
}
