/** The foundation as its users meet it: real psql through sally, the gateway and the connector. */
import { beforeAll, describe, expect, it } from "vitest";
import { openPort, withClient } from "../../support/native.ts";
import { type Stack, sharedStack } from "../../support/stack.ts";

let stack: Stack;
beforeAll(() => {
  stack = sharedStack();
});

const psql = (...args: string[]): string[] => ["psql", "shop-db", "--", ...args];

/** The approval that `sally` names on stderr when it waits or is refused. */
const APPROVAL = /apr_[0-9a-z]{26}/;

async function approve(id: string, as: "reviewer-a" | "reviewer-b" | "engineer" = "reviewer-a") {
  return stack.sally(as, ["approvals", "approve", id]);
}

describe("masks", () => {
  it("shows an engineer the mask and a reviewer the number", async () => {
    const sql = "select card_number from customers where id = 1";
    const masked = await stack.sally("engineer", psql("-Atc", sql));
    expect(masked).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\*{4}\d{4}\n$/) });
    const revealed = await stack.sally("reviewer-a", psql("-Atc", sql));
    expect(revealed).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d{16}\n$/) });
    expect(revealed.stdout.trim().slice(-4)).toBe(masked.stdout.trim().slice(-4));
  });
});

describe("refusals", () => {
  it("answers a DROP with an ERROR and goes on in the same session", async () => {
    const { code, stdout, stderr } = await stack.sally(
      "engineer",
      psql("-At", "-c", "drop table customers", "-c", "select 1"),
    );
    expect(stderr).toMatch(/ERROR: .*schema change/);
    expect(stdout).toBe("1\n");
    expect(code).toBe(0);
  });

  it("exits with 3 when the refused statement is what fails the client", async () => {
    const { code } = await stack.sally(
      "engineer",
      psql("-v", "ON_ERROR_STOP=1", "-c", "drop table customers"),
    );
    expect(code).toBe(3);
  });

  it("denies an update without WHERE to engineers, and a WHERE that is always true", async () => {
    for (const sql of ["update orders set status = 'x'", "update orders set status = 'x' where true"]) {
      const { stderr } = await stack.sally("engineer", psql("-c", sql));
      expect(stderr, sql).toMatch(/ERROR: .*WHERE/);
    }
  });

  it("runs nothing of a message when one of its statements is refused", async () => {
    const { stderr } = await stack.sally(
      "engineer",
      psql(
        "-c",
        "insert into employees (name) values ('smuggled'); /* harmless */ -- comment\n drop table orders",
      ),
    );
    expect(stderr).toMatch(/ERROR/);
    const left = await stack.direct(
      (client) => client.query("select 1 from employees where name = 'smuggled'"),
      stack.shopUrl,
    );
    expect(left.rowCount).toBe(0);
  });
});

