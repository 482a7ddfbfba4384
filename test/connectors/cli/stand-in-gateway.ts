/**
 * Stands in for the gateway in tests of `sally`: the HTTP API as docs/api.md has it, answering what a test
 * says, a token exchange that checks signatures against a real identity provider's key, and `/connect`, which
 * pipes to a real PostgreSQL through the real tunnel.
 */
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { type Socket, connect as connectTcp } from "node:net";
import type { Duplex } from "node:stream";
import { type JWK, SignJWT, decodeJwt, importJWK, jwtVerify } from "jose";
import { WebSocketServer } from "ws";
import { TunnelSocket } from "../../../connectors/lib/tunnel-socket.ts";
import { type ClientNotice, WEBSOCKET_PROTOCOL } from "../../../wire/control.ts";
import { REFUSALS, type RefusalCode } from "../../../wire/refusals.ts";

export type Answer = { readonly status: number; readonly body?: unknown };
export type Seen = {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
};
export type Connected = {
  readonly tunnel: TunnelSocket;
  readonly upstream: Socket;
  readonly resource: string;
  readonly headers: IncomingMessage["headers"];
  readonly controls: string[];
  /** Cuts the WebSocket without a word, as a gateway that crashed. */
  readonly cut: () => void;
};

export type StandIn = {
  readonly url: string;
  /** Every HTTP request but the token exchange, in order. */
  readonly requests: Seen[];
  /** Forms posted to /oauth/token. */
  readonly exchanges: URLSearchParams[];
  readonly connections: Connected[];
  /** Answers by `METHOD path` (without query), or a function of the request. */
  readonly answers: Map<string, Answer | ((seen: Seen) => Answer)>;
  /** Notices sent when a session begins, by resource. */
  readonly notices: Map<string, readonly ClientNotice[]>;
  /** What /connect refuses, by resource. */
  readonly refusals: Map<string, { code: RefusalCode; message: string; hint?: string }>;
  /** Seconds that session tokens last. */
  tokenLife: number;
  /** What /v1/login tells `sally` to ask for. */
  scopes: readonly string[];
  stop: () => Promise<void>;
};

const SECRET = new TextEncoder().encode("the stand-in signs its session tokens with this");

