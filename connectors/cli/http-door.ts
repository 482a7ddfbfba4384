/**
 * A local port that stands for one HTTP service or one cluster: what is sent to it goes to the gateway with the user's token.
 * Whatever connects acts as the user, so besides the checks of local-port.ts a web page in the user's browser must
 * not get in: the Host has to be ours (no DNS rebinding), and a request that a page of another origin made is
 * turned away.
 */
import { type IncomingMessage, type ServerResponse, createServer, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { CONNECT_HEADERS, REFUSAL_HEADERS, SESSION_HEADER } from "../../wire/control.ts";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import type { Context } from "./context.ts";
import { type Failure, exitFor, fail, reasonOf } from "./failure.ts";
import { resolveGateway } from "./gateway.ts";
import { type HeldWatch, newHeldWatch } from "./held-watch.ts";
import { parseJson } from "./http.ts";
import { type LocalPort, openTcpPort } from "./local-port.ts";
import { type Outcome, newOutcome } from "./outcome.ts";
import { strangerTurnedAway } from "./postgres-access.ts";
import { type SessionKeeper, newSessionKeeper } from "./session-keeper.ts";
import { type SessionTokens, sessionTokens } from "./session-token.ts";

export type HttpDoor = LocalPort & { readonly url: string; readonly outcome: Outcome };

const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "host",
  "authorization",
]);
/** A problem document that says why something was refused. */
const PROBLEM_BYTES = 64 << 10;

type Way = {
  readonly gateway: URL;
  /** `/http/<resource>` or `/k8s/<resource>` below the gateway's own path. */
  readonly prefix: string;
  readonly tokens: SessionTokens;
  readonly context: Context;
  readonly outcome: Outcome;
  /** Approvals that the user has been told of: clients ask again in other ways when they are refused. */
  readonly told: Set<string>;
  readonly held: HeldWatch;
  readonly keeper: SessionKeeper;
};

/** Opens the port; 0 takes a free one. `given` tokens must not be bound to a key. The token is had first, so that "not signed in" is said at once. */
export async function openHttpDoor(
  context: Context,
  resource: string,
  port: number,
  given?: SessionTokens,
  area: "http" | "k8s" = "http",
): Promise<Result<HttpDoor, Failure>> {
  const gateway = await resolveGateway(context);
  if (!gateway.ok) return gateway;
  // Not bound to a key: a proof for each request would be one for each image of a page.
  const tokens = given ?? sessionTokens(context, gateway.value, [resource], { unbound: true });
  const token = await tokens.get();
  if (!token.ok) return token;
  const url = new URL(gateway.value);
  const outcome = newOutcome(context.terminal);
  const prefix = `${url.pathname.replace(/\/+$/, "")}/${area}/${encodeURIComponent(resource)}`;
  const held = newHeldWatch(gateway.value, resource, tokens, (approval) =>
    outcome.notice({ type: "held", approval, url: approvalUrl(url, approval), waiting: true }),
  );
  const keeper = newSessionKeeper(gateway.value, tokens);
  const way: Way = { gateway: url, prefix, tokens, context, outcome, told: new Set(), held, keeper };
  const server = createServer(
    { requestTimeout: 0 },
    (request, response) => void pass(way, request, response),
  );
  server.on("upgrade", (request, socket, head) => void upgrade(way, request, socket, head));
  server.on("clientError", (_error, socket) => socket.destroy());
  const serve = (socket: Socket): Promise<void> =>
    new Promise((resolve) => {
      socket.once("close", () => resolve());
      server.emit("connection", socket);
    });
  const door = await openTcpPort(port, serve, () => strangerTurnedAway(context));
  if (!door.ok) return door;
  const local = `http://127.0.0.1:${door.value.port}`;
  return ok({ ...door.value, url: local, outcome });
}

/** Why a request may not pass; undefined when it may. */
function stranger(request: IncomingMessage): string | undefined {
  const port = request.socket.localPort ?? 0;
  const own = [`127.0.0.1:${port}`, `localhost:${port}`];
  if (!own.includes(request.headers.host ?? "")) return "the Host is not this port's";
  const { origin } = request.headers;
  if (origin !== undefined && !own.some((host) => origin === `http://${host}`))
    return "a page of another origin made this request";
  const site = request.headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none")
    return "a page of another site made this request";
  return undefined;
}

