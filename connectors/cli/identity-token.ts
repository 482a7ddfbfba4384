/**
 * Where the identity token (an OIDC ID token) comes from: `--token-file`, SALLY_TOKEN_FILE, SALLY_TOKEN, or
 * the stored login, in this order. A token is never printed, logged or put on a command line.
 */
import { open } from "node:fs/promises";
import { z } from "zod";
import { LIMITS } from "../../wire/limits.ts";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import type { Context } from "./context.ts";
import { type Failure, fail, reasonOf } from "./failure.ts";
import { parseJson, request } from "./http.ts";
import { type Login, readLogin, updateLogin, withLock } from "./store.ts";

/** Token types of RFC 8693 section 3 that `sally` sends. */
const ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const LOGIN = "urn:ietf:params:oauth:token-type:refresh_token";

/** What kind of token it says it is: a session token of the gateway's, handed on to a step, or an identity token. */
export function tokenType(token: string): string {
  // What `sally login --saml` left.
  if (token.startsWith("sll_")) return LOGIN;
  const header = parseJson(Buffer.from(token.split(".")[0] ?? "", "base64url").toString("utf8"));
  const type = typeof header === "object" && header !== null && "typ" in header ? header.typ : undefined;
  return type === "sallyport-session+jwt" || type === "at+jwt" ? ACCESS_TOKEN : ID_TOKEN;
}

/** The token of `--actor-token-file`; undefined when nobody acts for somebody. */
export async function actorToken(context: Context): Promise<Result<IdentityToken | undefined, Failure>> {
  return context.actorTokenFile === undefined ? ok(undefined) : fromFile(context.actorTokenFile);
}

export type IdentityToken = {
  readonly token: string;
  /** What to do when the gateway does not take it. */
  readonly hint: string;
};

const LOGIN_HINT = "sign in with: sally login";

export async function identityToken(
  context: Context,
  gateway: string,
): Promise<Result<IdentityToken, Failure>> {
  const file = context.tokenFile ?? nonEmpty(context.environment["SALLY_TOKEN_FILE"]);
  if (file !== undefined) return fromFile(file);
  const token = nonEmpty(context.environment["SALLY_TOKEN"])?.trim();
  if (token !== undefined) {
    if (token.length > LIMITS.http.token)
      return fail(EXIT.unauthenticated, "SALLY_TOKEN is too long for a token");
    return ok({
      token,
      hint: "SALLY_TOKEN has to hold a current ID token of an issuer that the gateway trusts",
    });
  }
  return fromLogin(context, gateway);
}

async function fromFile(path: string): Promise<Result<IdentityToken, Failure>> {
  try {
    const handle = await open(path, "r");
    try {
      const buffer = Buffer.alloc(LIMITS.http.token + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length);
        length += bytesRead;
        if (bytesRead === 0 || length === buffer.length) break;
      }
      if (length > LIMITS.http.token)
        return fail(EXIT.unauthenticated, `token file ${path} is too long for a token`);
      const token = buffer.toString("utf8", 0, length).trim();
      if (token === "") return fail(EXIT.unauthenticated, `token file ${path} is empty`);
      // What is not a token must not become part of a header or an error message.
      if (!/^[\w.~+/=-]+$/.test(token))
        return fail(EXIT.unauthenticated, `token file ${path} does not hold a token`);
      return ok({
        token,
        hint: `the token in ${path} has to be a current ID token of an issuer that the gateway trusts`,
      });
    } finally {
      await handle.close();
    }
  } catch (error) {
    return fail(EXIT.unauthenticated, `cannot read token file ${path}: ${reasonOf(error)}`);
  }
}

async function fromLogin(context: Context, gateway: string): Promise<Result<IdentityToken, Failure>> {
  const login = await readLogin(context.environment, gateway);
  if (!login.ok) return login;
  if (login.value === undefined) {
    return fail(EXIT.unauthenticated, `not signed in to ${gateway}`, {
      hint: `${LOGIN_HINT} --gateway ${gateway} (a workload uses --token-file)`,
    });
  }
  if (isFresh(login.value)) return ok({ token: login.value.idToken, hint: LOGIN_HINT });
  return withLock(context.environment, gateway, async () => {
    // Another process may have refreshed it while we waited for the lock.
    const again = await readLogin(context.environment, gateway);
    if (!again.ok) return again;
    const current = again.value ?? login.value;
    if (current === undefined)
      return fail(EXIT.unauthenticated, `not signed in to ${gateway}`, { hint: LOGIN_HINT });
    if (isFresh(current)) return ok({ token: current.idToken, hint: LOGIN_HINT });
    const refreshed = await refresh(current);
    if (!refreshed.ok) return refreshed;
    const stored = await updateLogin(context.environment, refreshed.value);
    return stored.ok ? ok({ token: refreshed.value.idToken, hint: LOGIN_HINT }) : stored;
  });
}

function isFresh(login: Login): boolean {
  return login.expiresAt * 1000 > Date.now() + 30_000;
}

const Refreshed = z.object({ id_token: z.string(), refresh_token: z.string().optional() });

/** OpenID Connect Core section 12. The gateway verifies the new ID token; here only its lifetime is read. */
async function refresh(login: Login): Promise<Result<Login, Failure>> {
  const expired = (): Result<never, Failure> =>
    fail(EXIT.unauthenticated, `your sign-in at ${login.issuer} has expired`, {
      hint: `sign in again with: sally login --gateway ${login.gateway}`,
    });
  if (login.refreshToken === undefined) return expired();
  const answer = await request(`the issuer ${login.issuer}`, login.tokenEndpoint, {
    method: "POST",
    headers: { accept: "application/json" },
    body: new URLSearchParams({
      grant_type: "refresh_token",
      refresh_token: login.refreshToken,
      client_id: login.clientId,
    }),
  });
  if (!answer.ok) return answer;
  const parsed = Refreshed.safeParse(answer.value.status === 200 ? parseJson(answer.value.text) : undefined);
  if (!parsed.success) return expired();
  const claims = readClaims(parsed.data.id_token);
  if (claims === undefined) return expired();
  return ok({
    ...login,
    idToken: parsed.data.id_token,
    expiresAt: claims.exp,
    refreshToken: parsed.data.refresh_token ?? login.refreshToken,
  });
}

const Claims = z.object({
  exp: z.number(),
  sub: z.string().optional(),
  email: z.string().optional(),
  preferred_username: z.string().optional(),
  name: z.string().optional(),
  /** In a session token of the gateway's. */
  principal: z.object({ name: z.string() }).optional(),
});

/** The claims of a token as they stand there, unverified: for display and for knowing when to refresh. */
export function readClaims(token: string): z.infer<typeof Claims> | undefined {
  const payload = token.split(".")[1];
  if (payload === undefined) return undefined;
  const parsed = Claims.safeParse(parseJson(Buffer.from(payload, "base64url").toString("utf8")));
  return parsed.success ? parsed.data : undefined;
}

/** A name for the one a token speaks for; display only. */
export function displayName(token: string): string {
  const claims = readClaims(token);
  return claims?.principal?.name ?? claims?.preferred_username ?? claims?.email ?? claims?.sub ?? "unknown";
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
