/** Results larger than any memory, and readers that stop: the gateway holds little of either. */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { GatewayClient } from "../../support/gateway-client.ts";
import { openPort, withClient } from "../../support/native.ts";
import { type Stack, sharedStack } from "../../support/stack.ts";
import { f } from "../../wire/postgres/support/messages.ts";

let stack: Stack;
let token: string;
beforeAll(async () => {
  stack = sharedStack();
  token = await stack.sessionToken("reviewer-a");
});

const MIB = 1 << 20;

/** Resident memory of workerd, all of its processes, in bytes. */
function memory(): number {
  return stack.workerdPids
    .map((pid) => /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1])
    .reduce((sum, kib) => sum + Number(kib ?? 0) * 1024, 0);
}

/** The largest growth of the gateway while `work` runs. */
async function growthDuring(work: () => Promise<void>): Promise<number> {
  const before = memory();
  let peak = before;
  const watch = setInterval(() => (peak = Math.max(peak, memory())), 50);
  try {
    await work();
  } finally {
    clearInterval(watch);
  }
  return Math.max(peak, memory()) - before;
}

describe("the gateway's memory", () => {
  it(
    "does not grow with a result of 200 MB in rows, nor with one of 100 MB in one value",
    { timeout: 180_000 },
    async () => {
      // Once before measuring, so that what a first large result leaves in the heap is not counted.
      await stack.sally("reviewer-a", [
        "psql",
        "scratch-db",
        "--",
        "-XAtc",
        "select repeat('x', 1000) from generate_series(1, 30000)",
      ]);
      const growth = await growthDuring(async () => {
        const rows = await stack.sally(
          "reviewer-a",
          [
            "run",
            "scratch-db",
            "--",
            "sh",
            "-c",
            "psql -XAtc \"select repeat('x', 1000) from generate_series(1, 200000)\" -c \"select repeat('y', 100000000)\" | wc -c",
          ],
          { timeout: 150_000 },
        );
        expect(rows.stdout.trim(), rows.stderr).toBe(String(200_000 * 1001 + 100_000_001));
      });
      expect(growth / MIB).toBeLessThan(64);
    },
  );

  it(
    "grows by less than 64 MiB for a client that stops reading in the middle of 1 GB, and others go on",
    { timeout: 120_000 },
    async () => {
      const stalled = await GatewayClient.open(stack.gateway, "scratch-db", token);
      const bystander = await GatewayClient.open(stack.gateway, "scratch-db", token);
      try {
        const growth = await growthDuring(async () => {
          stalled.pause();
          stalled.send(f.query("select repeat('x', 10000) from generate_series(1, 100000)"));
          await stalled.until("D", 50);
          for (let i = 0; i < 200; i++) {
            expect(await bystander.run(f.query(`select ${i}`))).toContain(`D ${i}`);
            await new Promise((resolve) => setTimeout(resolve, 10));
          }
          const whole = await bystander.run(
            f.query("select repeat('y', 1000) from generate_series(1, 5000)"),
          );
          expect(whole.filter((word) => word.startsWith("D"))).toHaveLength(5000);
        });
        expect(growth / MIB).toBeLessThan(64);
        // The server waits too: its backend is blocked on sending, not done.
        const blocked = await stack.direct(async (client) =>
          client.query(
            "select 1 from pg_stat_activity where query like '%100000)%' and state = 'active' and wait_event = 'ClientWrite'",
          ),
        );
        expect(blocked.rowCount).toBe(1);
      } finally {
        stalled.drop();
        bystander.close();
      }
      // Its statement does not run on for nobody.
      await expect
        .poll(
          async () =>
            stack.direct(
              async (client) =>
                (
                  await client.query(
                    "select 1 from pg_stat_activity where query like '%100000)%' and state = 'active' and wait_event = 'ClientWrite'",
                  )
                ).rowCount,
            ),
          { timeout: 10_000 },
        )
        .toBe(0);
    },
  );

  it(
    "does not grow with a client that sends 100 MB of COPY to a server that waits for a lock",
    { timeout: 120_000 },
    async () => {
      const port = await openPort(stack, "reviewer-a", "scratch-db");
      try {
        await withClient(port, (client) => client.query("create table if not exists locked (line text)"));
        await stack.direct(
          async (locker) => {
            await locker.query("begin");
            await locker.query("lock table locked");
            const growth = await growthDuring(async () => {
              const writer = stack.startSally("reviewer-a", [
                "run",
                "scratch-db",
                "--",
                "sh",
                "-c",
                "yes 0123456789012345678901234567890123456789 | head -c 100000000 | psql -Xqc 'copy locked from stdin'",
              ]);
              await new Promise((resolve) => setTimeout(resolve, 3000));
              await locker.query("rollback");
              expect(await writer.result).toMatchObject({ code: 0 });
            });
            expect(growth / MIB).toBeLessThan(64);
            const { rows } = await locker.query<{ n: number }>("select count(*)::int as n from locked");
            expect(rows[0]?.n).toBe(Math.ceil(100_000_000 / 41));
          },
          stack.shopUrl.replace(/shop$/, "scratch"),
        );
      } finally {
        await withClient(port, (client) => client.query("drop table if exists locked")).catch(
          () => undefined,
        );
        await port.close();
      }
    },
  );
});