describe("approvals", () => {
  it("holds a delete in place until a reviewer approves it, once and for these exact words", async () => {
    const sql = "delete from orders where id = 11";
    const waiting = stack.startSally("engineer", psql("-c", sql));
    const [id] = await waiting.waitFor("stderr", APPROVAL);
    await waiting.waitFor("stderr", /NOTICE: {2}held for approval by dba/);

    const own = await approve(id, "engineer");
    expect(own).toMatchObject({ code: 3, stderr: expect.stringContaining("your own request") });

    expect((await approve(id)).code).toBe(0);
    expect(await waiting.result).toMatchObject({ code: 0, stdout: "DELETE 1\n" });

    const second = await approve(id, "reviewer-b");
    expect(second).toMatchObject({ code: 1, stderr: expect.stringContaining("used already") });

    const other = await stack.sally("engineer", [
      "psql",
      "shop-db",
      "--no-wait",
      "--",
      "-c",
      "delete from orders where id = 12",
    ]);
    expect(other.code).toBe(4);
    expect(APPROVAL.exec(other.stderr)?.[0]).not.toBe(id);
  });

  it("fails an agent at once with --no-wait and lets the same statement pass once after approval", async () => {
    const command = [
      "psql",
      "shop-db",
      "--no-wait",
      "--",
      "-c",
      "update orders set status = 'shipped' where id = 21",
    ];
    const first = await stack.sally("agent", command);
    expect(first.code).toBe(4);
    const id = APPROVAL.exec(first.stderr)?.[0] ?? "";
    // Asking again opens no second approval.
    expect((await stack.sally("agent", command)).stderr).toContain(id);
    expect((await approve(id)).code).toBe(0);
    expect(await stack.sally("agent", command)).toMatchObject({ code: 0, stdout: "UPDATE 1\n" });
    expect((await stack.sally("agent", command)).code).toBe(4);
  });

  it("tells the client of a denial and its reason", async () => {
    const waiting = stack.startSally("engineer", psql("-c", "delete from orders where id = 13"));
    const [id] = await waiting.waitFor("stderr", APPROVAL);
    await stack.sally("reviewer-b", ["approvals", "deny", id, "--comment", "not on a Sunday"]);
    const { code, stderr } = await waiting.result;
    expect(stderr).toMatch(/ERROR: {2}denied by reviewer-b.*not on a Sunday/);
    expect(code).toBe(3);
  });

  it("withdraws the request when the client gives up with Ctrl-C", async () => {
    const waiting = stack.startSally("engineer", psql("-c", "delete from orders where id = 14"));
    const [id] = await waiting.waitFor("stderr", APPROVAL);
    await waiting.waitFor("stderr", /NOTICE/);
    waiting.kill("SIGINT");
    const { stderr } = await waiting.result;
    expect(stderr).toMatch(/canceling statement due to user request/);
    expect(await approve(id)).toMatchObject({ code: 1, stderr: expect.stringContaining("withdrawn") });
  });

  it("binds an approval to the parameters of a prepared statement", async () => {
    const port = await openPort(stack, "engineer", "shop-db", ["--no-wait"]);
    try {
      const remove = (id: number) =>
        withClient(port, (client) => client.query("delete from orders where id = $1", [id]));
      const held: unknown = await remove(15).catch((error: unknown) => error);
      const id = APPROVAL.exec(String(held))?.[0] ?? "";
      expect((await approve(id)).code).toBe(0);
      await expect(remove(16)).rejects.toThrow(/needs the approval of dba/);
      await expect(remove(15)).resolves.toMatchObject({ rowCount: 1 });
      await expect(remove(15)).rejects.toThrow(/needs the approval of dba/);
    } finally {
      await port.close();
    }
  });
});

describe("recordings", () => {
  it("keeps statement, decision and result as delivered, in a chain that verifies", async () => {
    await stack.sally("engineer", psql("-Atc", "select ssn from customers where id = 3"));
    const listed = await stack.sally("engineer", ["sessions", "ls", "--json"]);
    const [session] = (JSON.parse(listed.stdout) as { sessions: { id: string }[] }).sessions;
    const id = session?.id ?? "";
    const played = await stack.sally("reviewer-a", ["sessions", "play", id]);
    expect(played.stdout).toContain("select ssn from customers where id = 3");
    expect(played.stdout).toContain("****");
    const verified = await stack.sally("reviewer-a", ["sessions", "verify", id]);
    expect(verified).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ok: \d+ events/) });
  });

  it("shows a session to its owner and to who may replay, and to nobody else", async () => {
    const listed = await stack.sally("engineer", ["sessions", "ls", "--json"]);
    const { id } = (JSON.parse(listed.stdout) as { sessions: { id: string }[] }).sessions[0] ?? { id: "" };
    expect((await stack.sally("agent", ["sessions", "show", id])).code).not.toBe(0);
    expect((await stack.sally("reviewer-b", ["sessions", "show", id])).code).toBe(0);
  });

  it("ends a live session when it is killed, with a clear error", async () => {
    const running = stack.startSally("engineer", psql("-c", "select pg_sleep(30)"));
    let id = "";
    for (let tries = 0; tries < 50 && id === ""; tries++) {
      const listed = await stack.sally("engineer", ["sessions", "ls", "--live", "--json"]);
      id = (JSON.parse(listed.stdout) as { sessions: { id: string }[] }).sessions[0]?.id ?? "";
    }
    const killed = await stack.sally("reviewer-a", ["sessions", "kill", id]);
    expect(killed.code).toBe(0);
    const { stderr, code } = await running.result;
    expect(stderr).toMatch(/FATAL: {2}the session was ended by reviewer-a/);
    expect(code).not.toBe(0);
  });
});
