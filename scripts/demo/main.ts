/**
 * `npm start`: a whole Sallyport on this machine. Progress and warnings go to stderr, what to try (or, with
 * `--json`, one line of JSON) to stdout.
 */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { OIDC_USER_NAMES } from "../lib/oidc-users.ts";
import { isPortFree, keptPorts, rememberPorts } from "../lib/ports.ts";
import { describe, stopWithParent } from "../lib/processes.ts";
import { ROOT } from "../lib/run.ts";
import { type System, type SystemPorts, startSystem } from "../lib/system.ts";
import { USAGE, parseDemoArguments } from "./arguments.ts";
import { guide } from "./guide.ts";
import { claimInstance } from "./instance.ts";
import { keepRunning } from "./keep-running.ts";

const TOKENS_RENEWED_EVERY = 3600_000;

/** What a user can do something about: printed without a stack. */
class Problem extends Error {}

function say(text: string): void {
  process.stderr.write(`sallyport: ${text}\n`);
}

async function choosePorts(directory: string, wanted: number | undefined): Promise<SystemPorts> {
  const file = join(directory, "ports.json");
  const { ports, moved } = await keptPorts(file, ["gateway", "oidc", "postgres", "ssh"]);
  const provider = moved.find(({ name }) => name === "oidc");
  // The provider's address is its name in every token and in the stored configuration.
  if (provider !== undefined && existsSync(join(directory, "gateway"))) {
    throw new Problem(
      `port ${provider.from}, the address of the demo's identity provider, is taken by another program\n` +
        `  hint: end that program, or remove ${shown(directory)}/ to start afresh on other ports`,
    );
  }
  for (const { name, from, to } of moved)
    say(`port ${from} (${name}) is taken by another program, using ${to}`);
  const chosen = { ...ports, gateway: wanted ?? ports.gateway };
  if (wanted !== undefined && !(await isPortFree(wanted))) {
    throw new Problem(
      `port ${wanted} is taken by another program\n  hint: choose another one with --port, or none`,
    );
  }
  await rememberPorts(file, chosen);
  return chosen;
}

/** A directory as one would type it in the clone. */
function shown(directory: string): string {
  const short = relative(ROOT, directory);
  return short.startsWith("..") ? directory : short;
}

/** Assignments that a shell can source and a script can read line by line. */
async function writeEnvironment(directory: string, system: System): Promise<string> {
  const file = join(directory, "env");
  const values = { SALLY_GATEWAY: system.gateway.url, SHOP_DB_DIRECT_URL: system.shopUrl };
  const lines = Object.entries(values).map(([name, value]) => `${name}=${value}`);
  await writeFile(file, `${lines.join("\n")}\nexport ${Object.keys(values).join(" ")}\n`, { mode: 0o600 });
  return file;
}

async function main(): Promise<void> {
  const options = parseDemoArguments(process.argv.slice(2));
  if (typeof options === "string") {
    process.stderr.write(`sallyport: ${options}\n\n${USAGE}\n`);
    process.exit(2);
  }
  if (options.help) {
    process.stdout.write(`${USAGE}\n`);
    return;
  }
  const directory = resolve(ROOT, options.directory ?? ".demo");
  await mkdir(directory, { recursive: true });
  const running = claimInstance(join(directory, "pid"));
  if (running !== undefined) {
    throw new Problem(
      `the demo is running already (process ${running})\n  hint: its addresses are in ${shown(directory)}/env`,
    );
  }

  let system: System | undefined;
  let stopping: Promise<never> | undefined;
  const stop = (why: string, code: number): Promise<never> => {
    stopping ??= (async () => {
      say(`${why}, stopping`);
      await system?.stop();
      say("stopped");
      process.exit(code);
    })();
    return stopping;
  };
  let signalledAt = 0;
  for (const [signal, code] of [
    ["SIGINT", 0],
    ["SIGTERM", 0],
    ["SIGHUP", 0],
  ] as const) {
    process.on(signal, () => {
      // npm and the terminal may both pass on one Ctrl-C; a later one means that the user has no patience left.
      if (stopping !== undefined && Date.now() - signalledAt > 1500) process.exit(130);
      if (stopping === undefined) signalledAt = Date.now();
      if (system === undefined) process.exit(130);
      void stop(signal, code);
    });
  }
  stopWithParent(() => void stop("the process that started this one is gone", 1));

  const started = performance.now();
  system = await startSystem({
    directory: directory,
    ports: await choosePorts(directory, options.port),
    onProgress: say,
  });
  const environment = await writeEnvironment(directory, system);
  const { writeTokens } = system;
  setInterval(() => void writeTokens(), TOKENS_RENEWED_EVERY);
  keepRunning(system, {
    isStopping: () => stopping !== undefined,
    say,
    giveUp: (name, exit) => void stop(`${name} ended (${describe(exit)})`, 1),
  });
  say(`ready after ${((performance.now() - started) / 1000).toFixed(1)} s`);

  if (options.json) {
    const tokens = Object.fromEntries(OIDC_USER_NAMES.map((user) => [user, system?.tokenFile(user)]));
    const { gateway, oidc } = system;
    const answer = {
      gateway: gateway.url,
      issuer: oidc.issuer,
      resources: ["shop-db", "web-1", "orders-api", "prod"],
      env: environment,
      tokens,
    };
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  } else {
    process.stdout.write(`\n${guide({ gateway: system.gateway.url, directory: shown(directory) })}\n`);
  }
}

try {
  await main();
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  say(message);
  if (!(error instanceof Problem)) say("logs are in the directory logs/ beside the state (.demo/logs/)");
  process.exit(1);
}
