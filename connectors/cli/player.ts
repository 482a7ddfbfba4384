/**
 * A recording as a person reads it. Every event is shown: one of a type or form that this version does not
 * know is shown as its JSON, so that nothing in a recording is silently left out.
 */
import { z } from "zod";
import type { Hashed } from "./chain.ts";
import { httpLinesOf } from "./player-http.ts";
import { sshLinesOf } from "./player-ssh.ts";
import { toJson, visible, visibleLine } from "./terminal.ts";

export type Player = { readonly text: (event: Hashed) => string };

const Named = z.looseObject({ name: z.string() });
const PolicyNote = z.looseObject({ id: z.string() });
const Decision = z.looseObject({ effect: z.string(), policies: z.array(PolicyNote).optional() });
const Parameter = z.unknown();
const Value = z.union([z.string(), z.null(), z.looseObject({ base64: z.string() })]);
type Value = z.infer<typeof Value>;

const Operation = {
  operation: z.number(),
  text: z.string().optional(),
  parameters: z.array(Parameter).optional(),
  rewritten: z.string().optional(),
  notes: z.array(z.string()).optional(),
  approval: z.string().optional(),
};
const Rows = {
  columns: z.array(Named).optional(),
  rows: z.array(z.array(Value)).optional(),
  copied: z.string().optional(),
};

/** The events of worker/objects/session, as far as they are shown. */
const Body = z.discriminatedUnion("type", [
  z.looseObject({
    type: z.literal("session"),
    session: z.string(),
    resource: z.string(),
    protocol: z.string(),
    principal: z.looseObject({ type: z.string(), name: z.string(), groups: z.array(z.string()) }),
    reason: z.string().optional(),
  }),
  z.looseObject({ type: z.literal("opened"), database: z.string() }),
  z.looseObject({ type: z.literal("statement"), ...Operation, decision: Decision }),
  z.looseObject({ type: z.literal("parse"), ...Operation, decision: Decision }),
  z.looseObject({
    type: z.literal("execute"),
    ...Operation,
    of: z.number().optional(),
    cursor: z.string().optional(),
    decision: Decision,
  }),
  z.looseObject({
    type: z.literal("hold"),
    ...Operation,
    requirements: z.array(z.looseObject({ group: z.string(), quorum: z.number() })),
  }),
  z.looseObject({
    type: z.literal("approval"),
    operation: z.number(),
    approval: z.string(),
    outcome: z.string(),
    by: z.array(z.string()),
    comment: z.string().optional(),
  }),
  z.looseObject({
    type: z.literal("withdrawn"),
    operation: z.number(),
    approval: z.string(),
    reason: z.string(),
  }),
  z.looseObject({
    type: z.literal("refusal"),
    ...Operation,
    decision: Decision,
    code: z.string(),
    reason: z.string(),
  }),
  z.looseObject({ type: z.literal("rows"), operation: z.number(), ...Rows }),
  z.looseObject({
    type: z.literal("result"),
    operation: z.number(),
    tag: z.string(),
    rowCount: z.number(),
    bytes: z.number().optional(),
    truncated: z.boolean().optional(),
    milliseconds: z.number().optional(),
    ...Rows,
  }),
  z.looseObject({
    type: z.literal("error"),
    operation: z.number(),
    sqlstate: z.string(),
    message: z.string(),
    ...Rows,
  }),
  z.looseObject({ type: z.literal("renewed"), expiresAt: z.string() }),
  z.looseObject({ type: z.literal("cancel_request") }),
  z.looseObject({ type: z.literal("end"), reason: z.string(), message: z.string().optional() }),
]);
type Body = z.infer<typeof Body>;

export function newPlayer(): Player {
  return {
    text: ({ at, body }) => {
      const parsed = Body.safeParse(body);
      const [first = "", ...more] = parsed.success
        ? linesOf(parsed.data)
        : (httpLinesOf(body) ?? sshLinesOf(body) ?? [`${body.type}  ${toJson(body)}`]);
      const time = timeOf(at);
      // Further lines stand below the first one's text, also those of a statement that has several.
      const indented = more
        .flatMap((line) => visible(line).split("\n"))
        .map((line) => `${" ".repeat(time.length + 2)}${line}\n`);
      return `${time}  ${visibleLine(first)}\n${indented.join("")}`;
    },
  };
}

function timeOf(at: string): string {
  return visibleLine(at.replace("T", " ").replace(/Z$/, ""));
}

