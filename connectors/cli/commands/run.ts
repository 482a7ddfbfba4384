import { type Result, ok } from "../../../wire/result.ts";
import type { Command } from "../command.ts";
import { type Failure, usage } from "../failure.ts";
import { resolveGateway } from "../gateway.ts";
import { runNative } from "../native-client.ts";
import { Resources, Task } from "../answers.ts";
import { type Api, apiWith, openApi } from "../api.ts";
import { type CommandDoor, openCommandDoor } from "../command-door.ts";
import { sessionTokens } from "../session-token.ts";
import { isTaskId, readTaskFile } from "../task-file.ts";
import { sayFailure } from "../terminal.ts";
import type { Context, Environment } from "../context.ts";

export const run: Command = {
  name: "run",
  summary: "run a command with PGHOST, DATABASE_URL, KUBECONFIG … set",
  about: `The command finds the database through PGHOST, PGPORT, PGDATABASE, PGUSER, PGSSLMODE and
PGGSSENCMODE, or through DATABASE_URL. PGHOST is the directory of a Unix socket that only you can
use: libpq (psql, Python, Ruby, PHP), node-postgres and pgx take that. A client that does not (JDBC,
postgres.js with DATABASE_URL) gets a port on 127.0.0.1 with --tcp. Exit codes are as with sally psql.

  sally run shop-db -- ./migrate
  sally run shop-db --tcp -- java -jar report.jar

For an HTTP service the command finds a port on 127.0.0.1 in a variable named after it (see sally http):

  sally run orders-api -- sh -c 'curl -s $ORDERS_API_URL/orders'

For a server it finds a file for ssh -F in SALLY_SSH_CONFIG; git and rsync use it by themselves:

  sally run web-1 -- sh -c 'ssh -F "$SALLY_SSH_CONFIG" web-1 uptime'

For a cluster it finds a kubeconfig in KUBECONFIG, as kubectl, Helm and k9s do:

  sally run prod -- helm list --all-namespaces

With --task FILE the command gets the rights of exactly that task (as for sally tasks start), which ends with
it: PGHOST and the like lead into the task, and SALLY_TASK names it. The tokens of this sally are not passed
on.

  sally run shop-db --task report.json -- ./report`,
  positionals: [{ name: "RESOURCE", about: "the resource, as sally ls names it" }],
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
    const file = context.task !== undefined && !isTaskId(context.task) ? context.task : undefined;
    const details =
      file === undefined
        ? ok(undefined)
        : await readTaskFile(file, nonEmpty(context.environment["SALLY_TASK"]));
    if (!details.ok) return details;
    const inTask = { ...context, task: file === undefined ? context.task : undefined };
    const gateway = await resolveGateway(context);
    if (!gateway.ok) return gateway;
    const protocol = await protocolOf(inTask, resource);
    const tokens = sessionTokens(inTask, gateway.value, [resource], {
      ...(details.value === undefined ? {} : { details: details.value }),
      unbound: protocol === "http" || protocol === "kubernetes",
    });
    const token = await tokens.get();
    if (!token.ok) return token;
    const task = file === undefined ? undefined : token.value.task;
    const environment = task === undefined ? context.environment : stepEnvironment(context.environment, task);
    const door = await openCommandDoor(inTask, protocol, { resource, tokens, tcp: given.flags.has("tcp") });
    const ended = door.ok ? await runBehind(door.value, environment, program, words) : door;
    if (task !== undefined) await endTask(context, apiWith(gateway.value, tokens), task);
    return ended;
  },
};

async function runBehind(
  door: CommandDoor,
  environment: Environment,
  program: string,
  words: readonly string[],
): Promise<Result<number, Failure>> {
  const installHint = "check the spelling, or give its path";
  const ended = await runNative({ program, words, environment: door.environment(environment), installHint });
  await door.close();
  return ended.ok ? ok(door.outcome.exitCode(ended.value)) : ended;
}

/** Undefined where the gateway does not say, which the steps that follow then tell plainly. */
async function protocolOf(context: Context, resource: string): Promise<string | undefined> {
  const api = await openApi(context);
  const listed = api.ok ? await api.value.call(Resources, "GET", "/v1/resources") : api;
  return listed.ok ? listed.value.resources.find(({ name }) => name === resource)?.protocol : undefined;
}

async function endTask(context: Context, api: Api, task: string): Promise<void> {
  const ended = await api.call(Task, "DELETE", `/v1/tasks/${task}`, { reason: "its process has ended" });
  // The task may have run out while the command ran; anything else is worth knowing.
  if (!ended.ok && ended.error.code !== "task_ended") sayFailure(context.terminal, ended.error);
}

/** What would give the command more than the task is not in its environment. */
function stepEnvironment(from: Environment, task: string): Environment {
  const { SALLY_TOKEN: _token, SALLY_TOKEN_FILE: _file, SALLY_ACTOR_TOKEN_FILE: _actor, ...rest } = from;
  return { ...rest, SALLY_TASK: task };
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
