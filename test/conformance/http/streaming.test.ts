/** Bodies, streams, WebSockets and many requests at once through the whole gateway, with real clients. */
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { request as nodeRequest } from "node:http";
import { Readable } from "node:stream";
import { EventSource } from "undici";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { type HttpStack, MASKED, PLAIN, startHttpStack } from "../../support/http-stack.ts";
import { PERSON, downloadBytes } from "../../support/http-upstream.ts";

/** Gigabytes take minutes on two cores: asked for by hand. */
const LONG = process.env["SALLY_LONG_TESTS"] !== undefined;
const BIG = LONG ? 1 << 30 : 96 << 20;
const BIG_JSON = LONG ? 500 << 20 : 8 << 20;
const MEMORY = 160 << 20;

let http: HttpStack;
let token: string;
let headers: { authorization: string };

beforeAll(async () => {
  http = await startHttpStack();
  token = await http.stack.sessionToken("engineer");
  headers = { authorization: `Bearer ${token}` };
});
afterAll(() => http?.stop());

function memoryOfGateway(): number {
  return http.stack.workerdPids.reduce((most, pid) => {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Math.max(most, Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024);
  }, 0);
}

/** How far the gateway's memory rises while `work` runs. */
async function memoryRise<T>(work: Promise<T>): Promise<{ result: T; rise: number }> {
  const before = memoryOfGateway();
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, memoryOfGateway())), 50);
  try {
    return { result: await work, rise: most - before };
  } finally {
    clearInterval(timer);
  }
}

async function digestOf(stream: AsyncIterable<Uint8Array>): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of stream) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { bytes, sha256: hash.digest("hex") };
}

