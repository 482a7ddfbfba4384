/** Approvals under races: two reviewers, a client that gives up, a client that is gone, the same thing twice. */
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { type ApiError, callApi } from "../../../scripts/lib/gateway-api.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type Stack, sharedStack } from "../../support/stack.ts";
import { f, i32 } from "../../wire/postgres/support/messages.ts";

let stack: Stack;
const tokens: Record<"engineer" | "agent" | "reviewer-a" | "reviewer-b", string> = {
  engineer: "",
  agent: "",
  "reviewer-a": "",
  "reviewer-b": "",
};
const clients: GatewayClient[] = [];

beforeAll(async () => {
  stack = sharedStack();
  for (const user of ["engineer", "agent", "reviewer-a", "reviewer-b"] as const) {
    tokens[user] = await stack.sessionToken(user);
  }
});
afterEach(() => {
  for (const client of clients.splice(0)) client.drop();
});

/** Each test deletes employees of its own, so that what ran can be counted. */
let serial = 0;
async function target(rows = 1): Promise<{ sql: string; left: () => Promise<number | null> }> {
  const title = `race ${process.pid} ${++serial}`;
  await stack.direct(
    (direct) =>
      direct.query(
        "insert into employees (name, title, salary, hired_on) select 'race', $1, 1, now() from generate_series(1, $2)",
        [title, rows],
      ),
    stack.shopUrl,
  );
  return {
    sql: `delete from employees where id = (select min(id) from employees where title = '${title}')`,
    left: () =>
      stack.direct(
        async (direct) => (await direct.query("select 1 from employees where title = $1", [title])).rowCount,
        stack.shopUrl,
      ),
  };
}

async function open(user: keyof typeof tokens, noWait = false): Promise<GatewayClient> {
  const client = await GatewayClient.open(stack.gateway, "shop-db", tokens[user], { noWait });
  clients.push(client);
  return client;
}

/** Sends a statement that is held and returns the approval it waits for. */
async function hold(client: GatewayClient, sql: string): Promise<string> {
  client.send(f.query(sql));
  await client.until("N");
  const held = client.notices.findLast(({ type }) => type === "held");
  return String(held?.["approval"]);
}

const decide = (
  user: keyof typeof tokens,
  approval: string,
  verdict: "approve" | "deny" = "approve",
): Promise<string> =>
  callApi(stack.gateway, "POST", `/v1/approvals/${approval}/${verdict}`, {
    token: tokens[user],
    body: {},
  }).then(
    () => "decided",
    (error: ApiError) => error.code ?? error.message,
  );

const approval = async (id: string): Promise<{ status: string }> =>
  (await callApi(stack.gateway, "GET", `/v1/approvals/${id}`, { token: tokens["reviewer-a"] })) as {
    status: string;
  };

describe("a held statement runs at most once", () => {
  it("when two reviewers approve at the same moment, twenty times", async () => {
    for (let round = 0; round < 20; round++) {
      const { sql, left } = await target(3);
      const client = await open("engineer");
      const id = await hold(client, sql);
      const answers = await Promise.all([
        decide("reviewer-a", id),
        decide("reviewer-b", id),
        decide("reviewer-a", id),
      ]);
      expect(answers.filter((answer) => answer === "decided")).toHaveLength(1);
      expect(await client.words("Z")).toEqual(["C DELETE 1", "Z I"]);
      expect(await left()).toBe(2);
      expect(await approval(id)).toMatchObject({ status: "used" });
      client.close();
    }
  });

  it("when one approves and the other denies: what was decided first counts, for everybody", async () => {
    for (let round = 0; round < 10; round++) {
      const { sql, left } = await target();
      const client = await open("engineer");
      const id = await hold(client, sql);
      const [approved, denied] = await Promise.all([
        decide("reviewer-a", id, "approve"),
        decide("reviewer-b", id, "deny"),
      ]);
      expect([approved, denied].filter((answer) => answer === "decided")).toHaveLength(1);
      const words = (await client.words("Z")).join();
      expect(words).toMatch(approved === "decided" ? /^C DELETE 1,Z I$/ : /^E 42501 denied by reviewer-b/);
      expect(await left()).toBe(approved === "decided" ? 0 : 1);
      client.close();
    }
  });

  it("when an approval is used by many sessions at once (--no-wait)", async () => {
    const { sql, left } = await target(10);
    const asking = await open("agent", true);
    const refused = (await asking.run(f.query(sql.replace("delete from", "delete from only")))).join();
    expect(refused).toMatch(/^E 42501/);
    const engineer = await open("engineer", true);
    const held = (await engineer.run(f.query(sql))).join();
    const [id = ""] = /apr_[0-9a-z]{26}/.exec(held) ?? [];
    expect(await decide("reviewer-a", id)).toBe("decided");
    const many = await Promise.all(Array.from({ length: 8 }, () => open("engineer", true)));
    const answers = await Promise.all(many.map(async (client) => (await client.run(f.query(sql))).join()));
    expect(answers.filter((answer) => answer.includes("DELETE 1"))).toHaveLength(1);
    expect(await left()).toBe(9);
  });
});

