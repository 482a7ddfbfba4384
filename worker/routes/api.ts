/** Resources, sessions and connectors (docs/api.md). Authority is decided in the Control object. */
import { Hono } from "hono";
import { z } from "zod";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import { type Bindings, connectorOf, controlOf, sessionOf } from "../env.ts";
import { isIdentifier } from "../objects/identifiers.ts";
import type { SessionRow } from "../objects/control/types.ts";
import { type Authenticated, authenticate } from "./authenticate.ts";
import { readJson } from "./body.ts";
import { limitOf } from "./limit.ts";
import { answer, problem } from "./problem.ts";
import { showSession, time } from "./show.ts";

export const api = new Hono<Authenticated>();
api.use("/v1/*", authenticate);

const MAX_LISTED = 500;
/** Milliseconds that a request may wait for a session to go on. */
const LONGEST_WAIT = 25_000;

api.get("/v1/whoami", (context) => {
  const { principal, actors, task, expiresAt, resources } = context.var.token;
  return context.json({
    principal,
    ...(actors === undefined ? {} : { actors }),
    ...(task === undefined ? {} : { task }),
    expiresAt: time(expiresAt),
    resources,
  });
});

api.get("/v1/resources", async (context) => {
  const snapshot = await controlOf(context.env).snapshot();
  const resources = snapshot?.resources ?? [];
  const names = [...new Set(resources.map(({ connector }) => connector))];
  const online = new Map(
    await Promise.all(
      names.map(async (name) => [name, new Set(await connectorOf(context.env, name).online())] as const),
    ),
  );
  return context.json({
    resources: resources.map(({ name, protocol, labels, connector, database }) => ({
      name,
      protocol,
      labels,
      connector,
      online: online.get(connector)?.has(name) ?? false,
      ...(database === undefined ? {} : { database }),
    })),
  });
});

api.get("/v1/ssh/host-key", async (context) =>
  context.json({ hostKey: await controlOf(context.env).sshHostKeyLine() }),
);

api.get("/v1/sessions", async (context) => {
  const limit = limitOf(context.req.query("limit"), MAX_LISTED);
  const liveOnly = context.req.query("status") === "live";
  const sessions = await controlOf(context.env).sessions(context.var.token.principal, liveOnly, limit);
  return context.json({ sessions: sessions.map(showSession) });
});

api.get("/v1/sessions/:id", async (context) =>
  answer(context, await sessionFor(context.env, context.var.token, context.req.param("id")), showSession),
);

api.get("/v1/sessions/:id/events", async (context) => {
  const id = context.req.param("id");
  const wait = Math.min(Number(context.req.query("wait") ?? 0) * 1000, LONGEST_WAIT);
  const { principal } = context.var.token;
  const allowed: Result<SessionRow, Refusal> = await controlOf(context.env).readSession(principal, id);
  if (!allowed.ok) return problem(context, allowed.error);
  const after = Number(context.req.query("after") ?? 0);
  if (!Number.isInteger(after) || after < 0) {
    return problem(context, refusal("request_invalid", "after is the number of an event"));
  }
  const read = await sessionOf(context.env, id).events(
    after,
    limitOf(context.req.query("limit"), 1000),
    wait,
  );
  return context.json({
    ...read,
    events: read.events.map((event) => ({
      ...event,
      body: (JSON.parse(event.json) as { body: unknown }).body,
    })),
  });
});

/** The token shown here is the next one of whoever has something long running in that session. */
api.post("/v1/sessions/:id/renew", async (context) => {
  const id = context.req.param("id");
  if (!isIdentifier("ses", id)) return problem(context, refusal("not_found", `there is no session ${id}`));
  const extended: Result<void, Refusal> = await sessionOf(context.env, id).extend(context.var.token);
  return extended.ok ? context.body(null, 204) : problem(context, extended.error);
});

api.post("/v1/sessions/:id/kill", async (context) => {
  const body = await readJson(context, z.object({ reason: z.string().max(2000).optional() }));
  if (!body.ok) return problem(context, body.error);
  const { principal } = context.var.token;
  return answer(
    context,
    await controlOf(context.env).killSession(principal, context.req.param("id"), body.value.reason),
    showSession,
  );
});

api.post("/v1/connectors/:name/join-tokens", async (context) =>
  answer(
    context,
    await controlOf(context.env).newJoinToken(context.var.token.principal, context.req.param("name")),
    ({ token, expiresAt }) => ({ token, expiresAt: time(expiresAt) }),
  ),
);

api.get("/v1/connectors", async (context) => {
  const listed = await controlOf(context.env).connectors(context.var.token.principal);
  if (!listed.ok) return problem(context, listed.error);
  const connectors = await Promise.all(
    listed.value.map(async ({ name, enrolledAt, revoked }) => ({
      name,
      enrolledAt: time(enrolledAt),
      revoked,
      processes: (await connectorOf(context.env, name).status()).map((process) => ({
        ...process,
        since: time(process.since),
      })),
    })),
  );
  return context.json({ connectors });
});

api.delete("/v1/connectors/:name", async (context) => {
  const revoked = await controlOf(context.env).revokeConnector(
    context.var.token.principal,
    context.req.param("name"),
  );
  return revoked.ok ? context.body(null, 204) : problem(context, revoked.error);
});

/** A session as the index has it; a live one with its counts of this moment. */
async function sessionFor(
  bindings: Bindings,
  token: Authenticated["Variables"]["token"],
  id: string,
): Promise<Result<SessionRow, Refusal>> {
  const found: Result<SessionRow, Refusal> = await controlOf(bindings).session(token.principal, id);
  if (!found.ok || found.value.status === "ended") return found;
  const { operations, denied, held, rows } = await sessionOf(bindings, id).counts();
  return ok({ ...found.value, operations, denied, held, rows });
}
