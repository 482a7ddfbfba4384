/** Who a request comes from: our own session token, verified with the Control object's keys. */
import { createMiddleware } from "hono/factory";
import { refusal } from "../../wire/refusals.ts";
import { type Bindings, controlOf, readSettings } from "../env.ts";
import { type VerificationKey, verifySessionToken } from "../identity/session-token.ts";
import type { VerifiedToken } from "../policy/grant.ts";
import { problem } from "./problem.ts";

export type Authenticated = { Bindings: Bindings; Variables: { token: VerifiedToken } };

// Public keys are no identity: every request of the isolate may share them.
let kept: { keys: VerificationKey[]; readAt: number } | undefined;
const KEEP_MS = 30_000;

async function verificationKeys(bindings: Bindings, now: number): Promise<VerificationKey[]> {
  if (kept === undefined || kept.keys.length === 0 || now - kept.readAt > KEEP_MS) {
    kept = { keys: await controlOf(bindings).verificationKeys(), readAt: now };
  }
  return kept.keys;
}

/** Refuses a request without a good session token and leaves what the token says in `token`. */
export const authenticate = createMiddleware<Authenticated>(async (context, next) => {
  const header = context.req.header("authorization");
  const token = header === undefined ? undefined : /^Bearer ([^\s]+)$/i.exec(header)?.[1];
  if (token === undefined) {
    const hint = "send a session token as Authorization: Bearer; sally login gets you one";
    return problem(context, refusal("token_missing", "this needs a session token", { hint }));
  }
  const { publicUrl } = readSettings(context.env);
  const now = Date.now();
  const verified = await verifySessionToken(token, await verificationKeys(context.env, now), publicUrl, now);
  if (!verified.ok) return problem(context, verified.error);
  context.set("token", verified.value);
  return next();
});
