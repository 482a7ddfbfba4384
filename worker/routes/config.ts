/** Configuration and policy: apply, read, check, explain. */
import { Hono } from "hono";
import { z } from "zod";
import { refusal } from "../../wire/refusals.ts";
import { type Bindings, controlOf, readSettings, sessionOf } from "../env.ts";
import { identifier } from "../objects/identifiers.ts";
import type { Principal } from "../policy/types.ts";
import { type Authenticated, authenticate } from "./authenticate.ts";
import { readJson } from "./body.ts";
import { answer, problem } from "./problem.ts";

export const config = new Hono<Authenticated>();

const Files = z.object({ files: z.record(z.string().max(512), z.string()) });

// Before there is any configuration the bootstrap token may apply one; afterwards a session token is needed.
config.put("/v1/config", async (context) => {
  const apply = async (by: Principal | undefined): Promise<Response> => {
    const body = await readJson(context, Files);
    if (!body.ok) return problem(context, body.error);
    const asked = context.req.query("if-version");
    const ifVersion = asked === undefined ? undefined : Number(asked);
    if (ifVersion !== undefined && !Number.isInteger(ifVersion)) {
      return problem(context, refusal("request_invalid", "if-version is the number of a version"));
    }
    const applied = await controlOf(context.env).apply(
      body.value.files,
      by,
      context.req.query("dry-run") === "1",
      ifVersion,
    );
    if (applied.ok) return context.json(applied.value);
    if ("code" in applied.error) return problem(context, applied.error);
    return problem(context, invalid(applied.error.errors.length), applied.error.errors);
  };
  if (isBootstrap(context.env, context.req.header("authorization"))) return apply(undefined);
  let response: Response | undefined;
  const refused = await authenticate(context, async () => {
    response = await apply(context.var.token.principal);
  });
  return response ?? refused ?? problem(context, refusal("token_missing", "this needs a session token"));
});

config.use("/v1/config", authenticate);
config.use("/v1/policy/*", authenticate);

config.get("/v1/config", async (context) =>
  answer(context, await controlOf(context.env).configuration(context.var.token.principal)),
);

config.post("/v1/policy/check", async (context) => {
  const body = await readJson(context, Files);
  if (!body.ok) return problem(context, body.error);
  const errors = await controlOf(context.env).checkConfig(body.value.files);
  if (errors.length === 0) return context.json({ ok: true });
  return problem(context, invalid(errors.length), errors);
});

const Explain = z.object({
  resource: z.string().max(128),
  sql: z.string(),
  principal: z
    .object({
      type: z.enum(["User", "Workload"]),
      issuer: z.string(),
      subject: z.string(),
      name: z.string().optional(),
      groups: z.array(z.string()).max(1000).optional(),
    })
    .optional(),
  files: Files.shape.files.optional(),
});

config.post("/v1/policy/explain", async (context) => {
  const body = await readJson(context, Explain);
  if (!body.ok) return problem(context, body.error);
  const { resource, sql, principal: named, files } = body.value;
  const { token } = context.var;
  if (named !== undefined) {
    const allowed = await controlOf(context.env).authorize(token.principal, undefined, "config:read");
    if (!allowed.ok) return problem(context, allowed.error);
  }
  const principal: Principal =
    named === undefined ? token.principal : { name: named.subject, groups: [], ...stripUndefined(named) };
  const draft =
    files === undefined ? undefined : await controlOf(context.env).draftPolicies(token.principal, files);
  if (draft !== undefined && !draft.ok) {
    if ("code" in draft.error) return problem(context, draft.error);
    return problem(context, invalid(draft.error.errors.length), draft.error.errors);
  }
  const explained = await sessionOf(context.env, identifier("ses")).explain({
    resource,
    sql,
    principal,
    ...(draft === undefined ? {} : { policies: draft.value }),
  });
  return answer(context, explained);
});

function stripUndefined(named: NonNullable<z.infer<typeof Explain>["principal"]>): Omit<
  Principal,
  "name" | "groups"
> & {
  name?: string;
  groups?: string[];
} {
  const { name, groups, ...rest } = named;
  return { ...rest, ...(name === undefined ? {} : { name }), ...(groups === undefined ? {} : { groups }) };
}

function invalid(count: number): ReturnType<typeof refusal> {
  const errors = count === 1 ? "an error" : `${count} errors`;
  return refusal("config_invalid", `the configuration has ${errors}, so nothing was changed`);
}

/** Compares without telling by its time how much of the token was right. */
function isBootstrap(bindings: Bindings, header: string | undefined): boolean {
  const { bootstrapToken } = readSettings(bindings);
  const given = header?.replace(/^Bearer /i, "");
  if (bootstrapToken === undefined || given === undefined) return false;
  const encoder = new TextEncoder();
  const [a, b] = [encoder.encode(bootstrapToken), encoder.encode(given)];
  return a.byteLength === b.byteLength && crypto.subtle.timingSafeEqual(a, b);
}
