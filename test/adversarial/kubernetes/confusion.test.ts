/**
 * Requests that a cluster could read in another way than policy did. Each is compared with what the server behind
 * the connector received: nothing where it was refused, and byte for byte what was decided where it was not.
 */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { type HttpUpstream, startHttpUpstream } from "../../support/http-upstream.ts";
import {
  CLUSTER,
  type KubernetesStack,
  RAW,
  RAW_TOKEN,
  startKubernetesStack,
} from "../../support/kubernetes-stack.ts";
import { sendRaw } from "../http/raw.ts";

let kubernetes: KubernetesStack;
let upstream: HttpUpstream;
let token: string;

beforeAll(async () => {
  upstream = await startHttpUpstream();
  kubernetes = await startKubernetesStack("typescript", { rawPort: upstream.port });
  token = await kubernetes.stack.sessionToken("engineer");
});
afterAll(async () => {
  await kubernetes?.stop();
  await upstream?.stop();
});

type Sent = { readonly status: number; readonly text: string; readonly arrived: HttpUpstream["received"] };

/** One request, as written; what it was answered, and what of it arrived. */
async function send(line: string, headers: readonly string[] = [], body = ""): Promise<Sent> {
  const before = upstream.received.length;
  const [method = "", target = ""] = line.split(" ");
  const head = [
    `${method} /k8s/${RAW}${target} HTTP/1.1`,
    "Host: gateway",
    ...(headers.some((field) => /^authorization:/i.test(field)) ? [] : [`Authorization: Bearer ${token}`]),
    "Sally-No-Wait: 1",
    ...headers,
    ...(body === "" ? [] : [`Content-Length: ${Buffer.byteLength(body)}`]),
  ];
  const [answer] = await sendRaw(kubernetes.stack.gateway, `${head.join("\r\n")}\r\n\r\n${body}`);
  return { status: answer?.status ?? 0, text: answer?.text ?? "", arrived: upstream.received.slice(before) };
}

const POD = "/api/v1/namespaces/shop/pods/web-1";
const SECRET = "/api/v1/namespaces/shop/secrets";

describe("what an engineer may not do, in other words", () => {
  const denied: readonly string[] = [
    `DELETE ${SECRET}/db`,
    `DELETE ${SECRET}`,
    `DELETE ${SECRET}?fieldSelector=metadata.name%3Ddb`,
    `DELETE ${SECRET}/%64%62`,
    "DELETE /api/v1/namespaces/shop/%73ecrets/db",
    "DELETE /api/v1/namespaces/shop/pods/../secrets/db",
    "DELETE /api/v1/namespaces/shop/pods/%2e%2e/secrets/db",
    "DELETE /api/v1/namespaces/shop/pods%2f..%2fsecrets/db",
    "DELETE /api/v1/namespaces/shop//secrets/db",
    `DELETE ${SECRET}/db/`,
    `DELETE ${SECRET}/db;a=b`,
    "DELETE /api/v1//namespaces/shop/secrets/db",
    "DELETE /api/v1/watch/namespaces/shop/secrets/db",
    "DELETE /api/v1/secrets",
    "GET /metrics",
    "GET /debug/pprof/heap",
    "GET /logs/kube-apiserver.log",
    "POST /api/v1/nodes/node-1/proxy/run/shop/web-1/main?cmd=id",
    "GET /api/v1/nodes/node-1/proxy/exec/shop/web-1/main?command=id",
    "GET /api/v1/nodes/https:node-1:10250/proxy/pods",
    `GET ${POD}/exec?command=reboot&stdout=true`,
    `POST ${POD}/exec?command=reboot&stdout=true`,
    `GET ${POD}/exec?command=%72eboot&stdout=true`,
    `GET ${POD}/exec?stdout=true`,
    `PUT ${SECRET}/db/exec?command=reboot`,
    `GET ${POD}?watch=true`,
    `GET ${SECRET}?watch=true&watch=false`,
    `GET ${SECRET}?watch=maybe`,
    `TRACE ${POD}`,
    `OPTIONS ${POD}`,
    `get ${POD}`,
  ];
  for (const line of denied) {
    it(`is refused: ${line}`, async () => {
      const { status, arrived, text } = await send(line);
      expect(arrived.map(({ method, target }) => `${method} ${target}`)).toEqual([]);
      expect(status).toBeGreaterThanOrEqual(400);
      if (status === 403) expect(text).toContain('"kind":"Status"');
    });
  }

  const overrides = ["X-HTTP-Method-Override: DELETE", "X-Original-URL: /metrics", "X-Rewrite-URL: /metrics"];
  for (const field of overrides) {
    it(`is refused: a GET with ${field}`, async () => {
      const { status, arrived } = await send(`GET ${POD}`, [field]);
      expect({ status, arrived }).toEqual({ status: 400, arrived: [] });
    });
  }
});

