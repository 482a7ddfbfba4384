import { EXIT } from "../../../wire/refusals.ts";
import { ok } from "../../../wire/result.ts";
import { type Task, Task as TaskAnswer, Tasks } from "../answers.ts";
import { openApi } from "../api.ts";
import type { Command } from "../command.ts";
import { fail, usage } from "../failure.ts";
import { resolveGateway } from "../gateway.ts";
import { sessionTokens } from "../session-token.ts";
import { list } from "../listing.ts";
import { readTaskFile } from "../task-file.ts";
import { fields, toJson } from "../terminal.ts";

const ID = { name: "TASK", about: "the task's id" };

export const tasksStart: Command = {
  name: "tasks start",
  summary: "start a task: a narrower, short-lived right for one step of a workflow",
  about: `FILE holds what the task may do, in JSON (docs/identity.md):

  { "name": "nightly report", "resources": ["shop-db"], "actions": ["postgres:select"],
    "relations": ["orders"], "max_operations": 20, "max_rows": 10000, "expires_in": 600 }

Started from a token for a task (SALLY_TOKEN, --task), it is part of that one and cannot be wider. Prints
the task's id. With --json also a token for it, good for at most 15 minutes, that whoever runs the step
uses as SALLY_TOKEN; keep it out of logs.

  sally tasks start --from step.json
  sally psql shop-db --task tsk_…`,
  positionals: [],
  options: { from: { value: "FILE", required: true, about: "what the task may do; - for standard input" } },
  run: async (context, given) => {
    const from = given.values.get("from");
    if (from === undefined) return usage("--from is missing", "sally tasks start --from FILE");
    const details = await readTaskFile(from, context.task);
    if (!details.ok) return details;
    const gateway = await resolveGateway(context);
    if (!gateway.ok) return gateway;
    // The token is for somebody else to use, so it cannot be bound to this process; without --json nobody gets it.
    const options = { details: details.value, unbound: context.json };
    const token = await sessionTokens({ ...context, task: undefined }, gateway.value, [], options).get();
    if (!token.ok) return token;
    const { task } = token.value;
    if (task === undefined) return fail(EXIT.failed, `the gateway ${gateway.value} knows no tasks`);
    context.terminal.out(
      context.json
        ? `${toJson({ task, access_token: token.value.token, expiresAt: new Date(token.value.expiresAt).toISOString() })}\n`
        : `${task}\n`,
    );
    return ok(0);
  },
};

export const tasksLs: Command = {
  name: "tasks ls",
  summary: "list your tasks that have not ended",
  positionals: [],
  options: { all: { about: "ended ones too" } },
  run: (context, given) =>
    list(context, {
      schema: Tasks,
      path: `/v1/tasks?status=${given.flags.has("all") ? "all" : "open"}`,
      columns: ["ID", "NAME", "STATUS", "PART OF", "FOR", "BY", "OPERATIONS", "ROWS", "DEADLINE"],
      rows: ({ tasks }) =>
        tasks.map((task) => [
          task.id,
          task.name === "" ? "-" : task.name,
          task.status,
          task.parent ?? "-",
          task.principal.name,
          task.actors[0]?.name ?? "-",
          budget(task, "operations"),
          budget(task, "rows"),
          task.deadline,
        ]),
      empty: "there is no such task",
    }),
};

export const tasksShow: Command = {
  name: "tasks show",
  summary: "show a task, what it covers and what it has used",
  positionals: [ID],
  options: {},
  run: async (context, given) => {
    const api = await openApi(context);
    if (!api.ok) return api;
    const id = given.positionals[0] ?? "";
    const answer = await api.value.call(TaskAnswer, "GET", `/v1/tasks/${encodeURIComponent(id)}`);
    if (!answer.ok) return answer;
    context.terminal.out(context.json ? `${toJson(answer.value)}\n` : describe(answer.value));
    return ok(0);
  },
};

export const tasksEnd: Command = {
  name: "tasks end",
  summary: "end a task, with all tokens, tasks and sessions beneath it",
  positionals: [ID],
  options: {},
  run: async (context, given) => {
    const api = await openApi(context);
    if (!api.ok) return api;
    const id = given.positionals[0] ?? "";
    const answer = await api.value.call(
      TaskAnswer,
      "DELETE",
      `/v1/tasks/${encodeURIComponent(id)}`,
      context.reason === undefined ? {} : { reason: context.reason },
    );
    if (!answer.ok) return answer;
    context.terminal.out(context.json ? `${toJson(answer.value)}\n` : describe(answer.value));
    return ok(0);
  },
};

/** `12 of 20`; a task that does not limit them does not count them either. */
function budget({ used, authorization_details: details }: Task, what: "operations" | "rows"): string {
  const most = details[0]?.[`max_${what}`];
  return typeof most === "number" ? `${used[what]} of ${most}` : "unlimited";
}

function describe(task: Task): string {
  return fields([
    ["task", task.id],
    ["name", task.name],
    ["status", task.status],
    ["because", task.endReason],
    ["part of", task.parent],
    ["for", task.principal.name],
    ["by", task.actors.map(({ name }) => name).join(", on behalf of ")],
    ["operations", budget(task, "operations")],
    ["rows", budget(task, "rows")],
    ["started", task.createdAt],
    ["deadline", task.deadline],
    ...task.authorization_details.map(
      (right) =>
        [
          "covers",
          [...listed(right["actions"]), "on", ...listed(right["resources"]), bounds(right)].join(" "),
        ] as const,
    ),
  ]);
}

function listed(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

function bounds(right: Readonly<Record<string, unknown>>): string {
  return ["relations", "functions", "commands", "namespaces", "paths"]
    .filter((fact) => right[fact] !== undefined)
    .map((fact) => `(${fact}: ${listed(right[fact]).join(", ")})`)
    .join(" ");
}
