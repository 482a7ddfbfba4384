/** SCIM 2.0 (RFC 7644) for identity providers that keep a directory here (docs/identity.md). */
import { createHash } from "node:crypto";
import { type Context, Hono } from "hono";
import { LIMITS } from "../../wire/limits.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { type Bindings, controlOf, readSettings } from "../env.ts";
import {
  type ScimError,
  errorBody,
  listBody,
  resourceTypes,
  schemas,
  scimError,
  serviceProviderConfig,
} from "../identity/scim/messages.ts";
import type { Kind } from "../objects/control/directory.ts";
import type { ScimRequest } from "../objects/control/scim.ts";
import { readText } from "./body.ts";

type Scim = { Bindings: Bindings; Variables: { tokenHash: string; base: string } };

export const scim = new Hono<Scim>();

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;
const KINDS: Readonly<Record<string, Kind>> = { Users: "user", Groups: "group" };

scim.use("/scim/v2/*", async (context, next) => {
  const token = /^Bearer ([^\s]{32,512})$/i.exec(context.req.header("authorization") ?? "")?.[1];
  // Only the hash is ever compared: how long that takes tells nothing about the token.
  const tokenHash = createHash("sha256")
    .update(token ?? "")
    .digest("hex");
  const known =
    token !== undefined && (await controlOf(context.env).scim(tokenHash, undefined)) !== undefined;
  if (!known) {
    context.header("www-authenticate", "Bearer");
    return refuse(context, scimError(401, "this needs the bearer token of a directory"));
  }
  context.set("tokenHash", tokenHash);
  context.set("base", `${readSettings(context.env).publicUrl}/scim/v2`);
  return next();
});

scim.get("/scim/v2/ServiceProviderConfig", (context) =>
  show(context, 200, serviceProviderConfig(context.var.base, LIMITS.scim.page)),
);
scim.get("/scim/v2/ResourceTypes", (context) => showAll(context, resourceTypes(context.var.base)));
scim.get("/scim/v2/ResourceTypes/:id", (context) => showOne(context, resourceTypes(context.var.base)));
scim.get("/scim/v2/Schemas", (context) => showAll(context, schemas(context.var.base)));
scim.get("/scim/v2/Schemas/:id", (context) => showOne(context, schemas(context.var.base)));

scim.on([...METHODS], "/scim/v2/:resources", (context) => handle(context, undefined));
scim.on([...METHODS], "/scim/v2/:resources/:id", (context) => handle(context, context.req.param("id")));
scim.all("/scim/v2/*", (context) => refuse(context, scimError(404, "there is nothing here")));

async function handle(context: Context<Scim>, id: string | undefined): Promise<Response> {
  const kind = KINDS[context.req.param("resources") ?? ""];
  const method = METHODS.find((one) => one === context.req.method);
  if (kind === undefined || method === undefined)
    return refuse(context, scimError(404, "there is nothing here"));
  const body = method === "GET" || method === "DELETE" ? ok(undefined) : await readBody(context);
  if (!body.ok) return refuse(context, body.error);
  const { filter, startIndex, count, excludedAttributes = "" } = context.req.query();
  const request: ScimRequest = {
    method,
    kind,
    base: context.var.base,
    ...(id === undefined ? {} : { id }),
    ...(filter === undefined ? {} : { filter }),
    ...number("startIndex", startIndex),
    ...number("count", count),
    withoutMembers: excludedAttributes.split(",").some((name) => name.trim().toLowerCase() === "members"),
    ...(body.value === undefined ? {} : { body: body.value }),
  };
  const handled = await controlOf(context.env).scim(context.var.tokenHash, request);
  if (handled === undefined) return refuse(context, scimError(401, "this token has been taken away"));
  if (!handled.ok) return refuse(context, handled.error);
  const { status, body: shown, location } = handled.value;
  if (location !== undefined) context.header("location", location);
  return show(context, status, shown);
}

function number(
  name: "startIndex" | "count",
  text: string | undefined,
): Partial<Record<typeof name, number>> {
  return text !== undefined && /^\d{1,9}$/.test(text) ? { [name]: Number(text) } : {};
}

async function readBody(context: Context<Scim>): Promise<Result<unknown, ScimError>> {
  const type = context.req.header("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/scim+json" && type !== "application/json") {
    return err(scimError(400, "the body has to be application/scim+json", "invalidSyntax"));
  }
  const text = await readText(context.req.raw);
  if (!text.ok) return err(scimError(413, text.error.message, "tooMany"));
  try {
    return ok(JSON.parse(text.value) as unknown);
  } catch {
    return err(scimError(400, "the body is not JSON", "invalidSyntax"));
  }
}

function showAll(context: Context<Scim>, all: readonly object[]): Response {
  return show(context, 200, listBody(all.length, 1, all));
}

function showOne(context: Context<Scim>, all: readonly object[]): Response {
  const found = all.find((one) => "id" in one && one.id === context.req.param("id"));
  return found === undefined
    ? refuse(context, scimError(404, "there is nothing here"))
    : show(context, 200, found);
}

function refuse(context: Context<Scim>, why: ScimError): Response {
  return show(context, why.status, errorBody(why));
}

function show(
  context: Context<Scim>,
  status: 200 | 201 | 204 | ScimError["status"],
  body?: object,
): Response {
  context.header("cache-control", "no-store");
  if (body === undefined) return context.body(null, 204);
  return context.body(JSON.stringify(body), status === 204 ? 200 : status, {
    "content-type": "application/scim+json",
  });
}
