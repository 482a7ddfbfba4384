/** What a server that is not PostgreSQL, or a bad one, can do to the connector's login: fail it, and nothing else. */
import { once } from "node:events";
import { type AddressInfo, type Server as NetServer, type Socket, createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { TlsMode } from "../../../connectors/agent/postgres/connect.ts";
import { Credential } from "../../../connectors/agent/postgres/credential.ts";
import { closeReason } from "../../../connectors/agent/postgres/failure.ts";
import { SimpleQueries } from "../../../connectors/agent/postgres/simple-query.ts";
import { openServer } from "../../../connectors/agent/postgres/upstream.ts";
import { writeUint32 } from "../../../wire/bytes.ts";
import { LIMITS } from "../../../wire/limits.ts";

let server: NetServer | undefined;
const sockets = new Set<Socket>();
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await new Promise((resolve) => server?.close(resolve) ?? resolve(undefined));
  server = undefined;
});

function typed(type: string, body: Uint8Array | string, length?: number): Buffer {
  const bytes = typeof body === "string" ? Buffer.from(body, "latin1") : Buffer.from(body);
  const head = Buffer.alloc(5);
  head.write(type, "latin1");
  writeUint32(head, 1, length ?? bytes.length + 4);
  return Buffer.concat([head, bytes]);
}

const OK = typed("R", "\0\0\0\0");
const SETTINGS = Buffer.concat([
  typed("S", "client_encoding\0UTF8\0"),
  typed("S", "standard_conforming_strings\0on\0"),
]);
const READY = typed("Z", "I");

/** Answers the first bytes of each connection with `answer`. */
async function serve(answer: Uint8Array | ((socket: Socket) => void)): Promise<number> {
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", () => (typeof answer === "function" ? answer(socket) : socket.write(answer)));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function open(port: number, tls: TlsMode = "off", signal: AbortSignal = AbortSignal.timeout(2000)) {
  const address = { kind: "tcp", host: "127.0.0.1", port } as const;
  const credential = new Credential({ kind: "env", name: "PATH" });
  return openServer(
    { resource: "db", target: { address, tls, ca: undefined }, user: "u", database: "d", credential },
    {},
    signal,
  );
}

