import { type Result, ok } from "../../../wire/result.ts";
import { Approval, Approvals } from "../answers.ts";
import { openApi } from "../api.ts";
import type { Arguments } from "../arguments.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { type Failure, usage } from "../failure.ts";
import { list, show } from "../listing.ts";
import { fields, say, shorten, toJson, visible } from "../terminal.ts";

const ID = { name: "APPROVAL", about: "the approval's id, apr_…" };
const COMMENT = { comment: { value: "TEXT", about: "a word to the requester; recorded" } };

export const approvalsLs: Command = {
  name: "approvals ls",
  summary: "list operations that wait for approval",
  positionals: [],
  options: { all: { short: "a", about: "decided and expired ones too" } },
  run: (context, given) => {
    const status = given.flags.has("all") ? "all" : "pending";
    return list(context, {
      schema: Approvals,
      path: `/v1/approvals?status=${status}`,
      columns: ["ID", "STATUS", "RESOURCE", "REQUESTER", "NEEDS", "EXPIRES", "OPERATION"],
      rows: ({ approvals }) =>
        approvals.map((approval) => [
          approval.id,
          approval.status,
          approval.resource,
          approval.requester.name,
          needs(approval),
          approval.expiresAt,
          shorten(approval.operation.text, 60),
        ]),
      empty: status === "all" ? "there has been no approval yet" : "nothing waits for approval",
    });
  },
};

export const approvalsShow: Command = {
  name: "approvals show",
  summary: "show a held operation in full",
  positionals: [ID],
  options: {},
  run: (context, given) =>
    show(
      context,
      Approval,
      describe,
      "GET",
      `/v1/approvals/${encodeURIComponent(given.positionals[0] ?? "")}`,
    ),
};

export const approvalsApprove: Command = {
  name: "approvals approve",
  summary: "let a held operation run",
  about: `What is approved is the exact statement with its parameters, once. Read it first with
sally approvals show. With --uses it is the statement's shape as shown there, that many times.`,
  positionals: [ID],
  options: {
    ...COMMENT,
    uses: {
      value: "N",
      about: "approve N statements of the same shape, this one included, where policy allows it",
    },
    until: { value: "TIME", about: "when that ends: 15:00, 2h or 2026-11-22T15:00:00Z; default 1h" },
  },
  run: (context, given) => decide(context, given, "approve"),
};

export const approvalsDeny: Command = {
  name: "approvals deny",
  summary: "refuse a held operation",
  positionals: [ID],
  options: COMMENT,
  run: (context, given) => decide(context, given, "deny"),
};

async function decide(
  context: Context,
  given: Arguments,
  verdict: "approve" | "deny",
): Promise<Result<number, Failure>> {
  const api = await openApi(context);
  if (!api.ok) return api;
  const id = given.positionals[0] ?? "";
  const comment = given.values.get("comment") ?? context.reason;
  const batch = readBatch(given, new Date());
  if (!batch.ok) return batch;
  const answer = await api.value.call(
    Approval,
    "POST",
    `/v1/approvals/${encodeURIComponent(id)}/${verdict}`,
    {
      ...(comment === undefined ? {} : { comment }),
      ...(batch.value === undefined ? {} : { batch: batch.value }),
    },
  );
  if (!answer.ok) return answer;
  const approval = answer.value;
  if (context.json) {
    context.terminal.out(`${toJson(approval)}\n`);
    return ok(0);
  }
  context.terminal.out(describe(approval));
  if (verdict === "approve" && approval.status === "pending") {
    say(context.terminal, "your approval counts; others are still needed");
  }
  return ok(0);
}

/** What `--uses` and `--until` ask for; a time of day is the next one that comes. */
function readBatch(
  given: Arguments,
  now: Date,
): Result<{ uses: number; until?: string } | undefined, Failure> {
  const [uses, until] = [given.values.get("uses"), given.values.get("until")];
  if (uses === undefined) {
    return until === undefined ? ok(undefined) : usage("--until belongs to --uses");
  }
  if (!/^[1-9][0-9]{0,3}$/.test(uses)) return usage("--uses is a number from 1");
  if (until === undefined) return ok({ uses: Number(uses) });
  const end = readTime(until, now);
  if (end === undefined) {
    return usage("--until is a time such as 15:00, 2h or 2026-11-22T15:00:00Z");
  }
  return ok({ uses: Number(uses), until: end.toISOString() });
}

