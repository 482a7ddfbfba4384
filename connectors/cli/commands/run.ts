import { ok } from "../../../wire/result.ts";
import type { Command } from "../command.ts";
import { usage } from "../failure.ts";
import { postgresEnvironment, runNative } from "../native-client.ts";
import { GOODBYE_MS, openAccess, openDoor, warnUnguarded } from "../postgres-access.ts";

export const run: Command = {
  name: "run",
  summary: "run a command with PGHOST, PGPORT … and DATABASE_URL set",
  about: `The command finds the database through PGHOST, PGPORT, PGDATABASE, PGUSER, PGSSLMODE and
PGGSSENCMODE, or through DATABASE_URL. PGHOST is the directory of a Unix socket that only you can
use: libpq (psql, Python, Ruby, PHP), node-postgres and pgx take that. A client that does not (JDBC,
postgres.js with DATABASE_URL) gets a port on 127.0.0.1 with --tcp. Exit codes are as with sally psql.

  sally run shop-db -- ./migrate
  sally run shop-db --tcp -- java -jar report.jar`,
  positionals: [{ name: "RESOURCE", about: "the database, as sally ls names it" }],
  options: { tcp: { about: "give the command a TCP port on 127.0.0.1 instead of a Unix socket" } },
  native: "COMMAND",
  run: async (context, given) => {
    const resource = given.positionals[0] ?? "";
    const [program, ...words] = given.native ?? [];
    if (program === undefined)
      return usage("no command to run", `name it after --: sally run ${resource} -- ./migrate`);
    const access = await openAccess(context, resource);
    if (!access.ok) return access;
    const door = await openDoor(context, access.value, given.flags.has("tcp") ? 0 : undefined);
    if (!door.ok) return door;
    warnUnguarded(context, door.value);
    const { host, port } = door.value;
    const ended = await runNative({
      program,
      words,
      environment: postgresEnvironment(context.environment, {
        host,
        port,
        database: resource,
        user: access.value.user,
      }),
      installHint: "check the spelling, or give its path",
    });
    await door.value.close(GOODBYE_MS);
    return ended.ok ? ok(access.value.outcome.exitCode(ended.value)) : ended;
  },
};