describe("a hostile server", () => {
  it.each([
    ["a length of 0", typed("R", "", 0)],
    ["a length of 3", typed("R", "", 3)],
    ["a length of 2^31", typed("R", "", 2 ** 31)],
    ["a length of 2^32 - 1", typed("R", "", 2 ** 32 - 1)],
    ["a length one over the limit", typed("R", "", (64 << 10) + 1)],
    ["HTTP", Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")],
    ["data before the login", typed("D", "\0\0")],
    ["ReadyForQuery before the login", READY],
    ["ParameterStatus before the login", SETTINGS],
    ["a malformed ParameterStatus", Buffer.concat([OK, typed("S", "client_encoding\0UTF8")])],
    ["a ParameterStatus with a third string", Buffer.concat([OK, typed("S", "client_encoding\0UTF8\0x\0")])],
    ["a key of another length", Buffer.concat([OK, typed("K", "\0\0\0\x01longer secret")])],
    ["a transaction after the login", Buffer.concat([OK, SETTINGS, typed("Z", "T")])],
    ["protocol negotiation", typed("v", "\0\0\0\0\0\0\0\0")],
    [
      "other settings than those asked for",
      Buffer.concat([
        OK,
        typed("S", "client_encoding\0LATIN1\0"),
        typed("S", "standard_conforming_strings\0on\0"),
        READY,
      ]),
    ],
    [
      "standard_conforming_strings off",
      Buffer.concat([
        OK,
        typed("S", "client_encoding\0UTF8\0"),
        typed("S", "standard_conforming_strings\0off\0"),
        READY,
      ]),
    ],
    ["no settings at all", Buffer.concat([OK, READY])],
    [
      "AuthenticationOk in place of a proof",
      Buffer.concat([typed("R", "\0\0\0\x0aSCRAM-SHA-256\0\0"), OK, SETTINGS, READY]),
    ],
    [
      "more parameters than fit one frame",
      Buffer.concat([
        OK,
        SETTINGS,
        ...Array.from({ length: LIMITS.tunnel.json / 20 }, (_, i) =>
          typed("S", `p${i}\0${"v".repeat(20)}\0`),
        ),
        READY,
      ]),
    ],
  ])("fails the login with %s", async (_what, answer) => {
    const opened = await open(await serve(answer));
    expect(opened).toMatchObject({ ok: false, error: { step: "login", kind: "protocol" } });
  });

  it("lets a well-behaved login through the same harness", async () => {
    const opened = await open(await serve(Buffer.concat([OK, SETTINGS, READY])));
    expect(opened.ok).toBe(true);
    if (opened.ok) opened.value.connection.stream.destroy();
  });

  it("that cannot look for its client is asked without it", async () => {
    const asked: boolean[] = [];
    const port = await serve((socket) => {
      // The StartupMessage has been taken by `serve`; only what is answered differs.
      asked.push(true);
      const refusal =
        'SFATAL\0VFATAL\0C22023\0Minvalid value for parameter "client_connection_check_interval": 5000\0\0';
      socket.write(asked.length === 1 ? typed("E", refusal) : Buffer.concat([OK, SETTINGS, READY]));
    });
    const opened = await open(port);
    expect(opened.ok).toBe(true);
    expect(asked).toHaveLength(2);
    if (opened.ok) opened.value.connection.stream.destroy();
  });

  it("is given up on an iteration count that would burn hours", async () => {
    const opened = await open(
      await serve((socket) => {
        socket.write(typed("R", "\0\0\0\x0aSCRAM-SHA-256\0\0"));
        socket.once("data", (bytes) => {
          const nonce = /r=([^\0]+)$/.exec(bytes.toString("latin1"))?.[1];
          socket.write(typed("R", `\0\0\0\x0br=${nonce}x,s=c2FsdA==,i=2147483647`));
        });
      }),
    );
    expect(opened).toMatchObject({
      ok: false,
      error: { detail: "the server asks for more than 1000000 SCRAM iterations" },
    });
  });

  it("is given up when it never answers", async () => {
    const port = await serve(() => undefined);
    for (const tls of ["off", "verify-full"] as const) {
      const started = performance.now();
      const opened = await open(port, tls, AbortSignal.timeout(150));
      expect(opened.ok).toBe(false);
      expect(performance.now() - started).toBeLessThan(1500);
    }
  });

  it("is given up when it sends notices without end", async () => {
    const notice = typed("N", "x".repeat(60_000));
    const opened = await open(
      await serve((socket) => {
        const more = () => {
          while (socket.write(notice));
        };
        socket.on("drain", more);
        more();
      }),
    );
    expect(opened).toMatchObject({ ok: false, error: { detail: "the server sent more than 1048576 bytes" } });
  });

  it("cannot slip plaintext in before TLS (CVE-2021-23222)", async () => {
    const opened = await open(await serve(Buffer.concat([Buffer.from("S"), OK, SETTINGS, READY])), "require");
    expect(opened).toEqual({
      ok: false,
      error: { step: "tls", detail: "the server sent data before the TLS handshake" },
    });
  });

  it.each(["N", "E", "x"])("cannot talk the connector out of TLS by answering %s", async (answer) => {
    const opened = await open(await serve(Buffer.from(answer)), "require");
    expect(opened).toEqual({ ok: false, error: { step: "tls", detail: "the server does not offer TLS" } });
  });

  it("cannot put words of its own before the client", async () => {
    const words = typed(
      "E",
      `SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "secret-name" at 10.0.0.7\0\0`,
    );
    const opened = await open(await serve(words));
    if (opened.ok) throw new Error("logged in");
    expect(closeReason("db", opened.error)).toEqual({
      code: "upstream_login_failed",
      message: "the database refused the connector's login",
    });
  });

  it.each([
    ["a row that ends early", typed("D", "\0\x01\0\0\0\x05abc")],
    ["a row with bytes left over", typed("D", "\0\x01\0\0\0\x01abc")],
    ["a row with a negative length", typed("D", "\0\x01\xff\xff\xff\xfe")],
    ["a COPY", typed("H", "\0\0\0")],
    ["a message over the limit", typed("D", "", 1 << 30)],
  ])("fails a query with %s", async (_what, answer) => {
    const port = await serve((socket) => {
      socket.write(Buffer.concat([OK, SETTINGS, READY]));
      socket.once("data", () => socket.write(Buffer.concat([answer, typed("C", "SELECT 1\0"), READY])));
    });
    const opened = await open(port);
    if (!opened.ok) throw new Error(opened.error.detail);
    const { connection, login } = opened.value;
    const rows = await new SimpleQueries(connection, login, AbortSignal.timeout(1000), 1 << 20).run(
      "SELECT 1",
    );
    expect(rows).toMatchObject({ ok: false, error: { usable: false } });
    connection.stream.destroy();
  });
});