describe("large bodies", () => {
  it("come down whole, with their length, in bounded memory", { timeout: 300_000 }, async () => {
    const expected = await digestOf(Readable.from(downloadBytes(BIG)));
    const answer = await fetch(`${http.url(PLAIN)}/download?bytes=${BIG}&length`, { headers });
    expect(answer.headers.get("content-length")).toBe(String(BIG));
    const { result, rise } = await memoryRise(digestOf(answer.body as unknown as AsyncIterable<Uint8Array>));
    expect(result).toEqual(expected);
    if (LONG) console.log(`${BIG} bytes, gateway's memory rose by ${rise >> 20} MiB`);
    expect(rise).toBeLessThan(MEMORY);
  });

  it("go up whole, chunked, in bounded memory", { timeout: 300_000 }, async () => {
    const expected = await digestOf(Readable.from(downloadBytes(BIG)));
    const sent = fetch(`${http.url(PLAIN)}/upload`, {
      method: "POST",
      headers: { ...headers, "content-type": "application/octet-stream" },
      body: Readable.toWeb(Readable.from(downloadBytes(BIG))) as ReadableStream,
      duplex: "half",
    });
    const { result, rise } = await memoryRise(sent.then((answer) => answer.json()));
    expect(result).toEqual(expected);
    if (LONG) console.log(`${BIG} bytes, gateway's memory rose by ${rise >> 20} MiB`);
    expect(rise).toBeLessThan(MEMORY);
  });

  it("of JSON are masked as they stream, in bounded memory", { timeout: 600_000 }, async () => {
    const answer = await fetch(`${http.url(MASKED)}/array?bytes=${BIG_JSON}`, { headers });
    const person = Buffer.byteLength(JSON.stringify(PERSON)) + 1;
    let bytes = 0;
    let masks = 0;
    let tail = "";
    const read = async (): Promise<void> => {
      for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
        bytes += chunk.length;
        const text = tail + Buffer.from(chunk).toString("latin1");
        if (text.includes(PERSON.ssn) || text.includes(PERSON.email))
          throw new Error("something was not masked");
        masks += text.split('"ssn":"****"').length - 1;
        // Shorter than what is looked for, so that nothing is counted twice.
        tail = text.slice(-11);
      }
    };
    const { rise } = await memoryRise(read());
    expect(masks).toBeGreaterThan(BIG_JSON / person);
    expect(bytes).toBeGreaterThan(BIG_JSON / 2);
    expect(tail.endsWith("}]}]")).toBe(true);
    if (LONG) console.log(`masked ${bytes} bytes, gateway's memory rose by ${rise >> 20} MiB`);
    expect(rise).toBeLessThan(MEMORY);
  });

  it("stop coming when the client stops reading", async () => {
    const answer = await fetch(`${http.url(PLAIN)}/download?bytes=${256 << 20}`, { headers });
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    const before = memoryOfGateway();
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(memoryOfGateway() - before).toBeLessThan(MEMORY);
    expect([...http.upstream.open].length).toBeGreaterThan(0);
    await reader.cancel();
    await expect.poll(() => http.upstream.open.size, { timeout: 10_000 }).toBe(0);
  });

  it("that break off at the service break off at the client", async () => {
    const answer = await fetch(`${http.url(PLAIN)}/broken`, { headers });
    await expect(answer.arrayBuffer()).rejects.toThrow();
  });

  it("that the service does not want are answered", async () => {
    const body = randomBytes(8 << 20);
    const send = async (): Promise<string> => {
      const answer = await fetch(`${http.url(PLAIN)}/early`, { method: "POST", headers, body });
      return `${answer.status} ${await answer.text()}`;
    };
    // Who hangs up on a body may take the answer with it (RFC 9112 section 9.6): not each time, on either leg.
    let answered = "";
    for (let time = 0; time < 8 && answered !== "413 too large"; time++) {
      answered = await send().catch((error: Error) => `failed: ${error.message}`);
      expect(answered).toMatch(/^(?:413 too large$|502 |failed: fetch failed$)/);
    }
    expect(answered).toBe("413 too large");
  });

  it("arrive with the length that the client gave, and chunked without", async () => {
    await fetch(`${http.url(PLAIN)}/hello`, { method: "POST", headers, body: "twelve bytes" });
    expect(fieldsOf().get("content-length")).toBe("12");
    expect(fieldsOf().has("transfer-encoding")).toBe(false);
    await fetch(`${http.url(PLAIN)}/hello`, {
      method: "POST",
      headers,
      body: Readable.toWeb(Readable.from([Buffer.from("twelve bytes")])) as ReadableStream,
      duplex: "half",
    });
    expect(fieldsOf().get("transfer-encoding")).toBe("chunked");
    expect(http.upstream.received.at(-1)?.body.toString()).toBe("twelve bytes");
  });
});

function fieldsOf(): Map<string, string> {
  return new Map(http.upstream.received.at(-1)?.headers ?? []);
}

describe("server-sent events", () => {
  it("reach an EventSource as they come", async () => {
    const withToken = new EventSource(`${http.url(PLAIN)}/events?count=200`, {
      // undici's own option; the standard has no headers.
      dispatcher: await dispatcherWith(headers),
    } as never);
    const first = await new Promise<string>((resolve, reject) => {
      withToken.addEventListener("message", (event) => resolve(String((event as MessageEvent).data)));
      withToken.addEventListener("error", () => reject(new Error("the stream failed")));
    });
    withToken.close();
    expect(JSON.parse(first)).toMatchObject({ name: "Ada" });
    await expect.poll(() => http.upstream.open.size, { timeout: 10_000 }).toBe(0);
  });

  it("have their fields masked one by one", async () => {
    const answer = await fetch(`${http.url(MASKED)}/events?count=3`, { headers });
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    const text = await answer.text();
    expect(text.match(/^data: /gm)).toHaveLength(3);
    expect(text).not.toContain("943-25");
    expect(text).toContain('"ssn":"****"');
    expect(text).toContain("id: 3");
  });
});

