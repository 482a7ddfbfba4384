import { z } from "zod";
import { ok } from "../../../wire/result.ts";
import { Revocation, Revocations, Session, SigningKeys, Task } from "../answers.ts";
import { openApi } from "../api.ts";
import type { Command } from "../command.ts";
import { list } from "../listing.ts";
import { usage } from "../failure.ts";
import { isTaskId } from "../task-file.ts";
import { say, table, toJson } from "../terminal.ts";

export const revoke: Command = {
  name: "revoke",
  summary: "trust a principal, a task or a session no more, now",
  about: `WHAT is a session (ses_…), a task (tsk_…), or a person or workload as ISSUER#SUBJECT: both are in
sally sessions show. Live sessions end within seconds and every token from before is refused. A revoked
principal gets no new token either until sally revocations lift; with --tokens-only a new login is enough.

  sally revoke 'https://login.example.com#alice' --reason 'left the company'`,
  positionals: [{ name: "WHAT", about: "ses_…, tsk_… or ISSUER#SUBJECT" }],
  options: { "tokens-only": { about: "refuse only what was issued until now" } },
  run: async (context, given) => {
    const what = given.positionals[0] ?? "";
    const api = await openApi(context);
    if (!api.ok) return api;
    const reason = context.reason === undefined ? {} : { reason: context.reason };
    const id = encodeURIComponent(what);
    if (what.startsWith("ses_")) {
      const killed = await api.value.call(Session, "POST", `/v1/sessions/${id}/kill`, reason);
      if (!killed.ok) return killed;
      if (context.json) context.terminal.out(`${toJson(killed.value)}\n`);
      else say(context.terminal, `session ${what} has ended`);
      return ok(0);
    }
    if (isTaskId(what)) {
      const ended = await api.value.call(Task, "DELETE", `/v1/tasks/${id}`, reason);
      if (!ended.ok) return ended;
      if (context.json) context.terminal.out(`${toJson(ended.value)}\n`);
      else say(context.terminal, `task ${what} has ended`);
      return ok(0);
    }
    const hash = what.indexOf("#");
    if (hash <= 0) return usage(`${what} is not a session, a task or ISSUER#SUBJECT`);
    const revoked = await api.value.call(Revocation, "POST", "/v1/revocations", {
      issuer: what.slice(0, hash),
      subject: what.slice(hash + 1),
      tokensOnly: given.flags.has("tokens-only"),
      ...reason,
    });
    if (!revoked.ok) return revoked;
    if (context.json) context.terminal.out(`${toJson(revoked.value)}\n`);
    else say(context.terminal, `revoked; lift it with: sally revocations lift ${revoked.value.id}`);
    return ok(0);
  },
};

export const revocationsLs: Command = {
  name: "revocations ls",
  summary: "list revoked principals",
  positionals: [],
  options: {},
  run: (context) =>
    list(context, {
      schema: Revocations,
      path: "/v1/revocations",
      columns: ["ID", "PRINCIPAL", "SINCE", "BY", "NEW TOKENS", "REASON"],
      rows: ({ revocations }) =>
        revocations.map(({ id, issuer, subject, at, by, tokensOnly, reason }) => [
          id,
          `${issuer}#${subject}`,
          at,
          by,
          tokensOnly ? "accepted" : "refused",
          reason ?? "-",
        ]),
      empty: "nobody is revoked",
    }),
};

export const revocationsLift: Command = {
  name: "revocations lift",
  summary: "trust a revoked principal again",
  positionals: [{ name: "REVOCATION", about: "its id (rev_…)" }],
  options: {},
  run: async (context, given) => {
    const id = given.positionals[0] ?? "";
    const api = await openApi(context);
    if (!api.ok) return api;
    const lifted = await api.value.call(z.unknown(), "DELETE", `/v1/revocations/${encodeURIComponent(id)}`);
    if (!lifted.ok) return lifted;
    if (context.json) context.terminal.out(`${toJson({ id, lifted: true })}\n`);
    else say(context.terminal, `revocation ${id} is lifted`);
    return ok(0);
  },
};

export const keysLs: Command = {
  name: "keys ls",
  summary: "list the gateway's signing keys",
  positionals: [],
  options: {},
  run: async (context) => showKeys(context, "GET", "/v1/keys"),
};

export const keysRotate: Command = {
  name: "keys rotate",
  summary: "give the gateway a new signing key",
  about: `The new key is published at once and signs two minutes later; tokens of the old one stay good until they
end. The gateway does this by itself every tokens.rotateKeys (30 days by default).`,
  positionals: [],
  options: {},
  run: async (context) => showKeys(context, "POST", "/v1/keys/rotate"),
};

async function showKeys(
  context: Parameters<Command["run"]>[0],
  method: "GET" | "POST",
  path: string,
): ReturnType<Command["run"]> {
  const api = await openApi(context);
  if (!api.ok) return api;
  const answer = await api.value.call(SigningKeys, method, path);
  if (!answer.ok) return answer;
  if (context.json) context.terminal.out(`${toJson(answer.value)}\n`);
  else {
    context.terminal.out(
      table(
        ["KEY", "STATUS", "SIGNS FROM", "VERIFIES UNTIL"],
        answer.value.keys.map(({ kid, status, signsFrom, verifiesUntil }) => [
          kid,
          status,
          signsFrom,
          verifiesUntil ?? "-",
        ]),
      ),
    );
  }
  return ok(0);
}
