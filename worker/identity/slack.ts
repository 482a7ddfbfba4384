/**
 * Slack's signature on what it sends us, version 0 (api.slack.com/authentication/verifying-requests-from-slack):
 * HMAC-SHA256 over `v0:<timestamp>:<body>` with the app's signing secret, in hex, and a timestamp not older than
 * five minutes. Whoever has seen one request cannot send it again: the caller remembers `signature` until
 * `forgetAt`.
 */
import { z } from "zod";
import { utf8 } from "../../wire/bytes.ts";
import { type Result, err, ok } from "../../wire/result.ts";

const WINDOW_SECONDS = 300;

export type SlackProblem = "malformed" | "too_old" | "signature";

export type SlackRequest = { readonly signature: string; readonly forgetAt: number };

/** `secret`: of the configured app. `now` in milliseconds since the epoch. */
export async function verifySlackRequest(
  headers: { readonly signature: string | undefined; readonly timestamp: string | undefined },
  body: string,
  secret: string,
  now: number,
): Promise<Result<SlackRequest, SlackProblem>> {
  const match = /^v0=([0-9a-f]{64})$/.exec(headers.signature ?? "");
  const { timestamp = "" } = headers;
  if (match?.[1] === undefined || !/^[0-9]{1,12}$/.test(timestamp)) return err("malformed");
  if (Math.abs(now / 1000 - Number(timestamp)) > WINDOW_SECONDS) return err("too_old");
  const key = await crypto.subtle.importKey("raw", utf8(secret), { name: "HMAC", hash: "SHA-256" }, false, [
    "verify",
  ]);
  const given = Uint8Array.from({ length: 32 }, (_, at) =>
    Number.parseInt(match[1]?.slice(at * 2, at * 2 + 2) ?? "", 16),
  );
  // `verify` compares in constant time.
  const good = await crypto.subtle.verify("HMAC", key, given, utf8(`v0:${timestamp}:${body}`));
  return good
    ? ok({ signature: match[1], forgetAt: (Number(timestamp) + WINDOW_SECONDS + 1) * 1000 })
    : err("signature");
}

const Value = z.object({ approval: z.string().max(64), hash: z.string().max(128) });
const Payload = z.object({
  type: z.literal("block_actions"),
  user: z.object({ id: z.string().max(64) }),
  response_url: z.string().max(1024).optional(),
  actions: z
    .array(
      z.object({ action_id: z.enum(["sallyport_approve", "sallyport_deny"]), value: z.string().max(1024) }),
    )
    .length(1),
});

/** A button that somebody pressed. */
export type SlackPress = {
  readonly user: string;
  readonly verdict: "approve" | "deny";
  readonly approval: string;
  readonly hash: string;
  readonly responseUrl?: string;
};

/** Reads the verified body of an interaction (form encoded, `payload` is JSON). */
export function readSlackPress(body: string): Result<SlackPress, "malformed"> {
  try {
    const payload = Payload.safeParse(JSON.parse(new URLSearchParams(body).get("payload") ?? ""));
    const action = payload.success ? payload.data.actions[0] : undefined;
    if (!payload.success || action === undefined) return err("malformed");
    const value = Value.safeParse(JSON.parse(action.value));
    if (!value.success) return err("malformed");
    const { user, response_url: responseUrl } = payload.data;
    return ok({
      user: user.id,
      verdict: action.action_id === "sallyport_approve" ? "approve" : "deny",
      ...value.data,
      ...(responseUrl === undefined ? {} : { responseUrl }),
    });
  } catch {
    return err("malformed");
  }
}