async function dispatcherWith(fields: Record<string, string>): Promise<unknown> {
  const { Agent } = await import("undici");
  return new Agent().compose(
    (dispatch) => (options, handler) =>
      dispatch(
        { ...options, headers: { ...(options.headers as Record<string, string>), ...fields } },
        handler,
      ),
  );
}

describe("WebSockets", () => {
  const open = (path: string, protocols: string[] = []): Promise<WebSocket> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`${http.url(PLAIN).replace(/^http/, "ws")}${path}`, protocols, {
        headers: { ...headers, "Sally-Identity": "forged", "X-Forwarded-User": "admin" },
      });
      socket.once("open", () => resolve(socket));
      socket.once("error", reject);
    });

  it("echo text and binary, with the subprotocol, and identity set by the gateway", async () => {
    const socket = await open("/echo", ["chat.v1", "chat.v2"]);
    expect(socket.protocol).toBe("chat.v1");
    const fields = fieldsOf();
    expect(fields.get("sally-identity")?.split(".")).toHaveLength(3);
    expect(fields.has("x-forwarded-user")).toBe(false);
    const messages: { text: string; binary: boolean }[] = [];
    socket.on("message", (data, binary) => messages.push({ text: (data as Buffer).toString(), binary }));
    socket.send("hello");
    socket.send(Buffer.from("bytes"));
    socket.send("");
    await expect.poll(() => messages).toHaveLength(3);
    expect(messages).toEqual([
      { text: "hello", binary: false },
      { text: "bytes", binary: true },
      { text: "", binary: false },
    ]);
    const closed = new Promise<number>((resolve) => socket.once("close", resolve));
    socket.close(1000, "done");
    expect(await closed).toBe(1000);
  });

  it("deliver a flood in order", { timeout: 60_000 }, async () => {
    const socket = new WebSocket(`${http.url(PLAIN).replace(/^http/, "ws")}/flood`, { headers });
    let bytes = 0;
    let done = false;
    socket.on("message", (data, binary) => {
      if (binary) bytes += (data as Buffer).length;
      else done = true;
    });
    await expect.poll(() => done, { timeout: 45_000 }).toBe(true);
    expect(bytes).toBe(200 * (64 << 10));
    socket.close();
  });

  it("end when the session is killed", async () => {
    const own = await http.stack.sessionToken("engineer");
    const authorization = `Bearer ${own}`;
    const socket = new WebSocket(`${http.url(PLAIN).replace(/^http/, "ws")}/echo`, {
      headers: { authorization },
    });
    await new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    });
    const closed = new Promise<number>((resolve) => socket.once("close", resolve));
    const session = fieldsOf().get("sally-session") ?? "";
    const killed = await fetch(`${http.stack.gateway}/v1/sessions/${session}/kill`, {
      method: "POST",
      headers: { authorization, "content-type": "application/json" },
      body: "{}",
    });
    expect(killed.status).toBe(200);
    expect(await closed).toBe(1008);
    const after = await fetch(`${http.url(PLAIN)}/hello`, { headers: { authorization } });
    expect(after.status).toBe(410);
  });
});

describe("many requests at once", () => {
  it("a thousand are all answered, each with its own answer", { timeout: 120_000 }, async () => {
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, async (_, index) => {
        const answer = await fetch(`${http.url(PLAIN)}/echo/${index}`, { headers });
        return ((await answer.json()) as { target: string }).target;
      }),
    );
    expect(answers).toEqual(Array.from({ length: 1_000 }, (_, index) => `/echo/${index}`));
  });

  it("the first requests of a token are one session, however many come at once", async () => {
    const authorization = `Bearer ${await http.stack.sessionToken("engineer")}`;
    const answers = await Promise.all(
      Array.from({ length: 50 }, async () => {
        const answer = await fetch(`${http.url(PLAIN)}/hello`, { headers: { authorization } });
        await answer.arrayBuffer();
        return answer.status;
      }),
    );
    expect(new Set(answers)).toEqual(new Set([200]));
    const sessions = http.upstream.received
      .slice(-50)
      .map(({ headers: fields }) => new Map(fields).get("sally-session"));
    expect(new Set(sessions).size).toBe(1);
  });

  it("a slow one does not hold up the others", async () => {
    const hanging = new AbortController();
    const hang = fetch(`${http.url(PLAIN)}/hang`, { headers, signal: hanging.signal }).catch(() => undefined);
    const answer = await fetch(`${http.url(PLAIN)}/hello`, { headers });
    expect(answer.status).toBe(200);
    hanging.abort();
    await hang;
  });
});

