/** Running the native client (psql, a script, any command) with the shim behind it. */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import type { Environment } from "./context.ts";
import { type Failure, fail, reasonOf } from "./failure.ts";

export type NativeCommand = {
  readonly program: string;
  readonly words: readonly string[];
  readonly environment: Environment;
  /** What to do when the program is not there. */
  readonly installHint: string;
};

/**
 * Runs it with our stdin, stdout and stderr and resolves to its exit code (128 + n when signal n ended it).
 * Ctrl-C and Ctrl-\ reach the child by themselves, as it is in the terminal's foreground process group; we
 * only must not die of them. SIGTERM and SIGHUP are sent to us alone and are passed on.
 */
export function runNative(command: NativeCommand): Promise<Result<number, Failure>> {
  return new Promise((resolve) => {
    const child: ChildProcess = spawn(command.program, command.words, {
      stdio: "inherit",
      env: { ...command.environment },
    });
    const ignore = (): void => undefined;
    const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
    const handlers: [NodeJS.Signals, (signal: NodeJS.Signals) => void][] = [
      ["SIGINT", ignore],
      ["SIGQUIT", ignore],
      ["SIGTERM", pass],
      ["SIGHUP", pass],
    ];
    for (const [signal, handler] of handlers) process.on(signal, handler);
    const settle = (result: Result<number, Failure>): void => {
      for (const [signal, handler] of handlers) process.off(signal, handler);
      resolve(result);
    };
    child.once("error", (error: NodeJS.ErrnoException) => {
      if (child.pid !== undefined) return;
      settle(
        error.code === "ENOENT"
          ? fail(EXIT.failed, `${command.program} is not installed or not on the PATH`, {
              hint: command.installHint,
            })
          : fail(EXIT.failed, `cannot run ${command.program}: ${reasonOf(error)}`),
      );
    });
    child.once("exit", (code, signal) =>
      settle(ok(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))),
    );
  });
}

/** An environment for somebody else's program: the identity token stays with us. */
export function withoutToken({ SALLY_TOKEN: _token, ...rest }: Environment): Environment {
  return rest;
}

/** Settings of the user's environment that would lead libpq elsewhere, or ask of the shim what it has not. */
const MISLEADING = [
  "PGHOSTADDR",
  "PGSERVICE",
  "PGSERVICEFILE",
  "PGPASSWORD",
  "PGPASSFILE",
  "PGREQUIREPEER",
  "PGREQUIREAUTH",
  "PGCHANNELBINDING",
  "PGSSLNEGOTIATION",
  "PGSSLCERTMODE",
  "PGSSLROOTCERT",
  "PGSSLCERT",
  "PGSSLKEY",
  "PGTARGETSESSIONATTRS",
  "PGLOADBALANCEHOSTS",
];

/**
 * The environment for a PostgreSQL client of the shim at `host`:`port`. The identity token stays with us.
 * `database` is the resource's name, which the gateway takes for the database it stands for.
 */
export function postgresEnvironment(
  from: Environment,
  where: { readonly host: string; readonly port: number; readonly database: string; readonly user: string },
): Environment {
  const environment: Record<string, string | undefined> = { ...from };
  for (const name of [...MISLEADING, "SALLY_TOKEN"]) delete environment[name];
  return {
    ...environment,
    PGHOST: where.host,
    PGPORT: String(where.port),
    PGDATABASE: where.database,
    PGUSER: where.user,
    PGSSLMODE: "disable",
    PGGSSENCMODE: "disable",
    DATABASE_URL: databaseUrl(where),
  };
}

/**
 * A connection URI (PostgreSQL docs 34.1.1.2). The directory of a Unix socket is given as `host=` with nothing
 * in the host's own place: a client that cannot take that fails, and does not go to another server instead.
 */
export function databaseUrl(where: { host: string; port: number; database: string; user: string }): string {
  const user = encodeURIComponent(where.user);
  const database = encodeURIComponent(where.database);
  return where.host.startsWith("/")
    ? `postgresql://${user}@/${database}?host=${encodeURIComponent(where.host)}&port=${where.port}&sslmode=disable`
    : `postgresql://${user}@${where.host}:${where.port}/${database}?sslmode=disable`;
}