function linesOf(body: Body): string[] {
  switch (body.type) {
    case "session": {
      const { principal } = body;
      const who = `${principal.name} (${principal.type.toLowerCase()}, ${principal.groups.join(", ") || "no groups"})`;
      return [
        `session ${body.session} on ${body.resource} (${body.protocol}) by ${who}`,
        ...optional("reason", body.reason),
      ];
    }
    case "opened":
      return [`connected to database ${body.database}`];
    case "statement":
      return [`[${body.operation}] ${ranBy(body)}`, ...statementOf(body)];
    case "parse":
      return [`[${body.operation}] prepared: ${decisionOf(body.decision)}`, ...statementOf(body)];
    case "execute": {
      const what = body.of === undefined ? `cursor ${body.cursor ?? ""}` : `[${body.of}]`;
      return [`[${body.operation}] runs ${what}: ${ranBy(body)}`, ...statementOf(body)];
    }
    case "hold": {
      const needs = body.requirements.map(({ group, quorum }) => `${quorum} of ${group}`).join(" and ");
      return [`[${body.operation}] held: needs ${needs}`, ...statementOf(body)];
    }
    case "approval":
      return [
        `[${body.operation}] approval ${body.approval} ${body.outcome}${body.by.length === 0 ? "" : ` by ${body.by.join(", ")}`}`,
        ...optional("comment", body.comment),
      ];
    case "withdrawn":
      return [`[${body.operation}] approval ${body.approval} withdrawn: ${body.reason}`];
    case "refusal":
      return [
        `[${body.operation}] refused: ${decisionOf(body.decision)}`,
        ...statementOf(body),
        `${body.code}: ${body.reason}`,
      ];
    case "rows":
      return [`[${body.operation}] rows`, ...rowsOf(body)];
    case "result":
      return [
        `[${body.operation}] ${body.tag === "" ? "empty" : body.tag}${body.milliseconds === undefined ? "" : ` in ${body.milliseconds} ms`}`,
        ...rowsOf(body),
        ...truncation(body),
      ];
    case "error":
      return [`[${body.operation}] error ${body.sqlstate}: ${body.message}`, ...rowsOf(body)];
    case "renewed":
      return [`token renewed until ${body.expiresAt}`];
    case "cancel_request":
      return ["cancel requested"];
    case "end":
      return [`end: ${body.reason}${body.message === undefined ? "" : `: ${body.message}`}`];
  }
}

function decisionOf({ effect, policies = [] }: z.infer<typeof Decision>): string {
  return policies.length === 0 ? effect : `${effect} by ${policies.map(({ id }) => id).join(", ")}`;
}

/** Why an operation ran: policies allowed it, or held it until it was approved. */
function ranBy(body: { decision: z.infer<typeof Decision>; approval?: string | undefined }): string {
  const decision = decisionOf(body.decision);
  return body.approval === undefined ? decision : `approved (${body.approval}; ${decision})`;
}

function statementOf(body: {
  text?: string | undefined;
  parameters?: readonly unknown[] | undefined;
  rewritten?: string | undefined;
  notes?: readonly string[] | undefined;
}): string[] {
  return [
    ...(body.text === undefined ? [] : [body.text]),
    ...(body.parameters ?? []).map(
      (value, index) =>
        `$${index + 1} = ${typeof value === "string" ? JSON.stringify(value) : toJson(value)}`,
    ),
    ...optional("sent as", body.rewritten),
    ...(body.notes ?? []).map((note) => `note: ${note}`),
  ];
}

function optional(label: string, text: string | undefined): string[] {
  return text === undefined ? [] : [`${label}: ${text}`];
}

/** Rows below their columns' names; what was copied, as it went. */
function rowsOf({
  columns,
  rows = [],
  copied,
}: {
  columns?: { name: string }[] | undefined;
  rows?: Value[][] | undefined;
  copied?: string | undefined;
}): string[] {
  const header = columns === undefined || columns.length === 0 ? [] : [columns.map(({ name }) => name)];
  const lines = [...header, ...rows.map((row) => row.map(cell))].map((row) => row.map(visibleLine));
  const widths: number[] = [];
  for (const line of lines)
    line.forEach((text, column) => (widths[column] = Math.max(widths[column] ?? 0, text.length)));
  const shown = lines.map((line) =>
    line
      .map((text, column) => (column === line.length - 1 ? text : text.padEnd(widths[column] ?? 0)))
      .join(" | "),
  );
  return copied === undefined ? shown : [...shown, ...copied.replace(/\n$/, "").split("\n")];
}

function cell(value: Value): string {
  if (value === null) return "(null)";
  return typeof value === "string" ? value : `base64:${value.base64}`;
}

function truncation(body: {
  truncated?: boolean | undefined;
  rowCount: number;
  bytes?: number | undefined;
}): string[] {
  return body.truncated === true
    ? [
        `(the recording keeps a part of these ${body.rowCount} rows, ${body.bytes ?? 0} bytes, and a digest of all)`,
      ]
    : [];
}
