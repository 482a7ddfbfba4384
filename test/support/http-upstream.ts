/**
 * A real HTTP server behind the connector, which keeps what it received: the request target and the header fields
 * exactly as they were on the wire.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { WebSocketServer } from "ws";

export type Received = {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
};

export type HttpUpstream = {
  readonly port: number;
  /** Oldest first. */
  readonly received: Received[];
  /** Answers to requests that have not ended. */
  readonly open: Set<ServerResponse>;
  stop(): Promise<void>;
};

const CHUNK = Buffer.alloc(64 << 10, "0123456789abcdef");

export const PERSON = {
  id: 7,
  name: "Ada",
  ssn: "943-25-8431",
  email: "ada@example.com",
  accounts: [{ iban: "DE89370400440532013000", balance: 1234 }],
};

/** A page that uses its own origin as applications do, and says how it went in its title. */
const PAGE = `<!doctype html><meta charset="utf-8"><title>loading</title><script>
(async () => {
  document.cookie = "app=1; path=/";
  const people = await (await fetch("/people")).json();
  const posted = await (await fetch("/echo", { method: "POST", body: "hello" })).json();
  const socket = new WebSocket(location.origin.replace("http", "ws") + "/socket");
  socket.onopen = () => socket.send("ping");
  const pong = await new Promise((resolve) => (socket.onmessage = ({ data }) => resolve(data)));
  const events = new EventSource("/events?count=3");
  const event = await new Promise((resolve) => (events.onmessage = ({ data }) => resolve(JSON.parse(data))));
  events.close();
  document.title = [people.length, posted.method, pong, event.name, document.cookie].join(" ");
})().catch((error) => (document.title = "failed: " + error));
</script>`;

