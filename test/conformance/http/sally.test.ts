/** `sally http` and `sally run`: a local port that adds the user's token. */
import { writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { type HttpStack, PLAIN, startHttpStack } from "../../support/http-stack.ts";

let http: HttpStack;
beforeAll(async () => {
  http = await startHttpStack();
});
afterAll(() => http?.stop());

const shell = (script: string): string[] => ["--", "sh", "-c", script];

describe("sally http with a command", () => {
  it("gives it the service's address in a variable, and passes its output and exit code on", async () => {
    const ran = await http.stack.sally("engineer", [
      "http",
      PLAIN,
      ...shell("curl -s -H 'authorization: Bearer mine' $PLAIN_API_URL/hello?x=1; exit 7"),
    ]);
    expect(ran.stdout).toContain('"target":"/hello?x=1"');
    expect(ran.code).toBe(7);
  });

  it("says with its exit code that a request was denied, or needs an approval", async () => {
    const denied = await http.stack.sally("engineer", [
      "http",
      PLAIN,
      ...shell("curl -sf $PLAIN_API_URL/secret"),
    ]);
    expect(denied.code).toBe(3);
    const held = await http.stack.sally("engineer", [
      "http",
      PLAIN,
      "--no-wait",
      ...shell("curl -sf -X DELETE $PLAIN_API_URL/orders/1"),
    ]);
    expect(held.code).toBe(4);
    expect(held.stderr).toMatch(/needs approval apr_/);
  });

  it("says that a request waits and for what, and goes on when it is approved", async () => {
    const waiting = http.stack.startSally("engineer", [
      "http",
      PLAIN,
      ...shell("curl -s -X DELETE -w %{http_code} $PLAIN_API_URL/orders/4711"),
    ]);
    const [, id = ""] = await waiting.waitFor("stderr", /held: waiting for approval (apr_[0-9a-z]{26})/);
    const approved = await http.stack.sally("reviewer-a", ["approvals", "approve", id]);
    expect(approved.code).toBe(0);
    const ended = await waiting.result;
    expect(ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/200$/) });
  });

  it("is what sally run does with an HTTP resource", async () => {
    const ran = await http.stack.sally("engineer", ["run", PLAIN, ...shell("curl -s $PLAIN_API_URL/hello")]);
    expect(ran.stdout).toContain('"target":"/hello"');
    expect(ran.code).toBe(0);
  });
});

describe("sally http", () => {
  it("passes requests, WebSockets and redirects, and turns web pages away", async () => {
    const running = http.stack.startSally("engineer", ["http", PLAIN, "--json"]);
    const port = Number((await running.waitFor("stdout", /"port": ?(\d+)/))[1]);
    const ask = (headers: Record<string, string>, path = "/hello"): Promise<number> =>
      new Promise((resolve, reject) => {
        request({ host: "127.0.0.1", port, path, headers }, (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        })
          .on("error", reject)
          .end();
      });
    const own = `127.0.0.1:${port}`;
    expect(await ask({ host: own })).toBe(200);
    expect(await ask({ host: `localhost:${port}` })).toBe(200);
    expect(await ask({ host: `evil.example:${port}` })).toBe(403);
    expect(await ask({ host: own, origin: "https://evil.example" })).toBe(403);
    expect(await ask({ host: own, "sec-fetch-site": "cross-site" })).toBe(403);
    expect(await ask({ host: own, origin: `http://${own}` })).toBe(200);

    const followed = await fetch(`http://${own}/redirect?to=/hello`);
    expect(((await followed.json()) as { target: string }).target).toBe("/hello");

    const socket = new WebSocket(`ws://${own}/echo`);
    await new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    });
    const echoed = new Promise<string>((resolve) =>
      socket.once("message", (data) => resolve((data as Buffer).toString())),
    );
    socket.send("through two doors");
    expect(await echoed).toBe("through two doors");
    socket.close();
    running.kill();
    expect((await running.result).code).toBe(0);
  });
});

describe("a stream that outlives its token", () => {
  /** A WebSocket through `sally http` under a token of some seconds, in a file that can be replaced. */
  async function stream(): Promise<{
    readonly socket: WebSocket;
    readonly replace: (ttl: number) => Promise<void>;
    readonly stop: () => void;
  }> {
    const file = join(http.stack.directory, `stream-${Math.random()}.jwt`);
    const replace = async (ttl: number): Promise<void> =>
      writeFile(file, await http.stack.system.oidc.issueIdToken("engineer", { ttl }));
    await replace(15);
    const running = http.stack.startSally("engineer", ["http", PLAIN, "--json"], {
      env: { SALLY_TOKEN_FILE: file },
    });
    const port = Number((await running.waitFor("stdout", /"port": ?(\d+)/))[1]);
    const socket = new WebSocket(`ws://127.0.0.1:${port}/echo`);
    await new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    });
    return { socket, replace, stop: () => running.kill() };
  }

  it("goes on under the next one, and ends where there is none", async () => {
    const [renewed, refused] = await Promise.all([stream(), stream()]);
    const ended = new Promise<void>((resolve) => refused.socket.once("close", () => resolve()));
    await Promise.all([renewed.replace(600), refused.replace(-10)]);
    // The other one's end is when this one's would have been, too.
    await ended;
    const echoed = new Promise<string>((resolve) =>
      renewed.socket.once("message", (data) => resolve((data as Buffer).toString())),
    );
    renewed.socket.send("still here");
    expect(await echoed).toBe("still here");
    renewed.socket.close();
    renewed.stop();
    refused.stop();
  });

  it("is kept by its owner's next token and nobody else's", async () => {
    const { stack, url } = http;
    const [first, next, other] = await Promise.all([
      stack.sessionToken("engineer"),
      stack.sessionToken("engineer"),
      stack.sessionToken("reviewer-a"),
    ]);
    const answer = await fetch(`${url(PLAIN)}/hello`, { headers: { authorization: `Bearer ${first}` } });
    const session = answer.headers.get("sally-session") ?? "";
    expect(session).toMatch(/^ses_/);
    const renew = async (id: string, token: string): Promise<number> =>
      (
        await fetch(`${stack.gateway}/v1/sessions/${id}/renew`, {
          method: "POST",
          headers: { authorization: `Bearer ${token}` },
        })
      ).status;
    expect(await renew(session, other)).toBe(404);
    expect(await renew(session, next)).toBe(204);
    expect(await renew(`ses_${"0".repeat(26)}`, next)).toBe(404);
    expect(await renew("ses_..%2f..", next)).toBe(404);
  });
});