describe("what an engineer may do arrives as it was decided", () => {
  const allowed: readonly (readonly [string, string])[] = [
    [`GET ${POD}`, POD],
    [`GET /api/v1/namespaces/shop/%70ods/web-1`, POD],
    ["GET /api/v1/pods?labelSelector=app%3dweb", "/api/v1/pods?labelSelector=app%3Dweb"],
    ["GET /api/v1/watch/namespaces/shop/pods", "/api/v1/watch/namespaces/shop/pods"],
    [`GET ${POD}?_method=DELETE`, `${POD}?_method=DELETE`],
    ["GET /apis/apps/v1/namespaces/shop/deployments", "/apis/apps/v1/namespaces/shop/deployments"],
    ["GET /openapi/v3/apis/apps/v1?hash=1", "/openapi/v3/apis/apps/v1?hash=1"],
    [`GET ${POD}/log?follow=true`, `${POD}/log?follow=true`],
  ];
  for (const [line, target] of allowed) {
    it(line, async () => {
      const { arrived } = await send(line);
      expect(arrived.map((one) => one.target)).toEqual([target]);
    });
  }
});

describe("who asks is for the gateway to say", () => {
  const forged: readonly string[] = [
    "Impersonate-User: admin",
    "impersonate-user: admin",
    "IMPERSONATE-USER: admin",
    "Impersonate_User: admin",
    "Impersonate-Group: system:masters",
    "Impersonate_Group: system:masters",
    "Impersonate-Uid: 0",
    "Impersonate-Extra-Scopes: all",
    "Impersonate-Extra-Sallyport-Name: admin",
    "X-Remote-User: admin",
    "X_Remote_User: admin",
    "X-Remote-Group: system:masters",
    "X-Remote-Extra-Scopes: all",
    "X-Forwarded-User: admin",
    "Forwarded: for=10.0.0.1",
    "Proxy-Authorization: Bearer forged",
  ];
  for (const field of forged) {
    it(`${field} does not arrive`, async () => {
      const { arrived } = await send(`GET ${POD}`, [field]);
      expect(arrived).toHaveLength(1);
      const value = field.slice(field.indexOf(":") + 1).trim();
      expect(arrived[0]?.headers.map(([, at]) => at)).not.toContain(value);
      const name = (field.split(":")[0] ?? "").toLowerCase();
      if (name.includes("_")) expect(arrived[0]?.headers.map(([at]) => at)).not.toContain(name);
    });
  }

  it("what arrives is the connector's token and the principal, once each", async () => {
    const { arrived } = await send(`GET ${POD}`, [
      "Impersonate-User: admin",
      "Impersonate-Group: system:masters",
    ]);
    const fields = arrived[0]?.headers ?? [];
    const all = (name: string): string[] => fields.filter(([at]) => at === name).map(([, value]) => value);
    expect(all("authorization")).toEqual([`Bearer ${RAW_TOKEN}`]);
    expect(all("impersonate-user")).toEqual([`${kubernetes.stack.issuer}#engineer`]);
    expect(all("impersonate-group")).toEqual(["sallyport:engineers"]);
    expect(JSON.stringify(fields)).not.toContain(token);
  });

  it("a token for another resource opens nothing, nor does one without a place here", async () => {
    const other = await kubernetes.stack.sessionToken("engineer", [CLUSTER]);
    for (const authorization of [`Bearer ${other}`, "Bearer forged", "Basic YTpi", `Bearer ${RAW_TOKEN}`]) {
      const { status, arrived, text } = await send(`GET ${POD}`, [`Authorization: ${authorization}`]);
      expect(arrived).toEqual([]);
      expect([401, 403]).toContain(status);
      expect(text).toContain('"kind":"Status"');
    }
  });

  it("a cluster is not reached at an HTTP service's address, nor a service at a cluster's", async () => {
    const before = upstream.received.length;
    const headers = { authorization: `Bearer ${token}` };
    for (const path of [
      `/http/${RAW}${POD}`,
      "/k8s/orders-api/orders",
      "/k8s/shop-db/x",
      "/k8s/nothing/api",
    ]) {
      const answer = await fetch(kubernetes.stack.gateway + path, { headers });
      expect(answer.status).toBeGreaterThanOrEqual(400);
    }
    expect(upstream.received.slice(before)).toEqual([]);
  });
});