describe("a statement whose client gives up does not run", () => {
  async function dial(): Promise<GatewayClient> {
    const dialled = await GatewayClient.dial(stack.gateway, "/connect/shop-db", {
      authorization: `Bearer ${tokens.engineer}`,
    });
    if (!dialled.ok) throw new Error(dialled.body);
    clients.push(dialled.client);
    return dialled.client;
  }

  /** A session, and the key that a CancelRequest for it has. */
  async function openWithKey(): Promise<{ client: GatewayClient; key: Uint8Array }> {
    const client = await dial();
    const hello = Buffer.concat([i32(3 << 16), Buffer.from("user\0app\0database\0shop\0\0")]);
    client.send(Buffer.concat([i32(hello.length + 4), hello]));
    const greeting = await client.until("Z");
    return { client, key: greeting.find(({ type }) => type === "K")?.body ?? Buffer.alloc(0) };
  }

  /** A CancelRequest on a connection of its own, as libpq sends it (PostgreSQL docs 54.7). */
  async function cancel(key: Uint8Array, connection?: GatewayClient): Promise<void> {
    const client = connection ?? (await dial());
    client.send(Buffer.concat([i32(16), i32(80877102), key]));
    await client.closed;
  }

  it("when it disconnects before, and an approval afterwards is refused", async () => {
    const { sql, left } = await target();
    const client = await open("engineer");
    const id = await hold(client, sql);
    client.drop();
    await expect.poll(async () => (await approval(id)).status, { timeout: 10_000 }).toBe("withdrawn");
    expect(await decide("reviewer-a", id)).toBe("approval_not_pending");
    expect(await left()).toBe(1);
  });

  it("or runs as a whole, and the approval says which, when it disconnects while it is approved", async () => {
    const seen = new Set<string>();
    for (let round = 0; round < 20; round++) {
      const { sql, left } = await target();
      const client = await open("engineer");
      const id = await hold(client, sql);
      const deciding = decide("reviewer-a", id);
      if (round % 2 === 0) await new Promise((resolve) => setTimeout(resolve, round));
      client.drop();
      await deciding;
      await expect
        .poll(async () => (await approval(id)).status, { timeout: 10_000 })
        .toMatch(/^(withdrawn|used)$/);
      const { status } = await approval(id);
      seen.add(status);
      if (status === "withdrawn") expect(await left()).toBe(1);
    }
    expect([...seen].every((status) => status === "withdrawn" || status === "used")).toBe(true);
  });

  it("or runs as a whole, and the client is told which, when it cancels while it is approved", async () => {
    for (let round = 0; round < 20; round++) {
      const { sql, left } = await target();
      const { client, key } = await openWithKey();
      const id = await hold(client, sql);
      const deciding = decide("reviewer-b", id);
      if (round % 2 === 1) await new Promise((resolve) => setTimeout(resolve, round / 2));
      await Promise.all([cancel(key), deciding]);
      const words = (await client.words("Z")).filter((word) => !word.startsWith("N")).join();
      expect(words).toMatch(/^(C DELETE 1|E 57014 .*),Z I$/);
      expect(await left()).toBe(words.startsWith("C") ? 0 : 1);
      // Whatever came of it, the session goes on.
      expect(await client.run(f.query("select 1"))).toContain("D 1");
    }
  });

  it("when it cancels before it is held, while the gateway looks what it is about", async () => {
    // A table that the gateway does not know yet makes it read the catalogue first, which takes a while.
    const table = `race_${process.pid}`;
    const [ran, held] = [`select '${table}'`, `delete from ${table} where id = 1`];
    let stopped = 0;
    try {
      for (let attempt = 0; stopped < 3 && attempt < 20; attempt++) {
        // Nobody is known to have looked in the meantime: a name is looked for at most twice a second.
        if (attempt > 0) await new Promise((resolve) => setTimeout(resolve, 600));
        const [{ client, key }, canceling] = await Promise.all([openWithKey(), dial()]);
        const name = `${table}_${attempt}`;
        await stack.direct((direct) => direct.query(`create table ${name} (id int)`), stack.shopUrl);
        client.send(f.query(ran), f.query(held.replace(table, name)));
        // With the first answer it is certain that the statement after it has come.
        await client.until("Z");
        await cancel(key, canceling);
        const words = (await client.words("Z")).filter((word) => !word.startsWith("N")).join();
        expect(words).toMatch(/^E (57014 canceling statement|42P01) .*,Z I$/);
        if (words.includes("57014")) stopped++;
        client.close();
      }
    } finally {
      for (let attempt = 0; attempt < 20; attempt++) {
        await stack.direct(
          (direct) => direct.query(`drop table if exists ${table}_${attempt}`),
          stack.shopUrl,
        );
      }
    }
    expect(stopped).toBe(3);
  });
});

describe("nobody approves", () => {
  it("their own request, as who else, or somebody else's without being asked", async () => {
    const { sql, left } = await target();
    const client = await open("engineer");
    const id = await hold(client, sql);
    expect(await decide("engineer", id)).toBe("approval_own_request");
    expect(await decide("agent", id)).toMatch(/^(approval_not_reviewer|not_found|no_policy_permits)$/);
    expect(await left()).toBe(1);
    expect((await approval(id)).status).toBe("pending");
    expect(await decide("reviewer-a", id, "deny")).toBe("decided");
    expect((await client.words("Z")).join()).toMatch(/^E 42501 denied by reviewer-a/);
  });

  it("one statement and runs another: text, parameters, resource and requester are bound", async () => {
    const { sql, left } = await target(2);
    const asking = await open("engineer", true);
    const [id = ""] = /apr_[0-9a-z]{26}/.exec((await asking.run(f.query(sql))).join()) ?? [];
    expect(await decide("reviewer-a", id)).toBe("decided");
    for (const other of [`${sql} `, sql.replace("min", "max"), `${sql}; select 1`, `/* x */ ${sql}`]) {
      expect((await asking.run(f.query(other))).join(), other).toMatch(/E 42501 this needs the approval/);
    }
    const extended = await asking.run(f.parse(sql), f.bind(), f.execute(), f.sync);
    expect(await left()).toBe(extended.join().includes("DELETE 1") ? 1 : 2);
  });
});
