/** The origin of a resource: a browser with a login and a cookie of its own, driven by hand and by Chromium. */
import { type IncomingMessage, request as send } from "node:http";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { launchChromium } from "../../support/chromium.ts";
import { type HttpStack, MASKED, PLAIN, startHttpStack } from "../../support/http-stack.ts";

let http: HttpStack;
let chromium: Browser;
beforeAll(async () => {
  [http, chromium] = await Promise.all([startHttpStack(), launchChromium()]);
});
afterAll(async () => {
  await chromium?.close();
  await http?.stop();
});

type Answer = {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
};

const origin = (resource: string): string =>
  `http://${resource}.localhost:${new URL(http.stack.gateway).port}`;

/** One request; `*.localhost` is this machine, whatever its resolver says. */
function ask(
  url: string,
  { method = "GET", headers = {}, body }: { method?: string; headers?: object; body?: string } = {},
): Promise<Answer> {
  const { host, port, pathname, search } = new URL(url);
  return new Promise((resolve, reject) => {
    const path = pathname + search;
    send({ host: "127.0.0.1", port, path, method, headers: { host, ...headers }, agent: false }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("error", reject);
      answer.on("end", () =>
        resolve({
          status: answer.statusCode ?? 0,
          headers: answer.headers,
          text: Buffer.concat(chunks).toString(),
        }),
      );
    })
      .on("error", reject)
      .end(body);
  });
}