async function pass(way: Way, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const why = stranger(request);
  if (why !== undefined) return problem(response, 403, why);
  const head = await outgoing(way, request);
  if (!head.ok) return problem(response, 502, head.error.message);
  const upstream = open(way, request, head.value.fields);
  const answered = way.held.started();
  upstream.once("close", answered);
  upstream.once("response", (answer) => {
    answered();
    answer.once("close", begun(way, answer, head.value.expiresAt));
    response.writeHead(answer.statusCode ?? 502, fieldsBack(way, answer));
    // A stream that has nothing to say yet has begun all the same.
    response.flushHeaders();
    answer.pipe(response);
    note(way, answer);
    answer.once("error", () => response.destroy());
  });
  upstream.once("error", (error) => {
    if (response.headersSent) return response.destroy();
    way.outcome.failed(unreachable(way, error));
    problem(response, 502, `the gateway is not reachable: ${reasonOf(error)}`);
  });
  // The gateway has to hear that the client has gone, which an orderly end of the connection would not say.
  response.once("close", () => {
    if (!response.writableFinished) upstream.socket?.resetAndDestroy();
  });
  request.pipe(upstream);
}

async function upgrade(way: Way, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
  socket.on("error", () => undefined);
  const why = stranger(request);
  const fields = why === undefined ? await outgoing(way, request) : undefined;
  if (fields === undefined || !fields.ok) {
    socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    return;
  }
  const upstream = open(way, request, [
    ...fields.value.fields,
    "connection",
    "Upgrade",
    "upgrade",
    request.headers.upgrade ?? "websocket",
  ]);
  const answered = way.held.started();
  upstream.once("close", answered);
  upstream.once("upgrade", (answer, other, early) => {
    answered();
    other.once("close", begun(way, answer, fields.value.expiresAt));
    socket.write(statusLine(answer, answer.rawHeaders));
    if (early.length > 0) socket.write(early);
    if (head.length > 0) other.write(head);
    other.on("error", () => socket.destroy());
    socket.on("close", () => other.destroy());
    other.on("close", () => socket.destroy());
    other.pipe(socket).pipe(other);
  });
  upstream.once("response", (answer) => {
    answered();
    note(way, answer);
    socket.write(statusLine(answer, [...fieldsBack(way, answer), "connection", "close"]));
    answer.pipe(socket);
  });
  upstream.once("error", () => socket.destroy());
  upstream.end();
}

