/** The connector's side of HTTP resources: TLS, HTTP/2 and credentials, against real servers. */
import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import { type Http2ServerRequest, type Http2ServerResponse, createSecureServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HttpHead } from "../../../../wire/http/open.ts";
import { makeAuthority, makeCertificate } from "../certificates.ts";
import { ConnectorProcess } from "../connector-process.ts";
import { GatewayStandIn } from "../gateway-stand-in.ts";

type Echo = {
  version: string;
  method: string;
  target: string;
  headers: Record<string, string>;
  body: string;
  client?: string;
};

const stops: (() => unknown)[] = [];
let gateway: GatewayStandIn;
let connector: ConnectorProcess;

async function echo(
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const peer = (request.socket as TLSSocket).getPeerCertificate?.() as
    | { subject?: { CN?: string } }
    | undefined;
  const answer = {
    version: request.httpVersion,
    method: request.method,
    target: request.url,
    headers: request.headers,
    body: Buffer.concat(chunks).toString("base64"),
    ...(peer?.subject?.CN === undefined ? {} : { client: peer.subject.CN }),
  };
  (response as ServerResponse).writeHead(200, { "content-type": "application/json" });
  (response as ServerResponse).end(JSON.stringify(answer));
}

beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), "connector-http-"));
  stops.push(() => rm(directory, { recursive: true, force: true }));
  const ca = await makeAuthority(directory, "private-ca");
  const good = await makeCertificate(directory, "private-ca", "IP:127.0.0.1");
  const other = await makeCertificate(directory, "private-ca", "DNS:internal.example");
  const clientOwn = await makeCertificate(directory, "private-ca", "DNS:client");
  await writeFile(join(directory, "client.key"), clientOwn.key);
  await writeFile(join(directory, "client.crt"), clientOwn.certificate);
  const listen = async (key: string, cert: string, more: object = {}): Promise<number> => {
    const server = createSecureServer({ key, cert, allowHTTP1: true, ...more }, (request, response) => {
      void echo(request, response);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    stops.push(() => server.close());
    return (server.address() as AddressInfo).port;
  };
  const tls = await listen(good.key, good.certificate);
  const misnamed = await listen(other.key, other.certificate);
  const mutual = await listen(good.key, good.certificate, {
    requestCert: true,
    rejectUnauthorized: true,
    ca: await readFile(ca),
  });
  const plainServer = createServer((request, response) => void echo(request, response));
  plainServer.listen(0, "127.0.0.1");
  await once(plainServer, "listening");
  stops.push(() => plainServer.close());
  const plain = `http://127.0.0.1:${(plainServer.address() as AddressInfo).port}`;
  const https = (port: number): string => `https://127.0.0.1:${port}`;

  gateway = await GatewayStandIn.start();
  stops.push(() => gateway.stop());
  connector = await ConnectorProcess.start(
    {
      gateway: gateway.url,
      name: "test",
      joinToken: "env:JOIN",
      resources: {
        h2: { protocol: "http", address: https(tls), ca },
        h1: { protocol: "http", address: https(tls), ca, http2: false },
        untrusted: { protocol: "http", address: https(tls) },
        misnamed: { protocol: "http", address: https(misnamed), ca },
        named: { protocol: "http", address: https(misnamed), ca, serverName: "internal.example" },
        anonymous: { protocol: "http", address: https(mutual), ca },
        mutual: {
          protocol: "http",
          address: https(mutual),
          ca,
          clientCertificate: {
            certificate: `file:${join(directory, "client.crt")}`,
            key: `file:${join(directory, "client.key")}`,
          },
        },
        below: { protocol: "http", address: `${plain}/base/path/` },
        bearer: { protocol: "http", address: plain, credential: { bearer: "env:SECRET" } },
        basic: {
          protocol: "http",
          address: plain,
          credential: { basic: { user: "me", password: "env:SECRET" } },
        },
        header: {
          protocol: "http",
          address: plain,
          credential: { header: { name: "X-Api-Key", value: "env:SECRET" } },
        },
        query: {
          protocol: "http",
          address: plain,
          credential: { query: { name: "key", value: "env:SECRET" } },
        },
        missing: { protocol: "http", address: plain, credential: { bearer: "env:NOT_SET" } },
        aws: {
          protocol: "http",
          address: plain,
          credential: {
            aws: {
              region: "eu-west-1",
              service: "execute-api",
              accessKeyId: "env:AWS_ID",
              secretAccessKey: "env:SECRET",
            },
          },
        },
      },
    },
    { JOIN: gateway.joinToken, SECRET: "s3cret+/=", AWS_ID: "AKIDEXAMPLE" },
  );
  stops.push(() => connector.child.kill("SIGKILL"));
  await gateway.connected();
});

afterAll(async () => {
  for (const stop of stops.reverse()) await stop();
});

/** One exchange; rejects with the CloseReason when there was no answer. */
async function exchange(
  resource: string,
  target: string,
  more: { method?: string; headers?: [string, string][]; body?: string } = {},
): Promise<Echo> {
  const tunnel = await gateway.session(resource);
  try {
    const channel = tunnel.open({
      protocol: "http",
      resource,
      method: more.method ?? "GET",
      target,
      headers: more.headers ?? [],
      ...(more.body === undefined ? {} : { body: more.body.length }),
    });
    if (channel === undefined) throw new Error("no channel");
    const head = new Promise<HttpHead>((resolve, reject) => {
      channel.listen({
        onSignal: (payload) => resolve(HttpHead.parse(payload)),
        onRemoteClose: (reason) => reject(Object.assign(new Error(reason.message), { code: reason.code })),
      });
    });
    channel.end(more.body ?? "");
    expect((await head).status).toBe(200);
    let text = "";
    for await (const chunk of channel as AsyncIterable<Buffer>) text += chunk.toString();
    return JSON.parse(text) as Echo;
  } finally {
    tunnel.close();
  }
}

