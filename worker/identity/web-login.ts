/**
 * Logging a browser in: the authorization code flow with PKCE (RFC 6749, RFC 7636, OpenID Connect Core 1.0
 * section 3.1), and renewing what it gave with the refresh token. `state` binds the answer to the browser that
 * asked, `nonce` binds the ID token to this login, PKCE binds the code to us.
 */
import { decodeJwt } from "jose";
import { z } from "zod";
import { fromUtf8, utf8 } from "../../wire/bytes.ts";
import { LIMITS } from "../../wire/limits.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import type { Issuer } from "./issuer.ts";

export type WebLoginProblem = "provider_unreachable" | "provider_malformed" | "code_refused";

type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Secrets of one login, kept where the browser cannot reach them but by its own cookie. */
export type LoginSecrets = { readonly state: string; readonly nonce: string; readonly verifier: string };

export type ProviderTokens = { readonly idToken: string; readonly refreshToken?: string };

const Metadata = z.object({
  issuer: z.string(),
  authorization_endpoint: z.string().max(2048),
  token_endpoint: z.string().max(2048),
});

/** The address to send the browser to. */
export async function authorizationAddress(
  fetch: Fetch,
  issuer: Issuer & { readonly consoleClientId: string },
  redirectUri: string,
  { state, nonce, verifier }: LoginSecrets,
): Promise<Result<string, WebLoginProblem>> {
  const metadata = await discover(fetch, issuer.issuer);
  if (!metadata.ok) return metadata;
  const challenge = base64url(
    new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(utf8(verifier)))),
  );
  const url = new URL(metadata.value.authorization_endpoint);
  const parameters = {
    response_type: "code",
    client_id: issuer.consoleClientId,
    redirect_uri: redirectUri,
    scope: issuer.scopes.join(" "),
    state,
    nonce,
    code_challenge: challenge,
    code_challenge_method: "S256",
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return ok(url.href);
}

/** Trades the code for tokens. The ID token is not verified yet. */
export function redeemCode(
  fetch: Fetch,
  issuer: Issuer & { readonly consoleClientId: string },
  clientSecret: string | undefined,
  {
    code,
    verifier,
    redirectUri,
  }: { readonly code: string; readonly verifier: string; readonly redirectUri: string },
): Promise<Result<ProviderTokens, WebLoginProblem>> {
  return askForTokens(fetch, issuer, clientSecret, {
    grant_type: "authorization_code",
    code,
    code_verifier: verifier,
    redirect_uri: redirectUri,
  });
}

/** Asks for a fresh ID token. `code_refused`: the provider says that the login is over. */
export function renewTokens(
  fetch: Fetch,
  issuer: Issuer & { readonly consoleClientId: string },
  clientSecret: string | undefined,
  refreshToken: string,
): Promise<Result<ProviderTokens, WebLoginProblem>> {
  return askForTokens(fetch, issuer, clientSecret, {
    grant_type: "refresh_token",
    refresh_token: refreshToken,
  });
}

/** Whether a verified ID token was made for this client, and for this login where a nonce is given. */
export function isForLogin(idToken: string, clientId: string, nonce: string | undefined): boolean {
  const { aud, nonce: given } = decodeJwt(idToken);
  const audience = Array.isArray(aud) ? aud : [aud];
  return audience.includes(clientId) && (nonce === undefined || given === nonce);
}

const Tokens = z.object({
  id_token: z.string().max(LIMITS.http.token),
  refresh_token: z.string().max(LIMITS.http.token).optional(),
});

async function askForTokens(
  fetch: Fetch,
  issuer: Issuer & { readonly consoleClientId: string },
  clientSecret: string | undefined,
  parameters: Readonly<Record<string, string>>,
): Promise<Result<ProviderTokens, WebLoginProblem>> {
  const metadata = await discover(fetch, issuer.issuer);
  if (!metadata.ok) return metadata;
  const form = new URLSearchParams(parameters);
  const headers: Record<string, string> = {
    accept: "application/json",
    "content-type": "application/x-www-form-urlencoded",
  };
  if (clientSecret === undefined) form.set("client_id", issuer.consoleClientId);
  else {
    // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
    const part = (text: string): string => encodeURIComponent(text).replaceAll("%20", "+");
    headers["authorization"] = `Basic ${btoa(`${part(issuer.consoleClientId)}:${part(clientSecret)}`)}`;
  }
  const answer = await readJson(fetch, metadata.value.token_endpoint, {
    method: "POST",
    headers,
    body: form.toString(),
  });
  if (!answer.ok) return answer;
  const { status, json } = answer.value;
  if (status >= 400 && status < 500) return err("code_refused");
  const tokens = status === 200 ? Tokens.safeParse(json) : undefined;
  if (tokens?.success !== true) return err("provider_malformed");
  const { id_token: idToken, refresh_token: refreshToken } = tokens.data;
  return ok({ idToken, ...(refreshToken === undefined ? {} : { refreshToken }) });
}

async function discover(
  fetch: Fetch,
  issuer: string,
): Promise<Result<z.infer<typeof Metadata>, WebLoginProblem>> {
  const address = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
  const answer = await readJson(fetch, address, { headers: { accept: "application/json" } });
  if (!answer.ok) return answer;
  const metadata = Metadata.safeParse(answer.value.json);
  if (answer.value.status !== 200 || !metadata.success) return err("provider_malformed");
  const { authorization_endpoint: authorization, token_endpoint: token } = metadata.data;
  // OpenID Connect Discovery 1.0 section 4.3: exactly the issuer that was asked for.
  const good = metadata.data.issuer === issuer && maySend(authorization, issuer) && maySend(token, issuer);
  return good ? ok(metadata.data) : err("provider_malformed");
}

/** Codes and tokens travel over TLS, except to a provider that itself runs on this machine. */
function maySend(address: string, issuer: string): boolean {
  const protocol = URL.parse(address)?.protocol;
  return protocol === "https:" || (protocol === "http:" && issuer.startsWith("http:"));
}

async function readJson(
  fetch: Fetch,
  url: string,
  init: RequestInit,
): Promise<Result<{ status: number; json: unknown }, WebLoginProblem>> {
  try {
    const response = await fetch(url, {
      ...init,
      // A redirect could lead anywhere; providers answer these addresses directly.
      redirect: "manual",
      signal: AbortSignal.timeout(LIMITS.time.providerRequest),
    });
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytes.length > LIMITS.http.providerDocument) return err("provider_malformed");
    return ok({ status: response.status, json: JSON.parse(fromUtf8(bytes) ?? "") });
  } catch (error) {
    return err(error instanceof SyntaxError ? "provider_malformed" : "provider_unreachable");
  }
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
}
