/** The console's server side as its pages use it, without a browser: cookie, live stream, search, numbers. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ConsoleBrowser, openConsole } from "../../support/console-browser.ts";
import { openStream } from "../../support/live-stream.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";

let stack: PrivateStack;
let browser: ConsoleBrowser;
beforeAll(async () => {
  stack = await startPrivateStack();
  browser = await openConsole(stack.gateway, "reviewer-a");
});
afterAll(() => stack?.stop());

const APPROVAL = /apr_[0-9a-z]{26}/;

const post = (of: ConsoleBrowser, path: string, body: unknown = {}): Promise<Response> =>
  of.fetch(path, { method: "POST", body: JSON.stringify(body) });

const psql = (sql: string): string[] => ["psql", "shop-db", "--", "-c", sql];

describe("the live stream", () => {
  it("tells a reviewer of a held operation and of its end, and lets them approve it", async () => {
    const stream = openStream(stack.gateway, browser);
    expect(await stream.waitFor(({ type }) => type === "hello")).toMatchObject({ approvals: [] });
    const waiting = stack.startSally("engineer", psql("delete from orders where id = 31"));
    const [id] = await waiting.waitFor("stderr", APPROVAL);
    const told = await stream.waitFor(({ approval }) => approval?.id === id);
    expect(told).toMatchObject({ type: "approval", approval: { status: "pending", mayDecide: true } });
    expect((await post(browser, `/v1/approvals/${id}/approve`)).status).toBe(200);
    await stream.waitFor(({ approval }) => approval?.id === id && approval.status === "used");
    expect((await waiting.result).code).toBe(0);
    await stream.waitFor(({ session }) => session?.status === "ended" && session.operations >= 1);
    stream.socket.close();
  });

  it("shows somebody who may replay nothing only what is their own", async () => {
    const agent = openStream(stack.gateway, await openConsole(stack.gateway, "agent"));
    const engineer = openStream(stack.gateway, await openConsole(stack.gateway, "engineer"));
    await agent.waitFor(({ type }) => type === "hello");
    await engineer.waitFor(({ type }) => type === "hello");
    const waiting = stack.startSally("engineer", psql("delete from orders where id = 33"));
    const [id] = await waiting.waitFor("stderr", APPROVAL);
    const own = await engineer.waitFor(({ approval }) => approval?.id === id);
    expect(own.approval?.mayDecide).toBe(false);
    await post(browser, `/v1/approvals/${id}/deny`);
    await waiting.result;
    agent.socket.send("ping");
    await agent.waitFor(({ type }) => type === "pong");
    expect(
      agent.frames.filter(({ approval, session }) => approval !== undefined || session !== undefined),
    ).toEqual([]);
    for (const { socket } of [agent, engineer]) socket.close();
  });

  it("is over when its owner logs out", async () => {
    const other = await openConsole(stack.gateway, "reviewer-b");
    const stream = openStream(stack.gateway, other);
    await stream.waitFor(({ type }) => type === "hello");
    await post(other, "/console/logout");
    stream.socket.send("ping");
    expect(await stream.closed).toBe(4401);
  });

  it("shows nothing more, and takes no decision, for a reviewer whom the provider has taken out of the group", async () => {
    const other = await openConsole(stack.gateway, "reviewer-b");
    const stream = openStream(stack.gateway, other);
    await stream.waitFor(({ type }) => type === "hello");
    const waiting = stack.startSally("engineer", psql("delete from orders where id = 32"));
    const [id] = await waiting.waitFor("stderr", APPROVAL);
    await stream.waitFor(({ approval }) => approval?.id === id);

    await stack.system.oidc.setGroups("reviewer-b", ["guests"]);
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    const refused = await post(other, `/v1/approvals/${id}/approve`);
    expect(refused.status).toBeGreaterThanOrEqual(400);
    const still = await browser.fetch(`/v1/approvals/${id}`);
    expect(await still.json()).toMatchObject({ status: "pending" });
    stream.socket.send("ping");
    await stream.waitFor(({ type }) => type === "pong");
    // The page was given the whole picture anew, without what only the group may see.
    expect(stream.frames.findLast(({ type }) => type === "hello")).toMatchObject({ approvals: [] });
    stream.socket.close();
    await post(browser, `/v1/approvals/${id}/deny`);
    await waiting.result;
    await stack.system.oidc.setGroups("reviewer-b", ["dba"]);
  });
});

describe("following a session", () => {
  type Read = {
    readonly events: readonly { readonly body: { readonly type: string } }[];
    head: { seq: number };
  };

  it("answers when something happens, and at once when the session has ended", async () => {
    const waiting = stack.startSally("engineer", psql("delete from orders where id = 34"));
    const [approval] = await waiting.waitFor("stderr", APPROVAL);
    const { session } = (await (await browser.fetch(`/v1/approvals/${approval}`)).json()) as {
      session: string;
    };
    const read = async (query: string): Promise<Read> =>
      (await (await browser.fetch(`/v1/sessions/${session}/events?${query}`)).json()) as Read;
    const { head } = await read("after=0");
    const next = read(`after=${head.seq}&wait=25`);
    const first = await Promise.race([next, new Promise((resolve) => setTimeout(resolve, 300, "waits"))]);
    expect(first).toBe("waits");
    await post(browser, `/v1/approvals/${approval}/deny`, { comment: "no" });
    expect((await next).events.map(({ body }) => body.type)).toContain("approval");
    await waiting.result;

    await expect.poll(async () => (await read("after=0")).events.at(-1)?.body.type).toBe("end");
    const end = (await read("after=0")).head.seq;
    const started = performance.now();
    expect((await read(`after=${end}&wait=25`)).events).toEqual([]);
    expect(performance.now() - started).toBeLessThan(10_000);
    const agent = await openConsole(stack.gateway, "agent");
    expect((await agent.fetch(`/v1/sessions/${session}/events?after=0&wait=1`)).status).toBe(404);
  });
});

describe("searching sessions", () => {
  it("finds by text, relation, decision and person, and nothing that the searcher may not see", async () => {
    await stack.sally("engineer", psql("select status as marker_4711 from orders where id = 1"));
    await stack.sally("engineer", psql("drop table customers"));
    const search = async (query: string, of = browser) =>
      (await (await of.fetch(`/v1/search/sessions?${query}`)).json()) as {
        sessions: { principal: { subject: string }; matches?: { text: string; effect: string }[] }[];
      };
    await expect
      .poll(async () => (await search("text=marker_4711")).sessions.length, { timeout: 10_000 })
      .toBe(1);
    const [found] = (await search("text=marker_4711&relation=orders&person=ENGINEER")).sessions;
    expect(found?.matches?.[0]).toMatchObject({
      text: expect.stringContaining("marker_4711"),
      effect: "allow",
    });
    expect((await search("text=marker_4711&decision=deny")).sessions).toEqual([]);
    expect((await search("text=%25marker_4711")).sessions).toEqual([]);
    expect((await search("text=marker_4711&person=agent")).sessions).toEqual([]);
    // Where, and when.
    const soon = new Date(Date.now() + 60_000).toISOString();
    const before = new Date(Date.now() - 3_600_000).toISOString();
    expect((await search("text=marker_4711&resource=shop-db")).sessions).toHaveLength(1);
    expect((await search("text=marker_4711&resource=web-1")).sessions).toEqual([]);
    expect((await search(`text=marker_4711&from=${before}&to=${soon}`)).sessions).toHaveLength(1);
    expect((await search(`text=marker_4711&from=${soon}`)).sessions).toEqual([]);
    expect((await search(`text=marker_4711&to=${before}`)).sessions).toEqual([]);
    const denied = (await search("decision=deny")).sessions;
    expect(denied.flatMap(({ matches }) => matches ?? []).map(({ text }) => text)).toContain(
      "drop table customers",
    );
    const agent = await openConsole(stack.gateway, "agent");
    expect((await search("text=marker_4711", agent)).sessions).toEqual([]);
  });
});

describe("statistics", () => {
  it("count decisions, people, relations and waiting, of resources that the caller may replay", async () => {
    await expect
      .poll(async () => {
        const numbers = (await (await browser.fetch("/v1/statistics")).json()) as {
          resources: { resource: string; denied: number; held: number }[];
        };
        return numbers.resources.find(({ resource }) => resource === "shop-db");
      })
      .toMatchObject({ denied: expect.any(Number), held: expect.any(Number) });
    const numbers = (await (await browser.fetch("/v1/statistics")).json()) as {
      buckets: { allow: number; deny: number }[];
      waiting: { count: number; median: number; p95: number };
      approvals: Record<string, number>;
      people: { subject: string; denied: number }[];
      relations: { relation: string }[];
    };
    expect(numbers.buckets.reduce((sum, { deny }) => sum + deny, 0)).toBeGreaterThanOrEqual(1);
    expect(numbers.waiting.count).toBe(4);
    expect(numbers.waiting.median).toBeGreaterThan(0);
    expect(numbers.waiting.p95).toBeGreaterThanOrEqual(numbers.waiting.median);
    expect(numbers.approvals).toMatchObject({ approved: 1, denied: 3 });
    expect(numbers.people[0]).toMatchObject({ subject: "engineer", denied: 1 });
    expect(numbers.relations.map(({ relation }) => relation)).toContain("orders");
    const agent = await openConsole(stack.gateway, "agent");
    expect(await (await agent.fetch("/v1/statistics")).json()).toMatchObject({ resources: [], people: [] });
  });
});
