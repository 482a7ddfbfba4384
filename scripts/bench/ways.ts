/** The three ways from a client to the same PostgreSQL that the benchmark compares. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { buildWorker } from "../build/worker.ts";
import { type Gateway, startGateway } from "../lib/gateway.ts";
import { freePort } from "../lib/ports.ts";
import { ROOT } from "../lib/run.ts";
import { startSally } from "../lib/sally.ts";
import type { System } from "../lib/system.ts";

export const BENCH_RESOURCE = "bench-db";
export const BENCH_DATABASE = "bench";

export type Way = {
  readonly name: "direct" | "pipe" | "gateway";
  readonly port: number;
  readonly user: string;
  readonly password: string | undefined;
  readonly database: string;
  stop(): Promise<void>;
};

/** One thing measured over all three. */
export type Row = {
  readonly what: string;
  readonly unit: string;
  readonly values: Record<Way["name"], number>;
};

export function directWay(system: System): Way {
  const url = new URL(system.shopUrl);
  return {
    name: "direct",
    port: Number(url.port),
    user: url.username,
    password: decodeURIComponent(url.password),
    database: BENCH_DATABASE,
    stop: async () => undefined,
  };
}

/** Client → process → workerd → process → PostgreSQL, copying bytes: as many hops as the gateway has. */
export async function pipeWay(system: System, directory: string): Promise<Way> {
  const direct = directWay(system);
  return { ...direct, name: "pipe", ...(await openPipe(directory, direct.port)) };
}

/** A local port that leads through the bare pipe to another one. */
export async function openPipe(
  directory: string,
  upstreamPort: number,
): Promise<{ port: number; stop(): Promise<void> }> {
  const worker = await buildWorker({
    directory: join(directory, "pipe-worker"),
    entry: join(ROOT, "scripts/bench/pipe-worker.ts"),
  });
  const gateway: Gateway = await startGateway({
    directory: worker.directory,
    port: await freePort(),
    bootstrapToken: "not used by the bare pipe",
  });
  const port = await freePort();
  const script = join(ROOT, "scripts/bench/pipe-process.ts");
  const upstream = spawn(process.execPath, [script, "upstream", gateway.url, String(upstreamPort)], {
    stdio: ["pipe", "ignore", "inherit"],
  });
  const client = spawn(process.execPath, [script, "client", gateway.url, String(port)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise<void>((resolve) => {
    createInterface(client.stdout).on("line", (line) => {
      if (line === "ready") resolve();
      else upstream.stdin.write(`${line}\n`);
    });
  });
  return {
    port,
    stop: async () => {
      client.kill();
      upstream.kill();
      await gateway.stop();
    },
  };
}

/** `sally connect` as the engineer: policy and masks apply to every statement. */
export async function gatewayWay(system: System, directory: string): Promise<Way> {
  const port = await freePort();
  const sally = startSally(["connect", BENCH_RESOURCE, "--port", String(port)], {
    gateway: system.gateway.url,
    tokenFile: system.tokenFile("engineer"),
    configHome: join(directory, "config-home"),
    timeout: 3_600_000,
  });
  await sally.waitFor("stdout", /listening on/);
  return {
    name: "gateway",
    port,
    user: "engineer",
    password: undefined,
    database: BENCH_RESOURCE,
    stop: async () => {
      sally.kill("SIGINT");
      await sally.result;
    },
  };
}