const VISIT = { accept: "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };

/** Cookies by host, as a browser keeps those that are `__Host-` or of the host only. */
class Jar {
  readonly lines: string[] = [];
  readonly #cookies = new Map<string, Map<string, string>>();

  of(url: string): string {
    return [...(this.#cookies.get(new URL(url).host) ?? [])].map((pair) => pair.join("=")).join("; ");
  }

  async visit(url: string, more: Parameters<typeof ask>[1] = {}): Promise<Answer> {
    const answer = await ask(url, { ...more, headers: { ...VISIT, cookie: this.of(url), ...more.headers } });
    const own = this.#cookies.get(new URL(url).host) ?? new Map<string, string>();
    this.#cookies.set(new URL(url).host, own);
    for (const line of answer.headers["set-cookie"] ?? []) {
      this.lines.push(`${new URL(url).host} ${line}`);
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (/max-age=0/i.test(line)) own.delete(name);
      else own.set(name, value);
    }
    return answer;
  }

  /** Follows redirects, choosing the user at the provider; `stop` ends before that address is asked for. */
  async follow(
    start: string,
    user: string,
    stop?: (url: string) => boolean,
  ): Promise<{ url: string; answer: Answer }> {
    let url = start;
    for (let step = 0; step < 20; step++) {
      if (stop?.(url) === true) return { url, answer: { status: 0, headers: {}, text: "" } };
      const atProvider = new URL(url).pathname.startsWith("/login/");
      const form = {
        method: "POST",
        body: `user=${user}`,
        headers: { "content-type": "application/x-www-form-urlencoded" },
      };
      const answer = await this.visit(url, atProvider ? form : {});
      const { location } = answer.headers;
      if (location === undefined) return { url, answer };
      url = new URL(location, url).href;
    }
    throw new Error("the login goes in circles");
  }
}

async function loggedIn(resource: string, user = "engineer"): Promise<Jar> {
  const jar = new Jar();
  const { url, answer } = await jar.follow(`${origin(resource)}/people?from=login`, user);
  expect([answer.status, url]).toEqual([200, `${origin(resource)}/people?from=login`]);
  return jar;
}

describe("logging in on a resource's origin", () => {
  it("leads through the provider back to the address that was asked for, with a cookie of that host only", async () => {
    const jar = await loggedIn(PLAIN);
    const cookie = jar.lines.find(
      (line) => line.includes("__Host-sally-session=") && !/max-age=0/i.test(line),
    );
    expect(cookie).toContain(`${new URL(origin(PLAIN)).host} `);
    for (const attribute of ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"])
      expect(cookie).toContain(attribute);
    expect(cookie).not.toMatch(/domain=/i);
    const answer = await jar.visit(`${origin(PLAIN)}/people`);
    expect(answer.text).toContain("943-25-8431");
    const sent = new Map(http.upstream.received.at(-1)?.headers);
    expect(sent.get("cookie") ?? "").not.toContain("sally");
    expect(sent.get("x-forwarded-host")).toBe(new URL(origin(PLAIN)).host);
    expect(sent.get("sally-identity")).toMatch(/^eyJ/);
  });

  it("asks policy and masks as for everybody else", async () => {
    const jar = await loggedIn(MASKED);
    expect((await jar.visit(`${origin(MASKED)}/people`)).text).toContain('"ssn":"****"');
    expect((await jar.visit(`${origin(MASKED)}/secret`)).status).toBe(403);
  });

  it("gives nobody else the code: it is for the browser that began, once, and for that resource", async () => {
    const victim = new Jar();
    const { url: entrance } = await victim.follow(`${origin(PLAIN)}/people`, "engineer", (url) =>
      url.includes("/.sally/enter"),
    );
    expect(entrance).toContain(`${origin(PLAIN)}/.sally/enter?code=`);
    // Somebody who read the address, with an entry of their own.
    const thief = new Jar();
    await thief.visit(`${origin(PLAIN)}/people`);
    expect((await thief.visit(entrance)).status).toBe(400);
    // It is used up by that.
    expect((await victim.visit(entrance)).status).toBe(400);
    expect((await victim.visit(`${origin(PLAIN)}/people`)).status).toBe(302);

    const other = new Jar();
    const { url: second } = await other.follow(`${origin(PLAIN)}/people`, "engineer", (url) =>
      url.includes("/.sally/enter"),
    );
    expect((await other.visit(second.replace(origin(PLAIN), origin(MASKED)))).status).toBe(400);
    expect((await other.visit(second)).status).toBe(302);
    expect((await other.visit(second)).status).toBe(400);
    expect((await other.visit(`${origin(PLAIN)}/people`)).status).toBe(200);
  });

  it("may be begun in several tabs of one browser", async () => {
    const jar = new Jar();
    const entrances: string[] = [];
    for (const path of ["/people?tab=1", "/people?tab=2"]) {
      const { url } = await jar.follow(`${origin(PLAIN)}${path}`, "engineer", (next) =>
        next.includes("/.sally/enter"),
      );
      entrances.push(url);
    }
    for (const entrance of entrances.reverse()) {
      const entered = await jar.visit(entrance);
      expect([entered.status, entered.headers.location]).toEqual([
        302,
        new URL(entrance).searchParams.get("return"),
      ]);
    }
    expect((await jar.visit(`${origin(PLAIN)}/people`)).status).toBe(200);
  });

  it("keeps the cookie of one origin from counting on any other, the console included", async () => {
    const jar = await loggedIn(PLAIN);
    const [, value = ""] = /__Host-sally-session=([0-9a-f]{64})/.exec(jar.of(origin(PLAIN))) ?? [];
    const elsewhere = await ask(`${origin(MASKED)}/people`, {
      headers: { cookie: `__Host-sally-session=${value}` },
    });
    expect(elsewhere.status).toBe(401);
    for (const name of ["__Host-sally-console", "__Host-sally-session"]) {
      const console = await ask(`${http.stack.gateway}/v1/whoami`, {
        headers: { cookie: `${name}=${value}` },
      });
      expect(console.status).toBe(401);
    }
    const api = await ask(`${http.url(PLAIN)}/people`, {
      headers: { cookie: `__Host-sally-session=${value}` },
    });
    expect(api.status).toBe(401);
  });

  it("goes nowhere but to paths of the service afterwards", async () => {
    for (const to of ["//evil.example/", "/\\evil.example", "https://evil.example/", "/.sally/logout"]) {
      const jar = new Jar();
      const { url } = await jar.follow(`${origin(PLAIN)}/people`, "engineer", (next) =>
        next.includes("/.sally/enter"),
      );
      const entrance = new URL(url);
      entrance.searchParams.set("return", to);
      const entered = await jar.visit(entrance.href);
      expect([entered.status, entered.headers.location]).toEqual([302, "/"]);
    }
  });

  it("ends with the logout, which only a page of that origin can ask for", async () => {
    const jar = await loggedIn(PLAIN);
    const url = `${origin(PLAIN)}/.sally/logout`;
    const foreign = await jar.visit(url, { method: "POST", headers: { origin: origin(MASKED) } });
    expect(foreign.status).toBe(403);
    const cookie = jar.of(origin(PLAIN));
    expect((await jar.visit(url, { method: "POST", headers: { origin: origin(PLAIN) } })).status).toBe(200);
    expect(jar.of(origin(PLAIN))).not.toContain("__Host-sally-session");
    expect((await ask(`${origin(PLAIN)}/people`, { headers: { cookie } })).status).toBe(401);
  });
});

describe("a resource's origin", () => {
  it("has none of the gateway's own routes, and is not there for names that are no resource's", async () => {
    const authorization = `Bearer ${await http.stack.sessionToken("engineer")}`;
    for (const path of ["/v1/whoami", "/console/", "/http/plain-api/people", "/.well-known/jwks.json"])
      expect((await ask(`${origin(PLAIN)}${path}`, { headers: { authorization } })).status).toBe(401);
    const jar = new Jar();
    expect((await jar.visit(`${origin("a.b")}/`)).status).toBe(404);
    const { answer } = await jar.follow(`${origin("nothing")}/`, "engineer");
    expect(answer.status).toBe(404);
  });

  const foreign: readonly [what: string, method: string, headers: Record<string, string>][] = [
    ["a POST without an Origin", "POST", {}],
    ["a POST of a sibling origin's", "POST", { origin: "http://masked-api.localhost" }],
    ["a POST of a sandboxed frame's", "POST", { origin: "null" }],
    ["a DELETE of the gateway's own pages", "DELETE", { origin: "http://127.0.0.1" }],
    ["a GET that reads across origins", "GET", { origin: "https://evil.example" }],
    [
      "a script that another origin loads",
      "GET",
      { "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script" },
    ],
    [
      "a frame in a page of another origin",
      "GET",
      { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" },
    ],
  ];
  it.each(foreign)("refuses %s", async (_what, method, headers) => {
    const jar = await loggedIn(PLAIN);
    const marker = `/foreign-${Math.random().toString(36).slice(2)}`;
    const plain = { "sec-fetch-mode": "cors", "sec-fetch-dest": "empty" };
    const answer = await jar.visit(`${origin(PLAIN)}${marker}`, {
      method,
      headers: { ...plain, ...headers },
    });
    expect([answer.status, answer.text.includes("origin_refused")]).toEqual([403, true]);
    expect(http.upstream.received.some(({ target }) => target === marker)).toBe(false);
  });

  it("takes what its own pages change, and links from anywhere", async () => {
    const jar = await loggedIn(PLAIN);
    const own = {
      origin: origin(PLAIN),
      "sec-fetch-site": "same-origin",
      "sec-fetch-mode": "cors",
      "sec-fetch-dest": "empty",
    };
    const posted = await jar.visit(`${origin(PLAIN)}/echo`, { method: "POST", body: "x", headers: own });
    expect(posted.status).toBe(200);
    expect(
      (await jar.visit(`${origin(PLAIN)}/people`, { headers: { "sec-fetch-site": "cross-site" } })).status,
    ).toBe(200);
  });

  it("opens WebSockets to its own pages only", async () => {
    const jar = await loggedIn(PLAIN);
    const { host, port } = new URL(origin(PLAIN));
    const open = (from: string | undefined): Promise<string> =>
      new Promise((resolve) => {
        const headers = {
          host,
          cookie: jar.of(origin(PLAIN)),
          ...(from === undefined ? {} : { origin: from }),
        };
        const socket = new WebSocket(`ws://127.0.0.1:${port}/socket`, { headers });
        socket.on("open", () => socket.send("hello"));
        socket.on("message", (data: Buffer) => {
          resolve(data.toString());
          socket.terminate();
        });
        socket.on("unexpected-response", (_request, answer) => {
          resolve(String(answer.statusCode));
          answer.resume();
          socket.terminate();
        });
        socket.on("error", () => undefined);
      });
    expect(await open(origin(PLAIN))).toBe("hello");
    expect(await open(origin(MASKED))).toBe("403");
    expect(await open(undefined)).toBe("403");
  });

  it("keeps the service's cookies to its host, and ours out of its reach", async () => {
    const jar = await loggedIn(PLAIN);
    const before = jar.of(origin(PLAIN));
    const answer = await jar.visit(`${origin(PLAIN)}/cookies`);
    expect(answer.headers["set-cookie"]).toEqual([
      "a=1; HttpOnly; Path=/",
      "__Host-b=2; Secure; Path=/",
      "c=3; Path=/",
    ]);
    expect(answer.headers["strict-transport-security"]).toBeUndefined();
    expect(answer.headers["clear-site-data"]).toBeUndefined();
    expect(jar.of(origin(PLAIN))).toContain(before);
    await jar.visit(`${origin(PLAIN)}/people`);
    const sent = new Map(http.upstream.received.at(-1)?.headers);
    expect(sent.get("cookie")).toBe("a=1; __Host-b=2; c=3");
  });

  it("brings redirects of the service's to itself home, and refuses those elsewhere", async () => {
    const jar = await loggedIn(PLAIN);
    const to = async (location: string): Promise<[number, string | undefined]> => {
      const { status, headers } = await jar.visit(
        `${origin(PLAIN)}/redirect?to=${encodeURIComponent(location)}`,
      );
      return [status, headers.location];
    };
    expect(await to("/x?y=1")).toEqual([302, "/x?y=1"]);
    expect(await to(`http://127.0.0.1:${http.upstream.port}/x`)).toEqual([302, "/x"]);
    expect(await to(`${origin(PLAIN)}/x#y`)).toEqual([302, "/x#y"]);
    expect((await to(`${origin(MASKED)}/x`))[0]).toBe(403);
    expect((await to("https://evil.example/"))[0]).toBe(403);
  });
});

describe("Chromium", () => {
  it("logs in, runs the application with its fetches, WebSocket and events, and logs out", async () => {
    const context = await chromium.newContext();
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    await page.goto(`${origin(PLAIN)}/page`);
    await page.locator('button[value="engineer"]').click();
    await expect.poll(() => page.title(), { timeout: 30_000 }).toBe("2 POST ping Ada app=1");
    expect(page.url()).toBe(`${origin(PLAIN)}/page`);
    const cookies = await context.cookies(origin(PLAIN));
    expect(cookies.find(({ name }) => name === "__Host-sally-session")).toMatchObject({
      httpOnly: true,
      secure: true,
      sameSite: "Lax",
    });
    // A page of another resource's can neither read nor change anything here.
    const other = await context.newPage();
    await other.goto(`${origin(MASKED)}/page`);
    await other.waitForLoadState();
    const attempt = (method: string): Promise<string> =>
      other.evaluate(
        async ([url, verb]) =>
          await fetch(url ?? "", { method: verb ?? "", credentials: "include", mode: "no-cors" }).then(
            ({ type }) => type,
            () => "failed",
          ),
        [`${origin(PLAIN)}/stolen-${method}`, method],
      );
    await attempt("GET");
    await attempt("POST");
    expect(http.upstream.received.some(({ target }) => target.startsWith("/stolen"))).toBe(false);

    await page.goto(`${origin(PLAIN)}/.sally/logout`);
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByText("You are logged out").waitFor();
    const left = await context.cookies(origin(PLAIN));
    expect(left.some(({ name }) => name === "__Host-sally-session")).toBe(false);
    await context.close();
  });
});