export async function startStandIn(options: {
  readonly issuer?: { readonly issuer: string; readonly clientId: string; readonly publicKey: JWK };
  /** Port of the PostgreSQL that `/connect` reaches. */
  readonly upstreamPort?: number;
}): Promise<StandIn> {
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => WEBSOCKET_PROTOCOL });
  const standIn: Omit<StandIn, "url" | "stop"> & { url: string } = {
    url: "",
    requests: [],
    exchanges: [],
    connections: [],
    answers: new Map(),
    notices: new Map(),
    refusals: new Map(),
    tokenLife: 900,
    scopes: ["openid", "profile", "email", "groups"],
  };
  const server: Server = createServer((request, response) => {
    void handle(standIn as StandIn, options.issuer, request, response);
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    void (async () => {
      const resource = decodeURIComponent((request.url ?? "").replace(/^\/connect\//, ""));
      const refused =
        (await bearer(request)) === undefined
          ? { code: "token_invalid" as const, message: "the session token is not valid" }
          : standIn.refusals.get(resource);
      if (refused !== undefined) {
        const { http } = REFUSALS[refused.code];
        const body = JSON.stringify({
          type: "about:blank",
          title: refused.message,
          status: http,
          code: refused.code,
          ...("hint" in refused ? { hint: refused.hint } : {}),
        });
        socket.end(
          `HTTP/1.1 ${http} No\r\nContent-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
        );
        return;
      }
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        const controls: string[] = [];
        const tunnel = new TunnelSocket(webSocket, {
          side: "gateway",
          onControl: (text) => controls.push(text),
        });
        const channel = tunnel.attach();
        const upstream = connectTcp({
          host: "127.0.0.1",
          port: options.upstreamPort ?? 0,
          allowHalfOpen: true,
          noDelay: true,
        });
        standIn.connections.push({
          tunnel,
          upstream,
          resource,
          headers: request.headers,
          controls,
          cut: () => webSocket.terminate(),
        });
        for (const notice of standIn.notices.get(resource) ?? []) tunnel.control(notice);
        channel.on("error", () => upstream.destroy());
        upstream.on("error", () => channel.destroy());
        channel.pipe(upstream).pipe(channel);
        channel.once("close", () => {
          upstream.destroy();
          setTimeout(() => tunnel.close(), 20);
        });
      });
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  standIn.url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  return Object.assign(standIn, {
    stop: async () => {
      for (const { tunnel, upstream } of standIn.connections) {
        tunnel.close();
        upstream.destroy();
      }
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

async function handle(
  standIn: StandIn,
  issuer: { issuer: string; clientId: string; publicKey: JWK } | undefined,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  const path = (request.url ?? "").split("?")[0] ?? "";
  const send = ({ status, body: answer }: Answer): void => {
    const type = status >= 400 ? "application/problem+json" : "application/json";
    response.writeHead(status, { "content-type": type });
    response.end(answer === undefined ? "" : JSON.stringify(answer));
  };
  if (path === "/oauth/token") {
    const form = new URLSearchParams(body);
    standIn.exchanges.push(form);
    return send(await exchange(standIn, issuer, form));
  }
  const seen: Seen = { method: request.method ?? "", url: request.url ?? "", headers: request.headers, body };
  standIn.requests.push(seen);
  if (path === "/v1/login") {
    return send({
      status: 200,
      body: {
        issuers:
          issuer === undefined
            ? []
            : [
                {
                  issuer: issuer.issuer,
                  clientId: issuer.clientId,
                  scopes: standIn.scopes,
                },
              ],
      },
    });
  }
  const answer = standIn.answers.get(`${request.method} ${path}`);
  const token = await bearer(request);
  if (token === undefined && request.headers.authorization !== "Bearer bootstrap") {
    return send({
      status: 401,
      body: {
        type: "about:blank",
        title: "the session token is not valid",
        status: 401,
        code: "token_invalid",
      },
    });
  }
  if (answer === undefined) {
    return send({
      status: 404,
      body: { type: "about:blank", title: `there is no ${path}`, status: 404, code: "not_found" },
    });
  }
  send(typeof answer === "function" ? answer(seen) : answer);
}

async function exchange(
  standIn: StandIn,
  issuer: { issuer: string; clientId: string; publicKey: JWK } | undefined,
  form: URLSearchParams,
): Promise<Answer> {
  const token = form.get("subject_token") ?? "";
  try {
    if (issuer === undefined) decodeJwt(token);
    else
      await jwtVerify(token, await importJWK(issuer.publicKey, "RS256"), {
        issuer: issuer.issuer,
        audience: issuer.clientId,
        algorithms: ["RS256"],
      });
  } catch {
    return {
      status: 400,
      body: {
        error: "invalid_grant",
        error_description: "the identity token is not valid",
        code: "token_invalid",
      },
    };
  }
  if (form.getAll("resource").includes("no-such-db")) {
    return {
      status: 400,
      body: {
        error: "invalid_target",
        error_description: "there is no resource no-such-db",
        code: "resource_unknown",
      },
    };
  }
  const { sub } = decodeJwt(token);
  const access = await new SignJWT({ n: standIn.exchanges.length })
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(sub ?? "")
    .setExpirationTime(Math.floor(Date.now() / 1000) + standIn.tokenLife)
    .sign(SECRET);
  return {
    status: 200,
    body: {
      access_token: access,
      issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
      token_type: "Bearer",
      expires_in: standIn.tokenLife,
    },
  };
}

async function bearer(request: IncomingMessage): Promise<string | undefined> {
  const token = request.headers.authorization?.replace(/^Bearer /, "") ?? "";
  return jwtVerify(token, SECRET, { algorithms: ["HS256"] }).then(
    () => token,
    () => undefined,
  );
}
