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
import { actorToken, displayName, identityToken, tokenType } from "./identity-token.ts";
import { newProofKey } from "./proof.ts";

export type SessionToken = {
  readonly token: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** Name of who it is for, from the identity token; display only. */
  readonly name: string;
  /** Bound to the key of this process. */
  readonly bound: boolean;
  /** The task that it is for. */
  readonly task: string | undefined;
};

export type SessionTokens = {
  /** The kept token, or a new one when that has little life left. */
  readonly get: () => Promise<Result<SessionToken, Failure>>;
  /** A new one in any case. */
  readonly renew: () => Promise<Result<SessionToken, Failure>>;
  /** What a request with that token needs: the token, and the proof that it is ours. `path` may have a query. */
  readonly headers: (token: SessionToken, method: string, path: string) => Record<string, string>;
};

export type TokenOptions = {
  /** JSON of `authorization_details` (RFC 9396): a task to start with the first token. */
  readonly details?: string;
  /** A token that whoever it is handed to can use; by default it is bound to this process. */
  readonly unbound?: boolean;
};

// One key a process: the gateway sees that its tokens belong together.
const proofKey = newProofKey();

/** A token younger than this is used again; a session needs some life left in the token it starts with. */
const MARGIN_MS = 60_000;

/** A session token lasts 15 minutes; this long before its end a session is shown a fresh one. */
const RENEW_BEFORE_MS = 3 * 60_000;
/** An identity token that ends soon makes a session token that ends with it: renewed in the last three quarters. */
const SHORT_PART = 1 / 4;
/** When it did not work. */
export const RENEWAL_RETRY_MS = 30_000;

/** When to renew a token that has `left` milliseconds to live, in milliseconds from now. */
export function renewalDelay(left: number): number {
  return Math.max(left - RENEW_BEFORE_MS, left * SHORT_PART);
}

/** Tokens for `resources` (names), or for the API and whatever the principal may reach when it is empty. */
export function sessionTokens(
  context: Context,
  gateway: string,
  resources: readonly string[],
  options: TokenOptions = {},
): SessionTokens {
  let kept: SessionToken | undefined;
  let task = context.task;
  let pending: Promise<Result<SessionToken, Failure>> | undefined;
  const renew = async (): Promise<Result<SessionToken, Failure>> => {
    const details = task === undefined ? options.details : JSON.stringify([{ type: "sallyport", task }]);
    pending ??= exchange(context, gateway, resources, details, options.unbound !== true).finally(
      () => (pending = undefined),
    );
    const exchanged = await pending;
    if (exchanged.ok) {
      kept = exchanged.value;
      // The task that was started is the one that later tokens are for.
      task ??= kept.task;
    }
    return exchanged;
  };
  return {
    get: async () => (kept !== undefined && kept.expiresAt - MARGIN_MS > Date.now() ? ok(kept) : renew()),
    renew,
    headers: ({ token, bound }, method, path) => {
      if (!bound) return { authorization: `Bearer ${token}` };
      const url = gateway + (path.split("?")[0] ?? "");
      return { authorization: `DPoP ${token}`, dpop: proofKey.prove(method, url, token) };
    },
  };
}

const Exchanged = z.object({
  access_token: z.string().min(1),
  expires_in: z.number().positive(),
  token_type: z.string().regex(/^(bearer|dpop)$/i),
  task: z.string().optional(),
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
  details: string | undefined,
  bound: boolean,
): Promise<Result<SessionToken, Failure>> {
  const identity = await identityToken(context, gateway);
  if (!identity.ok) return identity;
  const actor = await actorToken(context);
  if (!actor.ok) return actor;
  const answer = await request(`the gateway ${gateway}`, `${gateway}/oauth/token`, {
    method: "POST",
    headers: {
      accept: "application/json",
      ...(bound ? { dpop: proofKey.prove("POST", `${gateway}/oauth/token`) } : {}),
    },
    body: new URLSearchParams([
      ["grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"],
      ["subject_token", identity.value.token],
      ["subject_token_type", tokenType(identity.value.token)],
      ...(actor.value === undefined
        ? []
        : [
            ["actor_token", actor.value.token] as [string, string],
            ["actor_token_type", tokenType(actor.value.token)] as [string, string],
          ]),
      ...(details === undefined ? [] : [["authorization_details", details] as [string, string]]),
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
      name: displayName(
        identity.value.token.startsWith("sll_") ? parsed.data.access_token : identity.value.token,
      ),
      bound: parsed.data.token_type.toLowerCase() === "dpop",
      task: parsed.data.task,
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
  if (error === "invalid_authorization_details") {
    return fail(EXIT.denied, `the gateway does not start this task: ${why}`, {
      hint: "a task can only be narrower than what it is started from",
    });
  }
  if (error === "invalid_dpop_proof") {
    return fail(EXIT.unauthenticated, `the gateway did not accept the proof of this sally's key: ${why}`, {
      hint: `check this machine's clock, and that ${gateway} is the address that the gateway calls itself`,
    });
  }
  if (status >= 500 || status === 429)
    return fail(EXIT.unreachable, `the gateway cannot exchange a token now: ${why}`);
  return fail(EXIT.unauthenticated, `the gateway did not accept the identity token: ${why}`, {
    ...(code === undefined ? {} : { code }),
    hint,
  });
}
