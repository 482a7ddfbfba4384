/**
 * The gateway's own session token, had in exchange for the identity token (RFC 8693). It is kept in memory
 * only, for as long as it lasts; every exchange reads the identity token anew.
 */
import { z } from "zod";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import type { Context } from "./context.ts";
import { type Failure, exitFor, fail } from "./failure.ts";
import { parseJson, request } from "./http.ts";
import { displayName, identityToken } from "./identity-token.ts";

export type SessionToken = {
  readonly token: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** Name of who it is for, from the identity token; display only. */
  readonly name: string;
};

export type SessionTokens = {
  /** The kept token, or a new one when that has little life left. */
  readonly get: () => Promise<Result<SessionToken, Failure>>;
  /** A new one in any case. */
  readonly renew: () => Promise<Result<SessionToken, Failure>>;
};

/** A token younger than this is used again; a session needs some life left in the token it starts with. */
const MARGIN_MS = 60_000;

/** Tokens for `resources` (names), or for the API and whatever the principal may reach when it is empty. */
export function sessionTokens(
  context: Context,
  gateway: string,
  resources: readonly string[],
): SessionTokens {
  let kept: SessionToken | undefined;
  let pending: Promise<Result<SessionToken, Failure>> | undefined;
  const renew = async (): Promise<Result<SessionToken, Failure>> => {
    pending ??= exchange(context, gateway, resources).finally(() => (pending = undefined));
    const exchanged = await pending;
    if (exchanged.ok) kept = exchanged.value;
    return exchanged;
  };
  return {
    get: async () => (kept !== undefined && kept.expiresAt - MARGIN_MS > Date.now() ? ok(kept) : renew()),
    renew,
  };
}

const Exchanged = z.object({
  access_token: z.string().min(1),
  expires_in: z.number().positive(),
  token_type: z.string().regex(/^bearer$/i),
});

const ExchangeError = z.object({
  error: z.string(),
  error_description: z.string().optional(),
  code: z.string().optional(),
});

async function exchange(
  context: Context,
  gateway: string,
  resources: readonly string[],
): Promise<Result<SessionToken, Failure>> {
  const identity = await identityToken(context, gateway);
  if (!identity.ok) return identity;
  const answer = await request(`the gateway ${gateway}`, `${gateway}/oauth/token`, {
    method: "POST",
    headers: { accept: "application/json" },
    body: new URLSearchParams([
      ["grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"],
      ["subject_token", identity.value.token],
      ["subject_token_type", "urn:ietf:params:oauth:token-type:id_token"],
      ...resources.map((name) => ["resource", name] as [string, string]),
    ]),
  });
  if (!answer.ok) return answer;
  const body = parseJson(answer.value.text);
  if (answer.value.status === 200) {
    const parsed = Exchanged.safeParse(body);
    if (!parsed.success)
      return fail(
        EXIT.failed,
        `the gateway ${gateway} gave an answer to the token exchange that is not understood`,
      );
    return ok({
      token: parsed.data.access_token,
      expiresAt: Date.now() + parsed.data.expires_in * 1000,
      name: displayName(identity.value.token),
    });
  }
  return exchangeRefused(gateway, resources, answer.value.status, body, identity.value.hint);
}

/** RFC 6749 section 5.2 and RFC 8693 section 2.2.2. */
function exchangeRefused(
  gateway: string,
  resources: readonly string[],
  status: number,
  body: unknown,
  hint: string,
): Result<never, Failure> {
  const parsed = ExchangeError.safeParse(body);
  if (!parsed.success) {
    return fail(EXIT.unreachable, `${gateway} did not answer like a sallyport gateway (HTTP ${status})`, {
      hint: "check the address in --gateway or SALLY_GATEWAY",
    });
  }
  const { error, error_description: description, code } = parsed.data;
  const why = description ?? error;
  if (error === "invalid_target") {
    const named =
      resources.length === 0 ? why : `there is no resource ${resources.join(" or ")} that you can reach`;
    return fail(code === undefined ? EXIT.failed : exitFor(code), named, {
      ...(code === undefined ? {} : { code }),
      hint: "see what there is with: sally ls",
    });
  }
  if (status >= 500 || status === 429)
    return fail(EXIT.unreachable, `the gateway cannot exchange a token now: ${why}`);
  return fail(EXIT.unauthenticated, `the gateway did not accept the identity token: ${why}`, {
    ...(code === undefined ? {} : { code }),
    hint,
  });
}
