import { type Result, ok } from "../../../wire/result.ts";
import { Checked, Explained, type Principal, WhoAmI } from "../answers.ts";
import { type Api, openApi } from "../api.ts";
import type { Arguments } from "../arguments.ts";
import type { Command } from "../command.ts";
import { readConfigFiles } from "../config-files.ts";
import { type Failure, usage } from "../failure.ts";
import { fields, toJson, visible, visibleLine } from "../terminal.ts";

export const policyCheck: Command = {
  name: "policy check",
  summary: "check configuration and policies without applying them",
  about: `Each mistake is shown as file:line:column, as with sally apply --dry-run, but nothing is compared with
what is in force.

  sally policy check -f config`,
  positionals: [],
  options: { file: { short: "f", value: "DIR", required: true, about: "the directory, or a single file" } },
  run: async (context, given) => {
    const files = await readConfigFiles(given.values.get("file") ?? "");
    if (!files.ok) return files;
    const api = await openApi(context);
    if (!api.ok) return api;
    const answer = await api.value.call(Checked, "POST", "/v1/policy/check", { files: files.value });
    if (!answer.ok) return answer;
    const count = Object.keys(files.value).length;
    context.terminal.out(
      context.json ? `${toJson(answer.value)}\n` : `ok: ${count} ${count === 1 ? "file" : "files"}\n`,
    );
    return ok(0);
  },
};

export const policyExplain: Command = {
  name: "policy explain",
  summary: "show which policies decide a statement or a request, and how",
  about: `Nothing is run. Without --as it is you whom the decision is for.

  sally policy explain shop-db 'delete from orders'
  sally policy explain shop-db 'select * from customers' --as carol --groups dba,engineers
  sally policy explain orders-api 'DELETE /orders/1'

A request is written as in HTTP: its header fields and its body follow on lines of their own.`,
  positionals: [
    { name: "RESOURCE", about: "as sally ls names it" },
    { name: "SQL|REQUEST", about: "the statement, or METHOD /path, in quotes" },
  ],
  options: {
    as: {
      value: "SUBJECT",
      about: "decide for another principal (needs the right to read the configuration)",
    },
    groups: { value: "A,B", about: "with --as: the groups it is in" },
    issuer: { value: "URL", about: "with --as: its issuer (default: yours)" },
    workload: { about: "with --as: a workload, not a person" },
  },
  run: async (context, given) => {
    const api = await openApi(context);
    if (!api.ok) return api;
    const principal = await principalOf(api.value, given);
    if (!principal.ok) return principal;
    const [resource, sql] = given.positionals;
    const answer = await api.value.call(Explained, "POST", "/v1/policy/explain", {
      resource,
      sql,
      ...(principal.value === undefined ? {} : { principal: principal.value }),
    });
    if (!answer.ok) return answer;
    context.terminal.out(context.json ? `${toJson(answer.value)}\n` : describe(answer.value));
    return ok(0);
  },
};

async function principalOf(api: Api, given: Arguments): Promise<Result<Principal | undefined, Failure>> {
  const subject = given.values.get("as");
  if (subject === undefined) {
    const stray =
      ["groups", "issuer"].find((name) => given.values.has(name)) ??
      (given.flags.has("workload") ? "workload" : undefined);
    return stray === undefined ? ok(undefined) : usage(`--${stray} needs --as`);
  }
  let issuer = given.values.get("issuer");
  if (issuer === undefined) {
    const me = await api.call(WhoAmI, "GET", "/v1/whoami");
    if (!me.ok) return me;
    issuer = me.value.principal.issuer;
  }
  const groups = (given.values.get("groups") ?? "").split(",").map((group) => group.trim());
  return ok({
    type: given.flags.has("workload") ? "Workload" : "User",
    issuer,
    subject,
    name: subject,
    groups: groups.filter((group) => group !== ""),
  });
}

function describe(explained: Explained): string {
  const policies = (list: Explained["policies"]): string =>
    list.map(({ id, reason }) => (reason === undefined ? id : `${id} (${reason})`)).join(", ") || "none";
  const head = fields([
    ["decision", explained.effect],
    ["policies", policies(explained.policies)],
    ["needs", explained.requirements?.map(({ group, quorum }) => `${quorum} of ${group}`).join(" and ")],
    ["why", explained.refusal?.message],
    ["hint", explained.refusal?.hint],
  ]);
  const actions = explained.actions.map((action) => {
    const facts = Object.entries(action.facts).flatMap(([name, value]) => fact(name, value));
    return visibleLine(
      `  ${action.effect.padEnd(5)}  ${action.action}  by ${policies(action.policies)}${facts.length === 0 ? "" : `; ${facts.join("; ")}`}`,
    );
  });
  const parts = [head];
  if (actions.length > 0) parts.push(`actions:\n${actions.join("\n")}\n`);
  if (explained.rewritten !== undefined)
    parts.push(`sent to the database as:\n${visible(explained.rewritten)}\n`);
  if (explained.notes.length > 0)
    parts.push(explained.notes.map((note) => `note: ${visibleLine(note)}\n`).join(""));
  return parts.join("\n");
}

/** A fact in words; one that says nothing (an empty set, a WHERE that is there) is left out. */
function fact(name: string, value: unknown): string[] {
  if (Array.isArray(value)) return value.length === 0 ? [] : [`${name} ${value.join(", ")}`];
  if (name === "hasWhere") return value === false ? ["without where"] : [];
  return [`${name} ${String(value)}`];
}
