/**
 * Signing in with OpenID Connect: the authorization code flow with PKCE, as an application on this machine
 * does it (RFC 8252: system browser, loopback redirect, port of its own; RFC 7636 S256; RFC 9207 issuer in
 * the answer). `sally` is a public client and holds no secret. The gateway verifies the ID token again on
 * every exchange; it is verified here so that a wrong one is never stored.
 */
import { createHash, randomBytes } from "node:crypto";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";
import { z } from "zod";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import type { LoginIssuer } from "./answers.ts";
import { openCallback, sameText } from "./callback.ts";
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
  const callback = await openCallback({
    state,
    issuer: metadata.value.issuer,
    mustNameIssuer: metadata.value.authorization_response_iss_parameter_supported === true,
    patience: options.patience,
  });
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
