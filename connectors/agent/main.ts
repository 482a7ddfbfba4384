#!/usr/bin/env node
/**
 * The connector: `sally-connector --config connector.yaml`. It dials out to the gateway, listens on no port, and
 * opens only what its config lists. Its log goes to stderr; nothing goes to stdout.
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { EXIT } from "../../wire/refusals.ts";
import { formatProblem } from "../lib/config-file.ts";
import { resolveSecret } from "../lib/credentials.ts";
import { type ConnectorConfig, loadConfig } from "./config.ts";
import { ControlSocket } from "./control.ts";
import {
  type Identity,
  type IdentityFailure,
  enrol,
  keyAge,
  loadIdentity,
  otherIdentity,
  rotateKey,
} from "./identity.ts";
import { type Log, createLog } from "./log.ts";
import { Sessions } from "./sessions.ts";

const USAGE = `usage: sally-connector --config FILE [--check | --rotate-key | --rotate-key-after DAYS]

  --config FILE   the connector's config (YAML)
  --check         check the config and end
  --rotate-key    replace the connector's key by a new one and end; running processes go on with it
  --rotate-key-after DAYS
                  run, and replace a key that is older; not where processes have copies of the directory`;

const DAY = 24 * 60 * 60_000;

/** How long live sessions may go on after SIGTERM, in milliseconds. */
const DRAIN = 30_000;
/** Time for servers to take the cancels of sessions that are cut. */
const LAST_WORDS = 1_000;

process.exitCode = await main(process.argv.slice(2));

async function main(argv: readonly string[]): Promise<number> {
  const given = readArguments(argv);
  if (given === undefined) {
    say(USAGE);
    return EXIT.usage;
  }
  const loaded = await loadConfig(given.config);
  if (!loaded.ok) {
    for (const problem of loaded.error) say(formatProblem(problem));
    return EXIT.usage;
  }
  if (given.check) return EXIT.done;
  const { config, resources } = loaded.value;
  const log = createLog((line) => process.stderr.write(line));
  const identity = await identify(config, log);
  if (!identity.ok) {
    log.error("cannot start", { reason: identity.error.message, hint: identity.error.hint });
    return identity.error.code === "unreachable" ? EXIT.unreachable : EXIT.unauthenticated;
  }
  if (given.rotateKey) {
    const rotated = await rotateKey(identity.value, config.stateDirectory);
    if (rotated.ok) log.info("the key is replaced", { name: config.name });
    else log.error("the key could not be replaced", { reason: rotated.error.message });
    return rotated.ok ? EXIT.done : EXIT.failed;
  }
  const sessions = new Sessions({
    gateway: config.gateway,
    resources,
    log,
    cannotOpen: (message) => control.send(message),
  });
  const control: ControlSocket = new ControlSocket({
    identity: identity.value,
    hello: {
      type: "hello",
      process: randomUUID(),
      version: version(),
      resources: [...resources.values()].map(({ name, protocol }) => ({ name, protocol })),
    },
    onOpen: (open) => void sessions.open(open),
    otherIdentity: (refused) => otherIdentity(refused, config),
    log,
  });
  const { rotateAfter } = given;
  if (rotateAfter !== undefined) {
    const renewKey = (): void =>
      void renewOldKey(control, config, rotateAfter, log).catch((error: unknown) =>
        log.warn("the key could not be replaced", { reason: String(error) }),
      );
    renewKey();
    setInterval(renewKey, DAY).unref();
  }
  log.info("connector started", {
    name: config.name,
    gateway: config.gateway,
    resources: [...resources.keys()].join(" "),
  });
  const stopped = stopOnSignals(control, sessions, log);
  const end = await control.run();
  if (end.reason === "stopped") await stopped;
  else {
    log.error("connector ended", {
      reason: end.message,
      hint: `enrol it anew: remove ${config.stateDirectory} and give it a join token from sally connector enroll ${config.name}`,
    });
    sessions.close({ code: "upstream_lost", message: "the connector is no longer trusted" });
  }
  for (const { upstream } of resources.values()) upstream.close();
  // Cancels of sessions that were cut are on their way; what is left open after that does not keep the process.
  setTimeout(() => process.exit(), LAST_WORDS).unref();
  return end.reason === "stopped" ? EXIT.done : EXIT.unauthenticated;
}

/** `age` in milliseconds. */
async function renewOldKey(
  control: ControlSocket,
  config: ConnectorConfig,
  age: number,
  log: Log,
): Promise<void> {
  if ((await keyAge(config.stateDirectory, Date.now())) < age) return;
  const rotated = await rotateKey(control.identity, config.stateDirectory);
  // Another process with this directory may have been faster; its key is found when this one is refused.
  if (!rotated.ok) log.warn("the key could not be replaced", { reason: rotated.error.message });
  else {
    control.identity = rotated.value;
    log.info("the key is replaced", { name: config.name });
  }
}

type Given = {
  readonly config: string;
  readonly check: boolean;
  readonly rotateKey: boolean;
  /** Age in milliseconds at which a key is replaced. */
  readonly rotateAfter: number | undefined;
};

function readArguments(argv: readonly string[]): Given | undefined {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        config: { type: "string" },
        check: { type: "boolean", default: false },
        "rotate-key": { type: "boolean", default: false },
        "rotate-key-after": { type: "string" },
      },
    });
    const { config, check, "rotate-key": rotateKey, "rotate-key-after": days } = values;
    if (config === undefined || (check && rotateKey)) return undefined;
    if (days !== undefined && !/^[1-9]\d{0,3}$/.test(days)) return undefined;
    return { config, check, rotateKey, rotateAfter: days === undefined ? undefined : Number(days) * DAY };
  } catch {
    return undefined;
  }
}

async function identify(
  config: ConnectorConfig,
  log: Log,
): Promise<{ ok: true; value: Identity } | { ok: false; error: IdentityFailure }> {
  const known = await loadIdentity(config);
  if (!known.ok) return known;
  if (known.value !== undefined) return { ok: true, value: known.value };
  const hint = `get a join token with: sally connector enroll ${config.name}`;
  if (config.joinToken === undefined) {
    return {
      ok: false,
      error: {
        message: `"${config.name}" is not enrolled with ${config.gateway} and the config gives no joinToken`,
        hint,
      },
    };
  }
  const token = await resolveSecret(config.joinToken);
  if (!token.ok)
    return {
      ok: false,
      error: {
        message: `"${config.name}" is not enrolled and its joinToken is not to be had: ${token.error}`,
        hint,
      },
    };
  const enrolled = await enrol(config, token.value);
  if (enrolled.ok) log.info("enrolled", { name: config.name, gateway: config.gateway });
  return enrolled;
}

/** SIGTERM lets live sessions finish for a while, SIGINT and a second signal end them now. */
function stopOnSignals(control: ControlSocket, sessions: Sessions, log: Log): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    const finish = () => {
      sessions.close({ code: "upstream_lost", message: "the connector is shutting down" });
      resolve();
    };
    const stop = (signal: NodeJS.Signals) => {
      log.info("stopping", { signal });
      if (stopping || signal === "SIGINT") {
        stopping = true;
        control.stop();
        finish();
        return;
      }
      stopping = true;
      control.stop();
      void sessions.drain(DRAIN).then(finish);
    };
    process.on("SIGTERM", stop);
    process.on("SIGINT", stop);
  });
}

function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

function say(text: string): void {
  for (const line of text.split("\n")) process.stderr.write(`sally-connector: ${line}\n`);
}
