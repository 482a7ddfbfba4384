/**
 * Signing in through a SAML provider: the gateway speaks SAML, `sally` only waits for the browser on a loopback
 * port and redeems the code that it brings (RFC 6749 section 4.1, RFC 7636 S256). What it gets stands for the
 * login, at this gateway alone, until the provider's session ends.
 */
import { createHash, randomBytes } from "node:crypto";
import { z } from "zod";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import { openCallback } from "./callback.ts";
import { type Failure, fail } from "./failure.ts";
import { parseJson, request } from "./http.ts";
import { newProofKey } from "./proof.ts";

export type SamlTokens = {
  readonly token: string;
  /** Seconds since the epoch. */
  readonly expiresAt: number;
  readonly name: string;
};

export type SamlSignInOptions = {
  readonly gateway: string;
  /** Name of the provider in the gateway's configuration. */
  readonly provider: string;
  readonly present: (address: string) => void;
  /** Milliseconds until the user must be done. */
  readonly patience: number;
};

const Redeemed = z.object({
  refresh_token: z.string().regex(/^sll_[A-Za-z0-9_-]{43}$/),
  refresh_expires_in: z.number().positive(),
  name: z.string(),
});

export async function signInWithSaml(options: SamlSignInOptions): Promise<Result<SamlTokens, Failure>> {
  const { gateway, provider, present, patience } = options;
  const state = randomBytes(32).toString("base64url");
  const verifier = randomBytes(32).toString("base64url");
  const callback = await openCallback({ state, issuer: gateway, mustNameIssuer: false, patience });
  if (!callback.ok) return callback;
  const { redirectUri, code } = callback.value;
  const address = new URL(`${gateway}/saml/${encodeURIComponent(provider)}/login`);
  address.search = new URLSearchParams({
    redirect_uri: redirectUri,
    state,
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
  }).toString();
  present(address.href);
  const received = await code;
  if (!received.ok) return received;
  const url = `${gateway}/oauth/token`;
  const answer = await request(`the gateway ${gateway}`, url, {
    method: "POST",
    headers: { accept: "application/json", dpop: newProofKey().prove("POST", url) },
    body: new URLSearchParams({
      grant_type: "authorization_code",
      code: received.value,
      redirect_uri: redirectUri,
      client_id: "sally",
      code_verifier: verifier,
    }),
  });
  if (!answer.ok) return answer;
  const body = parseJson(answer.value.text);
  const parsed = Redeemed.safeParse(answer.value.status === 200 ? body : undefined);
  if (!parsed.success) {
    const error = z.object({ error: z.string(), error_description: z.string().optional() }).safeParse(body);
    const why = error.success
      ? (error.data.error_description ?? error.data.error)
      : `HTTP ${answer.value.status}`;
    return fail(EXIT.unauthenticated, `the gateway ${gateway} did not accept the sign-in: ${why}`);
  }
  return ok({
    token: parsed.data.refresh_token,
    expiresAt: Math.floor(Date.now() / 1000) + parsed.data.refresh_expires_in,
    name: parsed.data.name,
  });
}
