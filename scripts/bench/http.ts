/**
 * `node scripts/bench/http.ts [--quick] [--json]`: requests to `orders-api` directly, through a bare byte pipe over
 * the same platform, and through the gateway with policy and JSON masks. Only the ratios mean something elsewhere.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startOrdersApi } from "../lib/orders-api.ts";
import { startSystem } from "../lib/system.ts";
import { openPipe } from "./ways.ts";

type Way = {
  readonly name: "direct" | "pipe" | "gateway";
  readonly port: number;
  readonly path: string;
  readonly headers: () => Promise<Record<string, string>>;
};

type Measured = { readonly perSecond: number; readonly p50: number; readonly p99: number };

/** One GET, its body read to the end; resolves with its milliseconds. */
function get(agent: Agent, way: Way, headers: Record<string, string>): Promise<number> {
  const started = performance.now();
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port: way.port, path: way.path, agent, headers }, (answer) => {
      if (answer.statusCode !== 200) reject(new Error(`${way.name}: status ${answer.statusCode ?? 0}`));
      answer.resume();
      answer.on("end", () => resolve(performance.now() - started));
      answer.on("error", reject);
    })
      .on("error", reject)
      .end();
  });
}

async function measure(way: Way, connections: number, seconds: number): Promise<Measured> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const headers = await way.headers();
  const times: number[] = [];
  const run = async (until: number, keep: boolean): Promise<void> => {
    while (performance.now() < until) {
      const time = await get(agent, way, headers);
      if (keep) times.push(time);
    }
  };
  const all = (until: number, keep: boolean): Promise<unknown> =>
    Promise.all(Array.from({ length: connections }, () => run(until, keep)));
  await all(performance.now() + 1_000, false);
  const started = performance.now();
  await all(started + seconds * 1_000, true);
  const elapsed = (performance.now() - started) / 1_000;
  agent.destroy();
  times.sort((a, b) => a - b);
  const at = (share: number): number =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
  return { perSecond: times.length / elapsed, p50: at(0.5), p99: at(0.99) };
}

const { values: options } = parseArgs({ options: { quick: { type: "boolean" }, json: { type: "boolean" } } });
const seconds = options.quick === true ? 3 : 10;
const directory = await mkdtemp(join(tmpdir(), "sallyport-bench-http-"));
const stops: (() => Promise<void>)[] = [];
try {
  const system = await startSystem({ directory: join(directory, "system"), unsafe: true });
  stops.push(() => system.stop());
  await system.waitUntilOnline("orders-api");
  const orders = await startOrdersApi(join(directory, "key"));
  stops.push(() => orders.stop());
  const key = await readFile(orders.keyFile, "utf8");
  const pipe = await openPipe(directory, orders.port);
  stops.push(() => pipe.stop());
  const withKey = async (): Promise<Record<string, string>> => ({ "x-api-key": key });
  const ways: readonly Way[] = [
    { name: "direct", port: orders.port, path: "/orders/1", headers: withKey },
    { name: "pipe", port: pipe.port, path: "/orders/1", headers: withKey },
    {
      name: "gateway",
      port: Number(new URL(system.gateway.url).port),
      path: "/http/orders-api/orders/1",
      headers: async () => ({ authorization: `Bearer ${await system.sessionToken("engineer")}` }),
    },
  ];
  const rows: { connections: number; values: Record<string, Measured> }[] = [];
  for (const connections of [1, 32]) {
    const values: Record<string, Measured> = {};
    for (const way of ways) {
      process.stderr.write(`bench: ${connections} connections, ${way.name}\n`);
      values[way.name] = await measure(way, connections, seconds);
    }
    rows.push({ connections, values });
  }
  if (options.json === true) process.stdout.write(`${JSON.stringify({ rows })}\n`);
  else {
    for (const { connections, values } of rows) {
      process.stdout.write(`${connections} connection${connections === 1 ? "" : "s"}\n`);
      for (const [name, { perSecond, p50, p99 }] of Object.entries(values)) {
        const ratio = perSecond / (values["pipe"]?.perSecond ?? 1);
        process.stdout.write(
          `  ${name.padEnd(8)} ${perSecond.toFixed(0).padStart(7)} req/s  p50 ${p50.toFixed(2).padStart(7)} ms` +
            `  p99 ${p99.toFixed(2).padStart(7)} ms  ${(ratio * 100).toFixed(0).padStart(4)} % of the pipe\n`,
        );
      }
    }
  }
} finally {
  for (const stop of stops.reverse()) await stop();
  await rm(directory, { recursive: true, force: true });
}
process.exit(0);