export async function startHttpUpstream(): Promise<HttpUpstream> {
  const received: Received[] = [];
  const open = new Set<ServerResponse>();
  const server = createServer({ maxHeaderSize: 128 << 10 }, (request, response) => {
    open.add(response);
    response.on("close", () => open.delete(response));
    void serve(request, response, received).catch(() => response.destroy());
  });
  server.requestTimeout = 0;
  const sockets = new WebSocketServer({ server, handleProtocols: (offered) => [...offered][0] ?? false });
  sockets.on("connection", (socket, request) => {
    received.push({ ...headOf(request), body: Buffer.alloc(0) });
    if (request.url === "/flood") {
      for (let index = 0; index < 200; index++) socket.send(CHUNK);
      socket.send("done");
    }
    socket.on("message", (data, isBinary) => socket.send(data as Buffer, { binary: isBinary }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: (server.address() as AddressInfo).port, received, open, stop: () => stop(server, sockets) };
}

async function stop(server: Server, sockets: WebSocketServer): Promise<void> {
  for (const socket of sockets.clients) socket.terminate();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

function headOf(request: IncomingMessage): Omit<Received, "body"> {
  const headers: [string, string][] = [];
  for (let at = 0; at + 1 < request.rawHeaders.length; at += 2)
    headers.push([(request.rawHeaders[at] ?? "").toLowerCase(), request.rawHeaders[at + 1] ?? ""]);
  return { method: request.method ?? "", target: request.url ?? "", headers };
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  received: Received[],
): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://upstream");
  if (pathname === "/upload") return upload(request, response);
  if (pathname === "/early") {
    // Answers without reading the body, as a server that refuses an upload does.
    response.writeHead(413, { connection: "close" }).end("too large");
    return;
  }
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  received.push({ ...headOf(request), body });
  const json = Buffer.from(JSON.stringify([PERSON, PERSON]));
  switch (pathname) {
    case "/download":
      return download(response, Number(searchParams.get("bytes")), searchParams.has("length"));
    case "/people":
      return void response.writeHead(200, { "content-type": "application/json", etag: '"1"' }).end(json);
    case "/people-gzip":
      return void response
        .writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" })
        .end(gzipSync(json));
    case "/people-deflate":
      return void response
        .writeHead(200, { "content-type": "application/json", "content-encoding": "deflate" })
        .end(deflateSync(json));
    case "/people-brotli":
      return void response
        .writeHead(200, { "content-type": "application/json", "content-encoding": "br" })
        .end(brotliCompressSync(json));
    case "/people-range":
      return void response
        .writeHead(206, { "content-type": "application/json", "content-range": "bytes 20-40/200" })
        .end(json.subarray(20, 40));
    case "/people-csv":
      return void response.writeHead(200, { "content-type": "text/csv" }).end("name,ssn\nAda,943-25-8431\n");
    case "/people-not-json":
      return void response
        .writeHead(200, { "content-type": "application/json" })
        .end('[{"id":1},{id:2,"ssn":"943-25-8431"}]');
    case "/bomb":
      return void response
        .writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" })
        .end(
          gzipSync(Buffer.concat([Buffer.from('{"a":"'), Buffer.alloc(64 << 20, "a"), Buffer.from('"}')])),
        );
    case "/broken":
      response.writeHead(200, { "content-length": "1000" });
      response.write("only this");
      setTimeout(() => response.destroy(), 100);
      return;
    case "/events":
      return events(response, Number(searchParams.get("count") ?? 5));
    case "/redirect":
      return void response.writeHead(302, { location: searchParams.get("to") ?? "/" }).end();
    case "/cookies":
      return void response
        .writeHead(200, {
          "set-cookie": ["a=1; Path=/; HttpOnly", "__Host-b=2; Path=/; Secure", "c=3; Domain=example.com"],
          "strict-transport-security": "max-age=1",
          "clear-site-data": '"*"',
        })
        .end();
    case "/array":
      return array(response, Number(searchParams.get("bytes")));
    case "/pieces":
      return pieces(response, Number(searchParams.get("size")));
    case "/text-gzip":
      return void response
        .writeHead(200, { "content-type": "text/plain", "content-encoding": "gzip" })
        .end(gzipSync(SENSITIVE_TEXT));
    case "/file":
      return file(request, response);
    case "/page":
      return void response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
    case "/slow":
      return void setTimeout(() => response.end("slow"), 200);
    case "/hang":
      return;
    default: {
      const echoed = { method: request.method, target: request.url, body: body.toString("base64") };
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(echoed));
    }
  }
}

/** Text with what detectors look for. */
export const SENSITIVE_TEXT = "paid with 4556737586899855 by ada@example.com, thank you\n".repeat(20);

/** The text a few bytes at a time, each in a packet of its own as far as that can be had. */
async function pieces(response: ServerResponse, size: number): Promise<void> {
  response.writeHead(200, { "content-type": "text/plain; charset=utf-8" });
  for (let at = 0; at < SENSITIVE_TEXT.length; at += size) {
    response.write(SENSITIVE_TEXT.slice(at, at + size));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  response.end();
}

/** A file as a server of files has it: validators, conditions and ranges (RFC 9110 sections 13 and 14). */
function file(request: IncomingMessage, response: ServerResponse): void {
  const whole = Buffer.from("0123456789");
  const validators = { etag: '"v1"', "accept-ranges": "bytes", "content-type": "application/octet-stream" };
  if (request.headers["if-none-match"] === '"v1"') return void response.writeHead(304, validators).end();
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
  if (from === undefined || to === undefined)
    return void response.writeHead(200, { ...validators, "content-length": "10" }).end(whole);
  const part = whole.subarray(Number(from), Number(to) + 1);
  response.writeHead(206, { ...validators, "content-range": `bytes ${from}-${to}/10` }).end(part);
}

/** A JSON array of people of at least that many bytes. */
async function array(response: ServerResponse, bytes: number): Promise<void> {
  response.writeHead(200, { "content-type": "application/json" });
  const people = `${JSON.stringify(PERSON)},`.repeat(400);
  response.write("[");
  for (let sent = 0; sent < bytes && !response.destroyed; sent += people.length) {
    if (response.write(people)) continue;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        response.off("drain", go).off("close", go);
        resolve();
      };
      response.on("drain", go).on("close", go);
    });
  }
  response.end(`${JSON.stringify(PERSON)}]`);
}

async function upload(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  response.end(JSON.stringify({ bytes, sha256: hash.digest("hex") }));
}

/** The bytes that `/download` sends. */
export function* downloadBytes(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= CHUNK.length)
    yield left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
}

async function download(response: ServerResponse, bytes: number, withLength: boolean): Promise<void> {
  response.writeHead(200, {
    "content-type": "application/octet-stream",
    ...(withLength ? { "content-length": String(bytes) } : {}),
  });
  for (const chunk of downloadBytes(bytes)) {
    if (response.destroyed) return;
    if (response.write(chunk)) continue;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        response.off("drain", go).off("close", go);
        resolve();
      };
      response.on("drain", go).on("close", go);
    });
  }
  response.end();
}

function events(response: ServerResponse, count: number): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  let sent = 0;
  const timer = setInterval(() => {
    response.write(`id: ${++sent}\ndata: ${JSON.stringify(PERSON)}\n\n`);
    if (sent < count) return;
    clearInterval(timer);
    response.end();
  }, 20);
  response.on("close", () => clearInterval(timer));
}
