/** The door that `sally run` gives a command to one resource, in the variables that its kind of client reads. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Result, ok } from "../../wire/result.ts";
import { apiWith } from "./api.ts";
import type { Context, Environment } from "./context.ts";
import type { Failure } from "./failure.ts";
import { openHttpDoor, urlVariable } from "./http-door.ts";
import { openKubernetesDoor } from "./kubernetes-door.ts";
import { openTcpPort } from "./local-port.ts";
import { postgresEnvironment, withoutToken } from "./native-client.ts";
import type { Outcome } from "./outcome.ts";
import { GOODBYE_MS, openAccess, openDoor, strangerTurnedAway, warnUnguarded } from "./postgres-access.ts";
import type { SessionTokens } from "./session-token.ts";
import { carry } from "./shim.ts";
import { configForPort, needHostKey } from "./ssh-client.ts";

export type CommandDoor = {
  readonly outcome: Outcome;
  /** The environment of the command: the given one, and how to find the door. */
  readonly environment: (from: Environment) => Environment;
  readonly close: () => Promise<void>;
};

type Options = {
  readonly resource: string;
  /** What goes through the door goes under these. */
  readonly tokens: SessionTokens;
  /** A TCP port on 127.0.0.1 where a Unix socket would do. */
  readonly tcp: boolean;
};

/** Opens it. `protocol` is the resource's; undefined is taken for a database. */
export function openCommandDoor(
  context: Context,
  protocol: string | undefined,
  options: Options,
): Promise<Result<CommandDoor, Failure>> {
  if (protocol === "http") return httpDoor(context, options);
  if (protocol === "ssh") return sshDoor(context, options);
  if (protocol === "kubernetes") return openKubernetesDoor(context, options.resource, options.tokens);
  return postgresDoor(context, options);
}

async function postgresDoor(
  context: Context,
  { resource, tokens, tcp }: Options,
): Promise<Result<CommandDoor, Failure>> {
  const access = await openAccess(context, resource, tokens);
  if (!access.ok) return access;
  const door = await openDoor(context, access.value, tcp ? 0 : undefined);
  if (!door.ok) return door;
  warnUnguarded(context, door.value);
  const { host, port, close } = door.value;
  const { user, outcome } = access.value;
  return ok({
    outcome,
    environment: (from) => postgresEnvironment(from, { host, port, database: resource, user }),
    close: () => close(GOODBYE_MS),
  });
}

async function httpDoor(
  context: Context,
  { resource, tokens }: Options,
): Promise<Result<CommandDoor, Failure>> {
  const door = await openHttpDoor(context, resource, 0, tokens);
  if (!door.ok) return door;
  warnUnguarded(context, door.value);
  const { url, outcome, close } = door.value;
  return ok({
    outcome,
    environment: (from) => ({ ...withoutToken(from), [urlVariable(resource)]: url }),
    close: () => close(0),
  });
}

/** ssh, scp and sftp take the file as `-F`; git and rsync find it by themselves. */
async function sshDoor(
  context: Context,
  { resource, tokens }: Options,
): Promise<Result<CommandDoor, Failure>> {
  const access = await openAccess(context, resource, tokens);
  if (!access.ok) return access;
  const { outcome } = access.value;
  const { gateway } = access.value.options;
  const known = await needHostKey(context, apiWith(gateway, tokens));
  if (!known.ok) return known;
  const door = await openTcpPort(
    0,
    (socket) =>
      carry(
        { readable: socket, writable: socket },
        {
          ...access.value.options,
          // ssh shows nothing of what comes before its peer's version: standard error has to do.
          refuse: (_readable, writable) => new Promise((resolve) => writable.end(() => resolve())),
          refuseUnanswered: () => undefined,
        },
      ),
    () => strangerTurnedAway(context),
  );
  if (!door.ok) return door;
  warnUnguarded(context, door.value);
  const directory = await mkdtemp(join(tmpdir(), "sally-ssh-"));
  const file = join(directory, "config");
  await writeFile(file, configForPort(context, gateway, resource, door.value.port), { mode: 0o600 });
  const ssh = `ssh -F ${shellQuote(file)}`;
  return ok({
    outcome,
    environment: (from) => ({
      ...withoutToken(from),
      SALLY_SSH_CONFIG: file,
      GIT_SSH_COMMAND: ssh,
      RSYNC_RSH: ssh,
    }),
    close: async () => {
      await door.value.close(GOODBYE_MS);
      await rm(directory, { recursive: true, force: true });
    },
  });
}

function shellQuote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
