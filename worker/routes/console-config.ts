/** What the console's pages about resources and policies ask: details, who may do what, versions, differences. */
import { Hono } from "hono";
import { z } from "zod";
import { refusal } from "../../wire/refusals.ts";
import { connectorOf, controlOf } from "../env.ts";
import { type Authenticated, authenticate } from "./authenticate.ts";
import { readJson } from "./body.ts";
import { limitOf } from "./limit.ts";
import { answer, problem } from "./problem.ts";
import { time } from "./show.ts";

export const consoleConfig = new Hono<Authenticated>();
consoleConfig.use("/v1/resources/:name", authenticate);
consoleConfig.use("/v1/policy/*", authenticate);
consoleConfig.use("/v1/config/*", authenticate);

const MAX_VERSIONS = 200;

consoleConfig.get("/v1/resources/:name", async (context) => {
  const control = controlOf(context.env);
  const allowed = await control.authorize(context.var.token.principal, undefined, "config:read");
  if (!allowed.ok) return problem(context, allowed.error);
  const name = context.req.param("name");
  const resource = (await control.snapshot())?.resources.find((each) => each.name === name);
  if (resource === undefined) return problem(context, refusal("not_found", `there is no resource ${name}`));
  const online = await connectorOf(context.env, resource.connector).online();
  const { protocol, labels, connector, database, masks, rows, detectors } = resource;
  return context.json({
    name,
    protocol,
    labels,
    connector,
    online: online.includes(name),
    ...(database === undefined ? {} : { database }),
    masks: masks.map(({ schema, relation, column, mask }) => ({
      column: `${schema}.${relation}.${column}`,
      mask,
    })),
    rows: rows.map(({ schema, relation, condition }) => ({ relation: `${schema}.${relation}`, condition })),
    detectors,
  });
});

const WhoMay = z.object({
  resource: z.string().max(128),
  action: z.string().max(64),
  relation: z.string().max(256).optional(),
  where: z.boolean().optional(),
});

consoleConfig.post("/v1/policy/who-may", async (context) => {
  const body = await readJson(context, WhoMay);
  if (!body.ok) return problem(context, body.error);
  const { resource, action, relation, where } = body.value;
  const question = {
    action,
    ...(relation === undefined ? {} : { relation }),
    ...(where === undefined ? {} : { where }),
  };
  return answer(
    context,
    await controlOf(context.env).whoMay(context.var.token.principal, resource, question),
  );
});

const Files = z.object({ files: z.record(z.string().max(512), z.string()) });

consoleConfig.post("/v1/policy/diff", async (context) => {
  const body = await readJson(context, Files);
  if (!body.ok) return problem(context, body.error);
  const compared = await controlOf(context.env).compareConfig(context.var.token.principal, body.value.files);
  if (compared.ok) return context.json(compared.value);
  if ("code" in compared.error) return problem(context, compared.error);
  const why = refusal("config_invalid", "there are errors in it");
  return problem(context, why, compared.error.errors);
});

consoleConfig.get("/v1/config/versions", async (context) => {
  const limit = limitOf(context.req.query("limit"), MAX_VERSIONS);
  return answer(
    context,
    await controlOf(context.env).configVersions(context.var.token.principal, limit),
    (versions) => ({ versions: versions.map(({ at, ...version }) => ({ ...version, at: time(at) })) }),
  );
});

consoleConfig.get("/v1/config/versions/:version", async (context) =>
  answer(
    context,
    await controlOf(context.env).configVersion(
      context.var.token.principal,
      Number(context.req.param("version")),
    ),
    ({ at, ...version }) => ({ ...version, at: time(at) }),
  ),
);

const Rollback = z.object({
  version: z.number().int().positive(),
  ifVersion: z.number().int().nonnegative().optional(),
});

consoleConfig.post("/v1/config/rollback", async (context) => {
  const body = await readJson(context, Rollback);
  if (!body.ok) return problem(context, body.error);
  const { version, ifVersion } = body.value;
  const applied = await controlOf(context.env).rollbackConfig(
    context.var.token.principal,
    version,
    ifVersion,
  );
  if (applied.ok) return context.json(applied.value);
  if ("code" in applied.error) return problem(context, applied.error);
  const why = refusal("config_invalid", `version ${version} does not fit this gateway any more`);
  return problem(context, why, applied.error.errors);
});
