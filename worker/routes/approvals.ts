/** Approvals (docs/approvals.md). Authority is decided in the Control object. */
import { Hono } from "hono";
import { z } from "zod";
import { LIMITS } from "../../wire/limits.ts";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { type Bindings, controlOf } from "../env.ts";
import { type Authenticated, authenticate } from "./authenticate.ts";
import { readJson, readText } from "./body.ts";
import { limitOf } from "./limit.ts";
import { answer, problem } from "./problem.ts";
import { sessionOfRequests } from "./requests.ts";
import { showApproval, time } from "./show.ts";

export const approvals = new Hono<Authenticated>();
approvals.use("/v1/approvals", authenticate);
approvals.use("/v1/approvals/*", authenticate);
approvals.use("/v1/notifications", authenticate);

const MAX_LISTED = 500;
/** Slack sends the whole message along with a press. */
const MAX_PRESS = 256 << 10;

approvals.get("/v1/approvals", async (context) => {
  const limit = limitOf(context.req.query("limit"), MAX_LISTED);
  const pendingOnly = context.req.query("status") !== "all";
  const listed = await controlOf(context.env).approvals(context.var.token.principal, pendingOnly, limit);
  return context.json({ approvals: listed.map(showApproval) });
});

/** What requests under this very token wait for: clients of HTTP are told nothing until they are answered. */
approvals.get("/v1/approvals/waiting", async (context) => {
  const { principal, tokenId } = context.var.token;
  const resource = context.req.query("resource") ?? "";
  const listed = await Promise.all(
    (["/http", "/k8s"] as const).map(async (area) =>
      controlOf(context.env).approvalsOfSession(principal, await sessionOfRequests(area, tokenId, resource)),
    ),
  );
  return context.json({ approvals: listed.flat().map(showApproval) });
});

approvals.get("/v1/approvals/:id", async (context) =>
  answer(
    context,
    await controlOf(context.env).approval(context.var.token.principal, context.req.param("id")),
    showApproval,
  ),
);

const Decision = z.strictObject({
  comment: z.string().max(LIMITS.http.reason).optional(),
  hash: z.string().max(128).optional(),
  batch: z.strictObject({ uses: z.number().int(), until: z.string().max(40).optional() }).optional(),
});

for (const verdict of ["approve", "deny"] as const) {
  approvals.post(`/v1/approvals/:id/${verdict}`, async (context) => {
    const body = await readJson(context, Decision);
    if (!body.ok) return problem(context, body.error);
    const { comment, hash, batch: asked } = body.value;
    const batch = asked === undefined ? ok(undefined) : readBatch(asked, Date.now());
    if (!batch.ok) return problem(context, batch.error);
    if (batch.value !== undefined && verdict === "deny") {
      return problem(context, refusal("request_invalid", "a batch belongs to an approval, not to a denial"));
    }
    const decided = await controlOf(context.env).decideApproval(
      context.var.token.principal,
      context.req.param("id"),
      {
        verdict,
        ...(comment === undefined ? {} : { comment }),
        ...(hash === undefined ? {} : { hash }),
        ...(batch.value === undefined ? {} : { batch: batch.value }),
      },
    );
    return answer(context, decided, showApproval);
  });
}

approvals.post("/v1/approvals/:id/end-batch", async (context) =>
  answer(
    context,
    await controlOf(context.env).endBatch(context.var.token.principal, context.req.param("id")),
    showApproval,
  ),
);

approvals.get("/v1/notifications", async (context) => {
  const limit = limitOf(context.req.query("limit"), MAX_LISTED);
  const listed = await controlOf(context.env).notifications(context.var.token.principal, limit);
  return answer(context, listed, (notifications) => ({
    notifications: notifications.map(({ at, nextAt, ...rest }) => ({
      ...rest,
      at: time(at),
      ...(nextAt === undefined ? {} : { nextAt: time(nextAt) }),
    })),
  }));
});

/** Where Slack sends what people press; its signature is the only authority. */
export const slack = new Hono<{ Bindings: Bindings }>();
slack.post("/v1/slack/actions", async (context) => {
  const body = await readText(context.req.raw);
  if (!body.ok) return problem(context, body.error);
  if (body.value.length > MAX_PRESS) {
    return problem(context, refusal("over_limit", `a button's request has at most ${MAX_PRESS} characters`));
  }
  const pressed = await controlOf(context.env).slackPress(
    {
      signature: context.req.header("x-slack-signature"),
      timestamp: context.req.header("x-slack-request-timestamp"),
    },
    body.value,
  );
  return pressed.ok ? context.body(null, 200) : problem(context, pressed.error);
});

/** Without an end a batch ends in an hour. */
const DEFAULT_BATCH_TIME = 60 * 60_000;

function readBatch(
  { uses, until }: { readonly uses: number; readonly until?: string | undefined },
  now: number,
): Result<{ uses: number; until: number }, Refusal> {
  const end = until === undefined ? now + DEFAULT_BATCH_TIME : Date.parse(until);
  if (!Number.isFinite(end))
    return err(refusal("request_invalid", "until is a time such as 2026-11-22T15:00:00Z"));
  return ok({ uses, until: end });
}
