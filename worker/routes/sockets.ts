/** The WebSocket endpoints: native clients, connectors' control, connectors dialling back. */
import { Hono } from "hono";
import { z } from "zod";
import { CONNECT_HEADERS, PATHS } from "../../wire/control.ts";
import { LIMITS } from "../../wire/limits.ts";
import { refusal } from "../../wire/refusals.ts";
import { type Bindings, connectorOf, controlOf, readSettings, sessionOf } from "../env.ts";
import { claimedConnector, parseConnectorKey, verifyConnectorToken } from "../identity/connector-token.ts";
import { identifier, isIdentifier } from "../objects/identifiers.ts";
import { GRANT_HEADER, encodeGrant, mintGrant } from "../policy/grant.ts";
import { type Authenticated, authenticate } from "./authenticate.ts";
import { readJson } from "./body.ts";
import { answer, problem } from "./problem.ts";

export const sockets = new Hono<{ Bindings: Bindings }>();

const isUpgrade = (request: Request): boolean =>
  request.headers.get("upgrade")?.toLowerCase() === "websocket";
const NOT_UPGRADE = refusal("request_invalid", "this address is for WebSockets", {
  hint: "sally speaks to it",
});

const connect = new Hono<Authenticated>();
connect.get("/:resource", authenticate, async (context) => {
  if (!isUpgrade(context.req.raw)) return problem(context, NOT_UPGRADE);
  const reasonHeader = context.req.header(CONNECT_HEADERS.reason);
  const reason = reasonHeader === undefined ? undefined : decode(reasonHeader);
  const session = identifier("ses");
  const name = context.req.param("resource");
  const found = await controlOf(context.env).resourceExists(name);
  if (!found.ok) return problem(context, found.error);
  const grant = mintGrant(
    context.var.token,
    { name },
    { session, noWait: context.req.header(CONNECT_HEADERS.noWait) === "1", reason, now: Date.now() },
  );
  if (!grant.ok) return problem(context, grant.error);
  // A new header list: nothing that a client sent reaches the object but the upgrade itself.
  const headers = new Headers({ upgrade: "websocket", [GRANT_HEADER]: encodeGrant(grant.value) });
  return sessionOf(context.env, session).fetch(new Request(context.req.url, { headers }));
});
sockets.route(PATHS.connect, connect);

sockets.get(`${PATHS.dialBack}/:session`, async (context) => {
  if (!isUpgrade(context.req.raw)) return problem(context, NOT_UPGRADE);
  const session = context.req.param("session");
  if (!isIdentifier("ses", session)) {
    return problem(context, refusal("ticket_invalid", "the ticket is not valid, or no longer"));
  }
  const headers = new Headers({
    upgrade: "websocket",
    authorization: context.req.header("authorization") ?? "",
  });
  return sessionOf(context.env, session).fetch(new Request(context.req.url, { headers }));
});

sockets.get(PATHS.connectorControl, async (context) => {
  if (!isUpgrade(context.req.raw)) return problem(context, NOT_UPGRADE);
  const untrusted = refusal("connector_not_trusted", "the connector's token is not accepted", {
    hint: "enrol the connector again: sally connector enroll",
  });
  const token = context.req.header("authorization")?.replace(/^Bearer /i, "") ?? "";
  const name = claimedConnector(token);
  const key = name === undefined ? undefined : await controlOf(context.env).connectorKey(name);
  if (name === undefined || key === undefined) return problem(context, untrusted);
  const { publicUrl } = readSettings(context.env);
  const verified = await verifyConnectorToken(token, key, name, publicUrl, Date.now());
  if (!verified.ok) return problem(context, verified.error);
  const headers = new Headers({
    upgrade: "websocket",
    "sally-token-id": verified.value.tokenId,
    "sally-forget-at": String(verified.value.forgetAt),
  });
  const source = context.req.header("cf-connecting-ip");
  if (source !== undefined) headers.set("sally-source", source);
  return connectorOf(context.env, name).fetch(new Request(context.req.url, { headers }));
});

const Rotation = z.object({ publicKey: z.unknown(), proof: z.string().max(LIMITS.http.token) });

/** A connector follows its key by another: the old key signs the request, the new one shows that it is there. */
sockets.post(PATHS.connectorRotate, async (context) => {
  const body = await readJson(context, Rotation);
  if (!body.ok) return problem(context, body.error);
  const untrusted = refusal("connector_not_trusted", "the connector's token is not accepted");
  const token = context.req.header("authorization")?.replace(/^Bearer /i, "") ?? "";
  const name = claimedConnector(token);
  const before = name === undefined ? undefined : await controlOf(context.env).connectorKey(name);
  const after = parseConnectorKey(body.value.publicKey);
  if (name === undefined || before === undefined || after === undefined) return problem(context, untrusted);
  const { publicUrl } = readSettings(context.env);
  const now = Date.now();
  const verified = await verifyConnectorToken(token, before, name, publicUrl, now);
  if (!verified.ok) return problem(context, verified.error);
  const proven = await verifyConnectorToken(body.value.proof, after, name, publicUrl, now);
  if (!proven.ok) return problem(context, proven.error);
  return answer(context, await controlOf(context.env).rotateConnectorKey(name, before, after));
});

function decode(header: string): string {
  try {
    return decodeURIComponent(header);
  } catch {
    return header;
  }
}