describe("curl", () => {
  const curl = (args: readonly string[]): Promise<{ code: number | null; text: string }> =>
    new Promise((resolve) => {
      const child = spawn("curl", ["-s", "-i", "-H", `authorization: Bearer ${token}`, ...args]);
      let text = "";
      child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
      child.on("close", (code) => resolve({ code, text }));
    });

  it("gets, posts and uploads with Expect: 100-continue", async () => {
    const got = await curl([`${http.url(PLAIN)}/hello?x=1`]);
    expect(got.text).toContain('"target":"/hello?x=1"');
    const posted = await curl([
      "-H",
      "expect: 100-continue",
      "--data-binary",
      "abc",
      `${http.url(PLAIN)}/hello`,
    ]);
    expect(posted.text).toContain(`"body":"${Buffer.from("abc").toString("base64")}"`);
  });

  it("gets a HEAD's length and no body", async () => {
    const head = await curl(["-I", `${http.url(PLAIN)}/people`]);
    expect(head.text).toContain("200 OK");
    expect(head.code).toBe(0);
  });

  it("is told when an answer broke off", async () => {
    const broken = await curl([`${http.url(PLAIN)}/broken`]);
    expect(broken.code).not.toBe(0);
  });
});

async function restOf(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  for (;;) if ((await reader.read()).done) return "whole";
}

