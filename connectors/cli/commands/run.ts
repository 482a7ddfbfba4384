import { ok } from "../../../wire/result.ts";
import type { Command } from "../command.ts";
import { usage } from "../failure.ts";
import { postgresEnvironment, runNative } from "../native-client.ts";
import { Resources, Task } from "../answers.ts";
import { apiWith, openApi } from "../api.ts";
import { type Access, GOODBYE_MS, openAccess, openDoor, warnUnguarded } from "../postgres-access.ts";
import { isTaskId, readTaskFile } from "../task-file.ts";
import { sayFailure } from "../terminal.ts";
import type { Context, Environment } from "../context.ts";
import { runWithHttp } from "./http.ts";

export const run: Command = {
  name: "run",
  summary: "run a command with PGHOST, PGPORT … and DATABASE_URL set",
  about: `The command finds the database through PGHOST, PGPORT, PGDATABASE, PGUSER, PGSSLMODE and
PGGSSENCMODE, or through DATABASE_URL. PGHOST is the directory of a Unix socket that only you can
use: libpq (psql, Python, Ruby, PHP), node-postgres and pgx take that. A client that does not (JDBC,
postgres.js with DATABASE_URL) gets a port on 127.0.0.1 with --tcp. Exit codes are as with sally psql.

  sally run shop-db -- ./migrate
  sally run shop-db --tcp -- java -jar report.jar

For an HTTP service the command finds a port on 127.0.0.1 in a variable named after it (see sally http):

  sally run orders-api -- sh -c 'curl -s $ORDERS_API_URL/orders'

With --task FILE the command gets the rights of exactly that task (as for sally tasks start), which ends with
it: PGHOST … lead into the task, and SALLY_TASK names it. The tokens of this sally are not passed on.

  sally run shop-db --task report.json -- ./report`,
  positionals: [{ name: "RESOURCE", about: "the database, as sally ls names it" }],
  options: {
    tcp: { about: "give the command a TCP port on 127.0.0.1 instead of a Unix socket" },
    task: {
      value: "FILE",
      about: "start a task for the command and end it with the command; or a task's id",
    },
  },
  native: "COMMAND",
  run: async (context, given) => {
    const resource = given.positionals[0] ?? "";
    const [program, ...words] = given.native ?? [];
    if (program === undefined)
      return usage("no command to run", `name it after --: sally run ${resource} -- ./migrate`);
    if ((await protocolOf(context, resource)) === "http")
      return runWithHttp(context, resource, 0, program, words);
    const file = context.task !== undefined && !isTaskId(context.task) ? context.task : undefined;
    const details =
      file === undefined
        ? ok(undefined)
        : await readTaskFile(file, nonEmpty(context.environment["SALLY_TASK"]));
    if (!details.ok) return details;
    const own = details.value === undefined ? {} : { details: details.value };
    const inTask = { ...context, task: file === undefined ? context.task : undefined };
    const access = await openAccess(inTask, resource, own);
    if (!access.ok) return access;
    const task = await startedTask(access.value, file !== undefined);
    const endTask = async (): Promise<void> => {
      const { gateway, tokens } = access.value.options;
      if (task === undefined) return;
      const ended = await apiWith(gateway, tokens).call(Task, "DELETE", `/v1/tasks/${task}`, {
        reason: "its process has ended",
      });
      // The task may have run out while the command ran; anything else is worth knowing.
      if (!ended.ok && ended.error.code !== "task_ended") sayFailure(context.terminal, ended.error);
    };
    const door = await openDoor(context, access.value, given.flags.has("tcp") ? 0 : undefined);
    if (!door.ok) {
      await endTask();
      return door;
    }
    warnUnguarded(context, door.value);
    const { host, port } = door.value;
    const ended = await runNative({
      program,
      words,
      environment: postgresEnvironment(
        task === undefined ? context.environment : stepEnvironment(context.environment, task),
        {
          host,
          port,
          database: resource,
          user: access.value.user,
        },
      ),
      installHint: "check the spelling, or give its path",
    });
    await door.value.close(GOODBYE_MS);
    await endTask();
    return ended.ok ? ok(access.value.outcome.exitCode(ended.value)) : ended;
  },
};

/** Undefined where the gateway does not say, which the steps that follow then tell plainly. */
async function protocolOf(context: Context, resource: string): Promise<string | undefined> {
  // A task that is yet to be started cannot ask; it is for a database.
  if (context.task !== undefined) return undefined;
  const api = await openApi(context);
  const listed = api.ok ? await api.value.call(Resources, "GET", "/v1/resources") : api;
  return listed.ok ? listed.value.resources.find(({ name }) => name === resource)?.protocol : undefined;
}

/** The task that was started for the command; undefined where it runs in one that goes on after it, or in none. */
async function startedTask(access: Access, started: boolean): Promise<string | undefined> {
  const token = started ? await access.options.tokens.get() : undefined;
  return token?.ok === true ? token.value.task : undefined;
}

/** What would give the command more than the task is not in its environment. */
function stepEnvironment(from: Environment, task: string): Environment {
  const { SALLY_TOKEN: _token, SALLY_TOKEN_FILE: _file, SALLY_ACTOR_TOKEN_FILE: _actor, ...rest } = from;
  return { ...rest, SALLY_TASK: task };
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
