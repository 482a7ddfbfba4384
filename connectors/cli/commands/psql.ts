import { ok } from "../../../wire/result.ts";
import type { Command } from "../command.ts";
import { postgresEnvironment, runNative } from "../native-client.ts";
import { GOODBYE_MS, openAccess, openDoor } from "../postgres-access.ts";

export const psql: Command = {
  name: "psql",
  summary: "open psql on a database",
  about: `What follows -- goes to psql. Its exit code passes through, except that after an operation was denied
or held a failing psql gives 3 or 4. psql itself ends a -c or -f with 0 or 1 depending on the last
statement; with -v ON_ERROR_STOP=1 the first error ends it.

  sally psql shop-db
  sally psql shop-db -- -Atc 'select count(*) from orders'
  sally psql shop-db --no-wait -- -v ON_ERROR_STOP=1 -f migrate.sql`,
  positionals: [{ name: "RESOURCE", about: "the database, as sally ls names it" }],
  options: {},
  native: "PSQL-ARGUMENTS",
  run: async (context, given) => {
    const resource = given.positionals[0] ?? "";
    const access = await openAccess(context, resource);
    if (!access.ok) return access;
    const door = await openDoor(context, access.value, undefined);
    if (!door.ok) return door;
    const { host, port } = door.value;
    const ended = await runNative({
      program: "psql",
      words: given.native ?? [],
      environment: postgresEnvironment(context.environment, {
        host,
        port,
        database: resource,
        user: access.value.user,
      }),
      installHint:
        "install it with: apt install postgresql-client (Debian, Ubuntu), dnf install postgresql (Fedora), brew install libpq (macOS)",
    });
    await door.value.close(GOODBYE_MS);
    return ended.ok ? ok(access.value.outcome.exitCode(ended.value)) : ended;
  },
};