const HOUR = 3_600_000;

function readTime(text: string, now: Date): Date | undefined {
  const [, amount, unit] = /^([1-9][0-9]{0,3})([mh])$/.exec(text) ?? [];
  if (amount !== undefined)
    return new Date(now.getTime() + Number(amount) * (unit === "h" ? HOUR : HOUR / 60));
  const [, hours, minutes] = /^([01]?[0-9]|2[0-3]):([0-5][0-9])$/.exec(text) ?? [];
  if (hours !== undefined && minutes !== undefined) {
    const at = new Date(now);
    at.setHours(Number(hours), Number(minutes), 0, 0);
    return at > now ? at : new Date(at.getTime() + 24 * HOUR);
  }
  const parsed = Date.parse(text);
  return Number.isFinite(parsed) && /^\d{4}-/.test(text) ? new Date(parsed) : undefined;
}

function needs(approval: Approval): string {
  return approval.requirements
    .map((requirement) =>
      requirement.quorum === 1 ? requirement.group : `${requirement.quorum} of ${requirement.group}`,
    )
    .join(" and ");
}

function describe(approval: Approval): string {
  const { operation } = approval;
  const parameters = operation.parameters?.map(
    (value, index) => `$${index + 1} = ${value === null ? "NULL" : JSON.stringify(value)}`,
  );
  const head = fields([
    ["approval", approval.id],
    ["status", approval.status],
    ["resource", approval.resource],
    [
      "requester",
      `${approval.requester.name} (${approval.requester.type.toLowerCase()}, ${approval.requester.subject} at ${approval.requester.issuer})`,
    ],
    ["groups", approval.requester.groups.join(", ")],
    ["reason", approval.reason],
    ["actions", operation.action.join(", ")],
    ["needs", needs(approval)],
    [
      "policies",
      approval.policies
        .map((policy) => (policy.reason === undefined ? policy.id : `${policy.id}: ${policy.reason}`))
        .join("\n"),
    ],
    ["session", approval.session],
    ["created", approval.createdAt],
    ["expires", approval.expiresAt],
    ...approval.decisions.map((decision): [string, string] => [
      decision.verdict === "approve" ? "approved" : "denied",
      `by ${decision.reviewer.name} at ${decision.at}${decision.comment === undefined ? "" : `: ${decision.comment}`}`,
    ]),
    ["escalated", approval.escalatedAt],
    ["relations", operation.relations === undefined ? undefined : relations(operation.relations)],
    ["estimate", approval.estimate === undefined ? undefined : estimate(approval.estimate)],
    ["hash", operation.hash],
    ["parameters", parameters === undefined || parameters.length === 0 ? undefined : parameters.join("\n")],
    [
      "batch",
      approval.batch === undefined
        ? approval.batchLimit === undefined
          ? undefined
          : `up to ${approval.batchLimit} uses can be approved at once (--uses), of: ${operation.shape?.text ?? ""}`
        : `${approval.batch.left} of ${approval.batch.uses} uses left until ${approval.batch.until}, of: ${operation.shape?.text ?? ""}`,
    ],
    [
      "before",
      approval.before
        ?.map(({ at, effect, text, rows }) =>
          [at, effect, shorten(text, 80), rows === undefined ? "" : `(${rows} rows)`].join(" ").trimEnd(),
        )
        .join("\n"),
    ],
    [
      "similar",
      approval.similar
        ?.map(({ id, status, requester, text, comment }) =>
          [id, status, requester.name, shorten(text, 60), comment ?? ""].join(" ").trimEnd(),
        )
        .join("\n"),
    ],
  ]);
  return `${head}\n${visible(operation.text)}\n`;
}

function relations({ reads, writes }: { readonly reads: string[]; readonly writes: string[] }): string {
  const parts = [
    ...(reads.length === 0 ? [] : [`reads ${reads.join(", ")}`]),
    ...(writes.length === 0 ? [] : [`changes ${writes.join(", ")}`]),
  ];
  return parts.length === 0 ? "none" : parts.join("; ");
}

function estimate(given: NonNullable<Approval["estimate"]>): string {
  return "rows" in given && typeof given.rows === "number"
    ? `${given.rows} rows, by the database's plan`
    : `unknown: ${String(given["unavailable"])}`;
}
