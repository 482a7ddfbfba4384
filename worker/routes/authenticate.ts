/** Who a request comes from: our own session token, verified with the Control object's keys. */
import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import { REFUSALS, type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { type Bindings, controlOf, readSettings } from "../env.ts";
import { type Proof, verifyProof } from "../identity/proof.ts";
import { type VerificationKey, keyIdOf, verifySessionToken } from "../identity/session-token.ts";
import type { VerifiedToken } from "../policy/grant.ts";
import { admitBrowser } from "./browser.ts";
import { problem } from "./problem.ts";

export type Authenticated = {
  Bindings: Bindings;
  /**
   * `console`: which browser's session it is, where it came by a cookie. `unadmitted`: the token is rightly signed,
   * and whether it still counts is for the session to ask.
   */
  Variables: { token: VerifiedToken; console?: string; unadmitted?: boolean };
};

// Public keys are no identity: every request of the isolate may share them.
let kept: { keys: VerificationKey[]; readAt: number } | undefined;
const KEEP_MS = 30_000;
/** A key that is not known may be new; asking for it no more often than this keeps strangers from asking for us. */
const ASK_AGAIN_MS = 1000;

async function verificationKeys(
  bindings: Bindings,
  kid: string | undefined,
  now: number,
): Promise<VerificationKey[]> {
  const age = kept === undefined ? Number.POSITIVE_INFINITY : now - kept.readAt;
  const known = kept?.keys.some((key) => key.kid === kid) === true;
  if (kept === undefined || age > KEEP_MS || (!known && age > ASK_AGAIN_MS)) {
    kept = { keys: await controlOf(bindings).verificationKeys(), readAt: now };
  }
  return kept.keys;
}

/** What a token that names resources or a task, or that somebody uses for another, may ask of the API. */
const FOR_DELEGATES: readonly (readonly [method: string, path: RegExp])[] = [
  ["GET", /^\/v1\/(whoami|resources|ssh\/host-key)$/],
  ["GET", /^\/v1\/approvals\/[^/]+$/],
  ["POST", /^\/v1\/sessions\/[^/]+\/renew$/],
  ["GET", /^\/v1\/tasks(\/[^/]+)?$/],
  ["POST", /^\/v1\/tasks$/],
  ["DELETE", /^\/v1\/tasks\/[^/]+$/],
];

/** Refuses a request without a good session token and leaves what the token says in `token`. */
export const authenticate = createMiddleware<Authenticated>(async (context, next) => {
  // Two groups of routes may share a path, and a proof is good once.
  if ((context.get("token") as VerifiedToken | undefined) !== undefined) return next();
  const verified = await verifyRequest(context, admit);
  if (!verified.ok) return refuse(context, verified.error);
  const { resources, task, actors = [] } = verified.value;
  const delegated = resources !== null || task !== undefined || actors.length > 0;
  const { method, path } = context.req;
  const isApi = path.startsWith("/v1/");
  if (isApi && delegated && !FOR_DELEGATES.some(([verb, form]) => verb === method && form.test(path))) {
    const message = "a token for named resources, for a task or for somebody else cannot do this";
    return problem(context, refusal("delegation_not_enough", message, { hint: "use a token of your own" }));
  }
  context.set("token", verified.value);
  return next();
});

/**
 * For requests to a resource: `authenticate`, but whether a plain bearer token still counts is left to the session
 * that the request belongs to, which the Control object tells of every change (`unadmitted`). A token that has to be
 * proven, or that is for a task, is admitted here each time.
 */
export const authenticateForSession = createMiddleware<Authenticated>(async (context, next) => {
  const verified = await verifyRequest(context, async (_context, token, proof) => {
    if (proof !== undefined || token.task !== undefined) return admit(context, token, proof);
    context.set("unadmitted", true);
    return ok(token);
  });
  if (!verified.ok) return refuse(context, verified.error);
  context.set("token", verified.value);
  return next();
});

function refuse(context: Context<Authenticated>, why: Refusal): Response {
  if (REFUSALS[why.code].http === 401) context.header("www-authenticate", "Bearer, DPoP");
  return problem(context, why);
}

type Admit = (
  context: Context<Authenticated>,
  token: VerifiedToken,
  proof: Proof | undefined,
) => Promise<Result<VerifiedToken, Refusal>>;

const admit: Admit = async (context, token, proof) => controlOf(context.env).admit(token, proof);

/**
 * The session token of a request, verified and admitted. A token that is bound to a key (RFC 9449) comes as
 * `Authorization: DPoP` with a proof of this very request; one that is not as `Authorization: Bearer`.
 */
async function verifyRequest(
  context: Context<Authenticated>,
  admitted: Admit,
): Promise<Result<VerifiedToken, Refusal>> {
  const header = context.req.header("authorization");
  // Only the API: a browser's cookie opens no connection to a resource.
  if (header === undefined && context.req.path.startsWith("/v1/")) {
    const browser = await admitBrowser(context as unknown as Context<{ Bindings: Bindings }>);
    if (browser !== undefined) {
      if (browser.ok) context.set("console", browser.value.id);
      return browser.ok ? ok(browser.value.token) : browser;
    }
  }
  const [, scheme, token] = /^(Bearer|DPoP) ([^\s]+)$/i.exec(header ?? "") ?? [];
  if (scheme === undefined || token === undefined) {
    const hint = "send a session token as Authorization: Bearer; sally login gets you one";
    return err(refusal("token_missing", "this needs a session token", { hint }));
  }
  const { publicUrl } = readSettings(context.env);
  const now = Date.now();
  const keys = await verificationKeys(context.env, keyIdOf(token), now);
  const verified = await verifySessionToken(token, keys, publicUrl, now);
  if (!verified.ok) return verified;
  const bound = verified.value.proofKey !== undefined;
  if (bound !== (scheme.toLowerCase() === "dpop")) {
    const message = bound ? "this token is bound to a key: prove it" : "this token is not bound to a key";
    return err(
      refusal("proof_invalid", message, {
        hint: bound ? "send it as Authorization: DPoP with a proof" : "send it as Authorization: Bearer",
      }),
    );
  }
  if (!bound) return admitted(context, verified.value, undefined);
  const { method } = context.req;
  const url = publicUrl + new URL(context.req.url).pathname;
  const proof = await verifyProof(context.req.header("dpop") ?? "", { method, url, accessToken: token, now });
  return proof.ok ? admitted(context, verified.value, proof.value) : proof;
}