describe("bodies that could ask for more than is seen", () => {
  const privileged = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "p" },
    spec: { containers: [{ name: "c", image: "i", securityContext: { privileged: true } }] },
  };
  const json = JSON.stringify(privileged);
  const cases: readonly (readonly [string, string, string])[] = [
    ["JSON", "application/json", json],
    ["YAML", "application/yaml", json],
    ["YAML that says it is JSON", "application/json", `# a comment\n${json}`],
    [
      "a key twice",
      "application/json",
      json.replace('"privileged":true', '"privileged":true,"privileged":false'),
    ],
    ["escapes in the key", "application/json", json.replace('"privileged"', '"\\u0070rivileged"')],
    ["protobuf that is none", "application/vnd.kubernetes.protobuf", json],
    ["a type that nobody knows", "application/x-unknown", json],
    ["no type", "", json],
  ];
  for (const [name, type, body] of cases) {
    it(`a privileged pod is refused: ${name}`, async () => {
      const fields = type === "" ? [] : [`Content-Type: ${type}`];
      const { status, arrived } = await send("POST /api/v1/namespaces/shop/pods", fields, body);
      expect(arrived).toEqual([]);
      expect(status).toBeGreaterThanOrEqual(400);
    });
  }

  it("a privileged pod is refused: compressed", async () => {
    const { status, arrived } = await send(
      "POST /api/v1/namespaces/shop/pods",
      ["Content-Type: application/json", "Content-Encoding: gzip"],
      json,
    );
    expect({ arrived, refused: status >= 400 }).toEqual({ arrived: [], refused: true });
  });
});

describe("upgrades", () => {
  const upgrade = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  ];
  const run = `${POD}/exec?command=id&stdout=true&stdin=true`;
  const games: readonly (readonly [string, string, readonly string[]])[] = [
    ["a list over a WebSocket", "GET /api/v1/namespaces/shop/pods", upgrade],
    ["a watch over a WebSocket", "GET /api/v1/namespaces/shop/pods?watch=true", upgrade],
    ["POST to a WebSocket", `POST ${run}`, upgrade],
    ["exec without a subprotocol", `GET ${run}`, upgrade],
    ["exec in the first version", `GET ${run}`, [...upgrade, "Sec-WebSocket-Protocol: channel.k8s.io"]],
    ["exec in base64", `GET ${run}`, [...upgrade, "Sec-WebSocket-Protocol: base64.channel.k8s.io"]],
    [
      "exec with a token as its only subprotocol",
      `GET ${run}`,
      [...upgrade, "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.Zm9yZ2Vk"],
    ],
    [
      "exec over SPDY",
      `POST ${run}`,
      ["Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"],
    ],
    ["a list over SPDY", "GET /api/v1/namespaces/shop/pods", ["Connection: Upgrade", "Upgrade: SPDY/3.1"]],
    ["two upgrades", `GET ${run}`, ["Connection: Upgrade", "Upgrade: SPDY/3.1, websocket"]],
    [
      "a port-forward in the old way",
      `GET ${POD}/portforward?ports=80`,
      [...upgrade, "Sec-WebSocket-Protocol: v4.channel.k8s.io"],
    ],
    ["discovery over a WebSocket", "GET /apis", upgrade],
  ];
  for (const [name, line, fields] of games) {
    it(`is refused: ${name}`, async () => {
      const { status, arrived } = await send(line, fields);
      expect(arrived).toEqual([]);
      expect(status).toBeGreaterThanOrEqual(400);
    });
  }

  const open = async (protocols: string[]): Promise<WebSocket> => {
    const address = `${kubernetes.stack.gateway.replace("http", "ws")}/k8s/${RAW}${run}`;
    const socket = new WebSocket(address, protocols, { headers: { authorization: `Bearer ${token}` } });
    await once(socket, "open");
    return socket;
  };

  it("a token among the subprotocols goes no further, the rest does", async () => {
    const before = upstream.received.length;
    const socket = await open(["base64url.bearer.authorization.k8s.io.Zm9yZ2Vk", "v4.channel.k8s.io"]);
    socket.terminate();
    const arrived = upstream.received.slice(before);
    const fields = arrived[0]?.headers.filter(([name]) => name === "sec-websocket-protocol");
    expect(fields).toEqual([["sec-websocket-protocol", "v4.channel.k8s.io"]]);
  });

  const frames: readonly (readonly [string, Buffer | string])[] = [
    ["output from the client", Buffer.from([1, 0x61])],
    ["a status from the client", Buffer.from([3, 0x7b, 0x7d])],
    ["a channel that nobody knows", Buffer.from([9, 0x61])],
    ["closing a channel in version 4", Buffer.from([255, 0])],
    ["a size that is none", Buffer.from([4, ...Buffer.from("[]")])],
    ["text", "not a channel"],
  ];
  for (const [name, frame] of frames) {
    it(`a stream ends at ${name}`, async () => {
      const socket = await open(["v4.channel.k8s.io"]);
      const heard: Buffer[] = [];
      socket.on("message", (data) => heard.push(data as Buffer));
      socket.send(frame);
      await once(socket, "close");
      // The server behind echoes what it gets: nothing of it came back, only the gateway's own last words.
      expect(heard.map((message) => message[0])).toEqual([3]);
      expect(heard[0]?.toString("utf8", 1)).toContain('"kind":"Status"');
    });
  }
});