function statusLine(answer: IncomingMessage, fields: readonly string[]): string {
  const lines = [`HTTP/1.1 ${answer.statusCode ?? 502} ${answer.statusMessage ?? ""}`];
  for (let at = 0; at + 1 < fields.length; at += 2)
    lines.push(`${fields[at] ?? ""}: ${fields[at + 1] ?? ""}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

function open(way: Way, request: IncomingMessage, headers: string[]): ReturnType<typeof httpRequest> {
  const send = way.gateway.protocol === "https:" ? httpsRequest : httpRequest;
  return send({
    host: way.gateway.hostname.replace(/^\[|\]$/g, ""),
    port: way.gateway.port === "" ? undefined : Number(way.gateway.port),
    method: request.method,
    // As it came: the gateway brings it into canonical form, or refuses it.
    path: way.prefix + (request.url ?? "/"),
    headers: ["host", way.gateway.host, ...headers],
    setHost: false,
  });
}

/** What has begun in the session that answered keeps it alive. Returns what says that it is over. */
function begun(way: Way, answer: IncomingMessage, expiresAt: number): () => void {
  const session = answer.headers[SESSION_HEADER];
  return typeof session === "string" ? way.keeper.begun(session, expiresAt) : () => undefined;
}

/** Header fields of a request, and when the token among them ends, in milliseconds since the epoch. */
type Outgoing = { readonly fields: string[]; readonly expiresAt: number };

/** The client's fields with the user's token in place of whatever credential they had. */
async function outgoing(way: Way, request: IncomingMessage): Promise<Result<Outgoing, Failure>> {
  const token = await way.tokens.get();
  if (!token.ok) return token;
  const fields: string[] = [];
  const named = (request.headers.connection ?? "").toLowerCase().split(/\s*,\s*/);
  for (let at = 0; at + 1 < request.rawHeaders.length; at += 2) {
    const name = (request.rawHeaders[at] ?? "").toLowerCase();
    if (!HOP_BY_HOP.has(name) && !named.includes(name)) fields.push(name, request.rawHeaders[at + 1] ?? "");
  }
  const chunked = request.headers["transfer-encoding"] !== undefined;
  const { noWait, reason } = way.context;
  const added = {
    ...way.tokens.headers(token.value, request.method ?? "GET", way.prefix + (request.url ?? "/")),
    ...(chunked ? { "transfer-encoding": "chunked" } : {}),
    ...(noWait ? { [CONNECT_HEADERS.noWait]: "1" } : {}),
    ...(reason === undefined ? {} : { [CONNECT_HEADERS.reason]: encodeURIComponent(reason) }),
  };
  return ok({ fields: [...fields, ...Object.entries(added).flat()], expiresAt: token.value.expiresAt });
}

/** The answer's fields as a client of this port needs them: redirects and cookies without the gateway's prefix. */
function fieldsBack(way: Way, answer: IncomingMessage): string[] {
  const fields: string[] = [];
  for (let at = 0; at + 1 < answer.rawHeaders.length; at += 2) {
    const name = (answer.rawHeaders[at] ?? "").toLowerCase();
    const value = answer.rawHeaders[at + 1] ?? "";
    if (HOP_BY_HOP.has(name)) continue;
    if (name === "location" && value.startsWith(`${way.prefix}/`))
      fields.push(name, value.slice(way.prefix.length));
    else if (name === "set-cookie") fields.push(name, value.replace(`Path=${way.prefix}/`, "Path=/"));
    else fields.push(name, value);
  }
  return fields;
}

/** What the gateway refused counts for the exit code of the command that sent it. */
function note(way: Way, answer: IncomingMessage): void {
  const { [REFUSAL_HEADERS.code]: refused, [REFUSAL_HEADERS.approval]: asked } = answer.headers;
  // A refusal in a protocol's own words has the rest beside it.
  if (typeof refused === "string") return noteRefusal(way, refused, "", asked);
  if (answer.headers["content-type"] !== "application/problem+json") return;
  const chunks: Buffer[] = [];
  let length = 0;
  answer.on("data", (chunk: Buffer) => {
    length += chunk.length;
    if (length <= PROBLEM_BYTES) chunks.push(chunk);
  });
  answer.once("end", () => {
    const said = parseJson(Buffer.concat(chunks).toString("utf8")) as
      | { code?: unknown; title?: unknown; approval?: unknown }
      | undefined;
    if (typeof said?.code !== "string" || typeof said.title !== "string") return;
    noteRefusal(way, said.code, said.title, said.approval);
  });
}

function noteRefusal(way: Way, code: string, message: string, approval: unknown): void {
  way.outcome.notice({ type: "refused", code, message });
  if (exitFor(code) !== EXIT.held || typeof approval !== "string" || way.told.has(approval)) return;
  way.told.add(approval);
  const url = approvalUrl(way.gateway, approval);
  way.outcome.notice({ type: "held", approval, url, waiting: false });
}

function approvalUrl(gateway: URL, approval: string): string {
  return `${gateway.href.replace(/\/+$/, "")}/console/approvals/${approval}`;
}

function unreachable(way: Way, error: Error): Failure {
  const failed = fail(
    EXIT.unreachable,
    `the gateway ${way.gateway.origin} is not reachable: ${reasonOf(error)}`,
  );
  return failed.error;
}

function problem(response: ServerResponse, status: number, title: string): void {
  response.writeHead(status, { "content-type": "application/problem+json" });
  response.end(`${JSON.stringify({ type: "about:blank", title, status })}\n`);
}

/** `orders-api` is found through ORDERS_API_URL. */
export function urlVariable(resource: string): string {
  return `${resource.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_")}_URL`;
}