describe("TLS", () => {
  it("speaks HTTP/2 where the server offers it, with a private authority", async () => {
    expect(await exchange("h2", "/x")).toMatchObject({ version: "2.0", target: "/x" });
    const posted = await exchange("h2", "/x", { method: "POST", body: "hello" });
    expect(Buffer.from(posted.body, "base64").toString()).toBe("hello");
  });

  it("speaks HTTP/1.1 where it is told to", async () => {
    expect(await exchange("h1", "/x")).toMatchObject({ version: "1.1" });
  });

  for (const resource of ["untrusted", "misnamed"]) {
    it(`does not speak to a server whose certificate is ${resource}`, async () => {
      await expect(exchange(resource, "/x")).rejects.toMatchObject({
        code: "upstream_unreachable",
        message: expect.stringContaining("certificate is not trusted") as string,
      });
    });
  }

  it("takes a certificate for the name that it is told", async () => {
    expect(await exchange("named", "/x")).toMatchObject({ target: "/x" });
  });

  it("shows its own certificate where one is asked for", async () => {
    expect(await exchange("mutual", "/x")).toMatchObject({ client: "server" });
    await expect(exchange("anonymous", "/x")).rejects.toMatchObject({ code: "upstream_unreachable" });
  });
});

describe("the target", () => {
  for (const target of ["/a%20b?c=%27d%27&e", "/a!$&'()*+,=:@~", "/%C3%BC/%E2%82%AC?", "/a?b=/../c"]) {
    it(`arrives byte for byte: ${target}`, async () => {
      expect((await exchange("bearer", target)).target).toBe(target);
      expect((await exchange("h2", target)).target).toBe(target);
    });
  }

  it("stays below the address's path", async () => {
    expect((await exchange("below", "/x?y")).target).toBe("/base/path/x?y");
  });
});

describe("credentials", () => {
  it("are put in, and the client's taken out", async () => {
    const headers: [string, string][] = [
      ["authorization", "Bearer mine"],
      ["x-api-key", "mine"],
      ["x_api_key", "mine"],
    ];
    expect((await exchange("bearer", "/x", { headers })).headers["authorization"]).toBe("Bearer s3cret+/=");
    const basic = (await exchange("basic", "/x", { headers })).headers["authorization"];
    expect(basic).toBe(`Basic ${Buffer.from("me:s3cret+/=").toString("base64")}`);
    const header = (await exchange("header", "/x", { headers })).headers;
    expect(header["x-api-key"]).toBe("s3cret+/=");
    expect(header["x_api_key"]).toBeUndefined();
    const query = await exchange("query", "/x?a=1&key=mine&k%65y=mine");
    expect(query.target).toBe("/x?a=1&key=s3cret%2B%2F%3D");
  });

  it("that cannot be read refuse the request, and say no more than that", async () => {
    await expect(exchange("missing", "/x")).rejects.toMatchObject({ code: "upstream_login_failed" });
    expect(connector.stderr).toContain("NOT_SET");
    expect(connector.stderr).not.toContain("s3cret");
  });

  it("sign a request as AWS does (Signature Version 4)", async () => {
    const sent = await exchange("aws", "/orders/a%20b?z=1&a=%2F", {
      method: "POST",
      headers: [
        ["content-type", "application/json"],
        ["x-amz-security-token", "forged"],
      ],
      body: '{"a":1}',
    });
    const { headers } = sent;
    expect(headers["x-amz-security-token"]).toBeUndefined();
    const match =
      /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/(\d{8})\/eu-west-1\/execute-api\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
        headers["authorization"] ?? "",
      );
    if (match === null) throw new Error(`not signed: ${headers["authorization"] ?? ""}`);
    const [, day = "", signedHeaders = "", signature] = match;
    const sha = (text: string | Buffer): string => createHash("sha256").update(text).digest("hex");
    const body = Buffer.from(sent.body, "base64");
    expect(body.toString()).toBe('{"a":1}');
    // The path is encoded once more, as every service but S3 wants it.
    const canonical = [
      "POST",
      "/orders/a%2520b",
      "a=%2F&z=1",
      ...signedHeaders.split(";").map((name) => `${name}:${(headers[name] ?? "").trim()}`),
      "",
      signedHeaders,
      sha(body),
    ].join("\n");
    const scope = `${day}/eu-west-1/execute-api/aws4_request`;
    const toSign = `AWS4-HMAC-SHA256\n${headers["x-amz-date"] ?? ""}\n${scope}\n${sha(canonical)}`;
    const key = [day, "eu-west-1", "execute-api", "aws4_request"].reduce<string | Buffer>(
      (secret, part) => createHmac("sha256", secret).update(part).digest(),
      "AWS4s3cret+/=",
    );
    expect(signature).toBe(createHmac("sha256", key).update(toSign).digest("hex"));
  });
});
