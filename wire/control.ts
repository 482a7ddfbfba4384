/**
 * Text control messages on our WebSockets, all JSON and checked with zod. Three dialogues:
 *  - client socket (shim <-> Session object): ClientNotice from the gateway, FromClient from the shim;
 *  - control socket (connector <-> Connector object): ToConnector, FromConnector;
 *  - HTTP addresses of the sockets.
 */
import { z } from "zod";
import { LIMITS } from "./limits.ts";
import { type Result, err, ok } from "./result.ts";

export const WEBSOCKET_PROTOCOL = "sallyport.v1";

/** Paths of the WebSocket endpoints, relative to the gateway's address. */
export const PATHS = {
  /** Native clients: `/connect/<resource>`, `Authorization: Bearer <session token>`. */
  connect: "/connect",
  /** Connector control: `/connector/control`, `Authorization: Bearer <JWT signed with the connector's key>`. */
  connectorControl: "/connector/control",
  /** A connector's new key: `/connector/rotate`, authorised by the old one. */
  connectorRotate: "/connector/rotate",
  /** Dial-back: `/dial-back/<session>`, `Authorization: Ticket <ticket>`. */
  dialBack: "/dial-back",
} as const;

/** Request headers of `/connect`. */
export const CONNECT_HEADERS = {
  /** `1`: a held operation fails at once with the approval's id instead of waiting. */
  noWait: "sally-no-wait",
  /** Why the requester does this, percent-encoded UTF-8; shown to reviewers. */
  reason: "sally-reason",
} as const;

/** Answer header of a service or a cluster: the session that the request was recorded in. */
export const SESSION_HEADER = "sally-session";

/** Answer headers of a refusal that is told in a protocol's own words, for whoever counts refusals. */
export const REFUSAL_HEADERS = {
  /** One of REFUSALS. */
  code: "sally-refusal",
  /** Identifier of the approval that it is about. */
  approval: "sally-approval",
} as const;

/** From the gateway to the shim, so that `sally` can tell a script what happened (exit codes 3, 4, 6). */
export const ClientNotice = z.discriminatedUnion("type", [
  z.object({ type: z.literal("session"), session: z.string() }),
  z.object({ type: z.literal("held"), approval: z.string(), url: z.string(), waiting: z.boolean() }),
  z.object({
    type: z.literal("refused"),
    code: z.string(),
    message: z.string(),
    approval: z.string().optional(),
  }),
  z.object({ type: z.literal("ended"), code: z.string(), message: z.string() }),
]);
export type ClientNotice = z.infer<typeof ClientNotice>;

/** From the shim to the gateway. */
export const FromClient = z.discriminatedUnion("type", [
  /**
   * A fresh session token of the same principal, sent before the one that the session lives on ends. It
   * prolongs the session to its own end; one of another principal or without this resource ends the session.
   */
  z.object({ type: z.literal("renew"), token: z.string().max(LIMITS.http.token) }),
]);
export type FromClient = z.infer<typeof FromClient>;

/** From the gateway to a connector process. */
export const ToConnector = z.discriminatedUnion("type", [
  /** Dial back to `session` with `ticket` and serve `resource` on that socket. */
  z.object({ type: z.literal("open"), session: z.string(), resource: z.string(), ticket: z.string() }),
  /** This connector's key is no longer trusted; close and do not reconnect. */
  z.object({ type: z.literal("revoked") }),
  z.object({ type: z.literal("pong") }),
]);
export type ToConnector = z.infer<typeof ToConnector>;

/** From a connector process to the gateway. */
export const FromConnector = z.discriminatedUnion("type", [
  /** First message: what this process serves. `process` is random per process. */
  z.object({
    type: z.literal("hello"),
    process: z.string().max(64),
    version: z.string().max(64),
    resources: z.array(z.object({ name: z.string().max(128), protocol: z.string().max(32) })).max(10_000),
  }),
  /** The connector will not or cannot dial back for this session; `message` is safe to show to the user. */
  z.object({
    type: z.literal("cannot_open"),
    session: z.string(),
    code: z.string(),
    message: z.string().max(1000),
  }),
  z.object({ type: z.literal("ping") }),
]);
export type FromConnector = z.infer<typeof FromConnector>;

/** Payload of the tunnel's OPEN frame for a `postgres` resource (Session object -> connector). */
export const PostgresOpen = z.object({
  protocol: z.literal("postgres"),
  resource: z.string(),
  /** Startup parameters already checked against the allow-list; never user or database. */
  parameters: z.record(z.string(), z.string()),
});
export type PostgresOpen = z.infer<typeof PostgresOpen>;

/** Payload of OPENED for `postgres`: the server is authenticated and ready for queries. */
export const PostgresOpened = z.object({
  /** ParameterStatus values the server reported, in order. */
  parameters: z.array(z.tuple([z.string(), z.string()])),
  database: z.string(),
});
export type PostgresOpened = z.infer<typeof PostgresOpened>;

/**
 * Payload of the OPEN frame that reads a resource's catalogue (`wire/postgres/catalogue.ts`). The connector
 * answers OPENED with `{}`, then the catalogue as JSON in DATA frames and END; or CLOSE when it cannot.
 */
export const PostgresCatalogueOpen = z.object({
  protocol: z.literal("postgres-catalogue"),
  resource: z.string(),
  /** Version that the catalogue gets; each reading of a resource has a higher one. */
  version: z.number().int().nonnegative(),
});
export type PostgresCatalogueOpen = z.infer<typeof PostgresCatalogueOpen>;

/**
 * Payload of the OPEN frame that asks for a statement's plan. DATA frames bring PostgresExplainQuestion as
 * JSON, then END. The connector answers OPENED with `{}`, then PostgreSQL's plan (EXPLAIN, FORMAT JSON, nothing
 * runs) in DATA frames and END; or CLOSE when it cannot.
 */
export const PostgresExplainOpen = z.object({
  protocol: z.literal("postgres-explain"),
  resource: z.string(),
  /** Startup parameters of the session that the statement is for. */
  parameters: z.record(z.string(), z.string()),
});
export type PostgresExplainOpen = z.infer<typeof PostgresExplainOpen>;

export const PostgresExplainQuestion = z.object({
  /** One statement. */
  sql: z.string().max(2 * LIMITS.postgres.sql),
  /** Values of its parameters as text; `unknown`: it has some, but not as text. */
  values: z.union([z.literal("unknown"), z.array(z.string().nullable()).max(1000)]),
});
export type PostgresExplainQuestion = z.infer<typeof PostgresExplainQuestion>;

/** Parses a text control message; never throws, never echoes its content. */
export function parseControl<T>(
  schema: z.ZodType<T>,
  text: string,
): Result<T, "over_limit" | "request_invalid"> {
  if (text.length > LIMITS.tunnel.control) return err("over_limit");
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return err("request_invalid");
  }
  const parsed = schema.safeParse(json);
  return parsed.success ? ok(parsed.data) : err("request_invalid");
}