/** A body that does not come to its end by itself. */
async function* slowBytes(): AsyncGenerator<Buffer> {
  for (;;) {
    yield Buffer.alloc(1_000);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The platform does it after a minute of idleness, which a test has no time for; a crash does it at once. */
async function putOutOfMemory(session: string): Promise<void> {
  const { system } = http.stack;
  if (LONG) {
    await new Promise((resolve) => setTimeout(resolve, 70_000));
    return system.gateway.hibernate(session);
  }
  await system.gateway.crash();
  await system.startGateway();
  await system.waitUntilOnline(PLAIN);
}

describe("a session that was put out of memory", { timeout: LONG ? 300_000 : 60_000 }, () => {
  it("goes on with the next request in the same recording, for whom nothing was revoked meanwhile", async () => {
    const asking = async (user: "engineer" | "agent"): Promise<(path: string) => Promise<Response>> => {
      const authorization = `Bearer ${await http.stack.sessionToken(user)}`;
      return (path) => fetch(`${http.url(PLAIN)}${path}`, { headers: { authorization } });
    };
    const post = async (path: string, body: object): Promise<number> => {
      const authorization = `Bearer ${await http.stack.sessionToken("reviewer-a")}`;
      const answer = await fetch(`${http.stack.gateway}${path}`, {
        method: "POST",
        headers: { authorization, "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      return answer.status;
    };
    const agent = await asking("agent");
    expect((await agent("/people")).status).toBe(200);
    const identity = fieldsOf().get("sally-identity")?.split(".")[1] ?? "";
    const { sub } = JSON.parse(Buffer.from(identity, "base64url").toString()) as { sub: string };
    const [issuer = "", subject = ""] = sub.split("#");
    const ask = await asking("engineer");
    expect((await ask("/before")).status).toBe(200);
    const session = fieldsOf().get("sally-session") ?? "";

    await putOutOfMemory(session);
    expect((await ask("/after")).status).toBe(200);
    expect(fieldsOf().get("sally-session")).toBe(session);
    expect((await ask("/secret")).status).toBe(403);
    const authorization = `Bearer ${await http.stack.sessionToken("reviewer-a")}`;
    const read = async (): Promise<{ type: string; operation?: number; target?: string }[]> => {
      const url = `${http.stack.gateway}/v1/sessions/${session}/events?limit=100`;
      const { events } = (await (await fetch(url, { headers: { authorization } })).json()) as {
        events: { body: { type: string; operation?: number; target?: string } }[];
      };
      return events.map(({ body }) => body);
    };
    await expect
      .poll(async () => (await read()).filter(({ type }) => type === "completed").length, { timeout: 20_000 })
      .toBe(2);
    const events = await read();
    expect(events.filter(({ type }) => type === "session")).toHaveLength(1);
    const operations = events.filter(({ type }) => type === "operation");
    expect(operations.map(({ target }) => target)).toEqual(["/before", "/after"]);
    expect(new Set(operations.map(({ operation }) => operation)).size).toBe(2);
    expect(await post(`/v1/sessions/${session}/kill`, {})).toBe(200);
    expect((await ask("/killed")).status).toBe(410);

    expect(await post("/v1/revocations", { issuer, subject })).toBe(200);
    const refused = await agent("/people");
    expect([401, 410]).toContain(refused.status);
    expect(await refused.json()).toMatchObject({ code: "principal_revoked" });
  });
});

describe("a connector that is killed in the middle", () => {
  it(
    "breaks off what is under way, and the next request finds the new one",
    { timeout: 60_000 },
    async () => {
      const answer = await fetch(`${http.url(PLAIN)}/download?bytes=${64 << 20}&length`, { headers });
      const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
      await reader.read();
      const stream = await fetch(`${http.url(PLAIN)}/events?count=100000`, { headers });
      const events = (stream.body as ReadableStream<Uint8Array>).getReader();
      await events.read();
      const socket = new WebSocket(`${http.url(PLAIN).replace(/^http/, "ws")}/echo`, { headers });
      await new Promise((resolve) => socket.once("open", resolve));
      const closed = new Promise<number>((resolve) => socket.once("close", resolve));
      const upload = fetch(`${http.url(PLAIN)}/upload`, {
        method: "POST",
        headers,
        body: Readable.toWeb(Readable.from(slowBytes())) as ReadableStream,
        duplex: "half",
      }).then(
        ({ status }) => status,
        // Answered while it was still sending, a client may find its connection closed first.
        () => 502,
      );
      await expect.poll(() => http.upstream.open.size, { timeout: 20_000 }).toBeGreaterThanOrEqual(3);
      await http.stack.system.connector.stop("SIGKILL");
      await expect(restOf(reader)).rejects.toThrow();
      await expect(restOf(events)).rejects.toThrow();
      // 1011: the gateway's side of it failed.
      expect(await closed).toBe(1011);
      expect(await upload).toBe(502);
      const refused = await fetch(`${http.url(PLAIN)}/hello`, { headers });
      expect([502, 503]).toContain(refused.status);
      expect(refused.headers.get("content-type")).toBe("application/problem+json");
      await http.stack.system.startConnector();
      await http.stack.system.waitUntilOnline(PLAIN);
      const again = await fetch(`${http.url(PLAIN)}/hello`, { headers });
      expect(again.status).toBe(200);
    },
  );
});

describe("a client that goes away", () => {
  it("while it waits for the answer ends the service's work", async () => {
    const before = http.upstream.open.size;
    await new Promise<void>((resolve) => {
      const asked = nodeRequest(`${http.url(PLAIN)}/hang`, { headers });
      asked.on("error", () => undefined);
      asked.end();
      setTimeout(() => {
        // A reset, as a client's crash or a proxy's hang-up would be.
        asked.socket?.resetAndDestroy();
        resolve();
      }, 500);
    });
    await expect.poll(() => http.upstream.open.size, { timeout: 10_000 }).toBe(before);
  });
});
