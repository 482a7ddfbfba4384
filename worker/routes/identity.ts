/** Tasks, revocations, group changes and signing keys (docs/api.md). */
import { Hono } from "hono";
import { z } from "zod";
import { LIMITS } from "../../wire/limits.ts";
import { type Refusal, type RefusalCode, refusal } from "../../wire/refusals.ts";
import { controlOf } from "../env.ts";
import { parseAuthorizationDetails, showDetails } from "../identity/authorization-details.ts";
import { type OAuthError, TOKEN_TYPES } from "../identity/token-exchange.ts";
import type { KeyStatus } from "../objects/control/keys.ts";
import type { Revocation } from "../objects/control/revocations.ts";
import type { Task } from "../objects/control/tasks.ts";
import { type Authenticated, authenticate } from "./authenticate.ts";
import { readJson } from "./body.ts";
import { tokenAnswer } from "./oauth.ts";
import { answer, problem } from "./problem.ts";
import { time } from "./show.ts";

export const identity = new Hono<Authenticated>();
identity.use("/v1/*", authenticate);

const MAX_LISTED = 500;

// Tasks.

const NewTask = z.object({
  authorization_details: z.array(z.unknown()),
  actor_token: z.string().min(1).max(LIMITS.http.token).optional(),
  actor_token_type: z.enum(TOKEN_TYPES).optional(),
});

identity.post("/v1/tasks", async (context) => {
  const body = await readJson(context, NewTask);
  if (!body.ok) return problem(context, body.error);
  const { authorization_details: asked, actor_token: token, actor_token_type: type } = body.value;
  const details = parseAuthorizationDetails(JSON.stringify(asked), Date.now());
  if (!details.ok) {
    return problem(context, refusal("request_invalid", `authorization_details ${details.error}`));
  }
  if ((token === undefined) !== (type === undefined)) {
    return problem(context, refusal("request_invalid", "actor_token and actor_token_type go together"));
  }
  const actor = token === undefined || type === undefined ? undefined : { token, type };
  const started = await controlOf(context.env).startTask(context.var.token, details.value, actor);
  if (!started.ok) return problem(context, asRefusal(started.error));
  const { task } = started.value;
  return context.json(
    { ...tokenAnswer(started.value), ...(task === undefined ? {} : { task: showTask(task) }) },
    201,
    { "cache-control": "no-store" },
  );
});

identity.get("/v1/tasks", async (context) => {
  const open = context.req.query("status") !== "all";
  const tasks = await controlOf(context.env).tasks(context.var.token, open, MAX_LISTED);
  return context.json({ tasks: tasks.map(showTask) }, 200, { "cache-control": "no-store" });
});

identity.get("/v1/tasks/:id", async (context) =>
  answer(context, await controlOf(context.env).task(context.var.token, context.req.param("id")), showTask),
);

identity.delete("/v1/tasks/:id", async (context) => {
  const body = await readJson(context, z.object({ reason: z.string().max(LIMITS.http.reason).optional() }));
  if (!body.ok) return problem(context, body.error);
  const { token } = context.var;
  const ended = await controlOf(context.env).endTask(token, context.req.param("id"), body.value.reason);
  return answer(context, ended, showTask);
});

const CODES: Partial<Record<OAuthError["body"]["error"], RefusalCode>> = {
  invalid_target: "resource_unknown",
  invalid_authorization_details: "task_too_wide",
};

function asRefusal({ body }: OAuthError): Refusal {
  return refusal(CODES[body.error] ?? "request_invalid", body.error_description);
}

function showTask(task: Task): object {
  const { id, name, parent, principal, actors, terms, createdAt, usedOperations, usedRows } = task;
  return {
    id,
    name,
    status: task.endedAt === undefined ? "open" : "ended",
    ...(parent === undefined ? {} : { parent }),
    principal,
    actors,
    authorization_details: showDetails(terms),
    used: { operations: usedOperations, rows: usedRows },
    createdAt: time(createdAt),
    deadline: time(terms.deadline),
    ...(task.endedAt === undefined ? {} : { endedAt: time(task.endedAt) }),
    ...(task.endReason === undefined ? {} : { endReason: task.endReason }),
  };
}

// Revocation.

const name = z.string().min(1).max(LIMITS.http.identityName);
const NewRevocation = z.object({
  issuer: name,
  subject: name,
  reason: z.string().max(LIMITS.http.reason).optional(),
  /** Only what was issued before now is refused; a new login is welcome. */
  tokensOnly: z.boolean().default(false),
});

identity.post("/v1/revocations", async (context) => {
  const body = await readJson(context, NewRevocation);
  if (!body.ok) return problem(context, body.error);
  const { issuer, subject, reason, tokensOnly } = body.value;
  const made = await controlOf(context.env).revokePrincipal(
    context.var.token.principal,
    { issuer, subject },
    { blocks: !tokensOnly, ...(reason === undefined ? {} : { reason }) },
  );
  return answer(context, made, showRevocation);
});

identity.get("/v1/revocations", async (context) =>
  answer(
    context,
    await controlOf(context.env).revocations(context.var.token.principal, MAX_LISTED),
    (listed) => ({ revocations: listed.map(showRevocation) }),
  ),
);

identity.delete("/v1/revocations/:id", async (context) => {
  const lifted = await controlOf(context.env).liftRevocation(
    context.var.token.principal,
    context.req.param("id"),
  );
  return lifted.ok ? context.body(null, 204) : problem(context, lifted.error);
});

function showRevocation({ blocks, at, ...rest }: Revocation): object {
  return { ...rest, at: time(at), tokensOnly: !blocks };
}

const GroupChange = z.object({
  issuer: name,
  subject: name,
  removed: z.array(name).min(1).max(LIMITS.http.groups),
});

/** For whoever knows that somebody has left a group before that person's next token says so. */
identity.post("/v1/group-changes", async (context) => {
  const body = await readJson(context, GroupChange);
  if (!body.ok) return problem(context, body.error);
  const { removed, ...whom } = body.value;
  const left = await controlOf(context.env).leaveGroups(context.var.token.principal, whom, removed);
  return left.ok ? context.body(null, 204) : problem(context, left.error);
});

// Signing keys.

identity.get("/v1/keys", async (context) =>
  answer(context, await controlOf(context.env).signingKeys(context.var.token.principal), showKeys),
);

identity.post("/v1/keys/rotate", async (context) =>
  answer(context, await controlOf(context.env).rotateSigningKeys(context.var.token.principal), showKeys),
);

function showKeys(keys: KeyStatus[]): object {
  return {
    keys: keys.map(({ signsFrom, verifiesUntil, ...rest }) => ({
      ...rest,
      signsFrom: time(signsFrom),
      ...(verifiesUntil === undefined ? {} : { verifiesUntil: time(verifiesUntil) }),
    })),
  };
}
