/** What a PostgreSQL session writes into its recording about operations, and what reviewers see of a held one. */
import { type Hash, createHash } from "node:crypto";
import { fromUtf8 } from "../../../wire/bytes.ts";
import type { Ask, BindParameters } from "../../../wire/postgres/machine-types.ts";
import type { Refusal } from "../../../wire/refusals.ts";
import type { HeldOperation } from "../../policy/approval.ts";
import type { Decision, Resource } from "../../policy/types.ts";
import type { EventBody } from "../recording/chain.ts";
import { statementEvidence } from "./postgres-evidence.ts";
import { toBase64 } from "./postgres-results.ts";
import type { Judged } from "./postgres-statements.ts";

/** An operation that is about to be forwarded; `approval` is the one that it used up. */
export function operationEvent(ask: Ask, judged: Judged, approval: string | undefined): EventBody {
  const { effect, policies } = judged.decision;
  const approved = approval === undefined ? {} : { approval };
  switch (ask.kind) {
    case "query":
    case "parse":
      return {
        type: ask.kind === "query" ? "statement" : "parse",
        operation: ask.id,
        text: ask.sql,
        ...(judged.sql === undefined ? {} : { rewritten: judged.sql, notes: judged.notes }),
        ...actionsOf(judged),
        decision: { effect, policies },
        ...approved,
      };
    case "bind":
      return {
        type: "statement",
        operation: ask.id,
        text: judged.operation.text,
        parameters: recordParameters(ask.parameters),
        ...actionsOf(judged),
        decision: { effect, policies },
        ...approved,
      };
    case "execute":
      return {
        type: "execute",
        operation: ask.id,
        ...(ask.bindId === undefined ? { cursor: ask.portal } : { of: ask.bindId }),
        decision: { effect },
        ...approved,
      };
  }
}

/** A refusal; `ask` and `judged` as far as it got. */
export function refusalEvent(
  operation: number,
  why: Refusal,
  ask: Ask | undefined,
  judged: Judged | undefined,
): EventBody {
  return {
    type: "refusal",
    operation,
    ...(ask === undefined ? {} : { message: ask.kind }),
    ...(ask !== undefined && "sql" in ask ? { text: ask.sql } : {}),
    ...(judged === undefined ? {} : actionsOf(judged)),
    decision: {
      effect: why.code === "approval_required" ? "hold" : "deny",
      ...(judged === undefined ? {} : { policies: judged.decision.policies }),
    },
    code: why.code,
    reason: why.message,
    ...(why.approval === undefined ? {} : { approval: why.approval }),
  };
}

export function holdEvent(
  ask: Ask,
  judged: Judged,
  operation: HeldOperation,
  decision: Extract<Decision, { effect: "hold" }>,
): EventBody {
  return {
    type: "hold",
    operation: ask.id,
    ...actionsOf(judged),
    text: operation.text,
    ...(operation.parameters === undefined ? {} : { parameters: operation.parameters }),
    hash: operation.hash,
    requirements: decision.requirements,
    policies: decision.policies,
  };
}

/** The operation as reviewers see it, bound to its exact bytes by its hash. */
export function heldOperation(resource: Resource, ask: Ask, judged: Judged): HeldOperation {
  const { text, actions } = judged.operation;
  const hash = createHash("sha256").update(JSON.stringify([resource.name, resource.protocol, text]));
  const parameters = ask.kind === "bind" ? ask.parameters : undefined;
  if (parameters !== undefined) hashParameters(hash, parameters);
  return {
    action: [...new Set(actions.map(({ action }) => action))],
    text,
    ...(parameters === undefined ? {} : { parameters: showParameters(parameters) }),
    hash: hash.digest("hex"),
    ...statementEvidence(resource, judged.operation, parameters?.values.length ?? 0),
  };
}

/** Values of the parameters as text, for the plan that reviewers are shown; "unknown" when one is not text. */
export function textValues(ask: Ask): "unknown" | (string | null)[] {
  if (ask.kind !== "bind") return [];
  const values: (string | null)[] = [];
  for (const [index, value] of ask.parameters.values.entries()) {
    const text = value === null || formatOf(ask.parameters, index) !== 0 ? undefined : fromUtf8(value);
    if (value !== null && text === undefined) return "unknown";
    values.push(text ?? null);
  }
  return values;
}

function actionsOf(judged: Judged): Record<string, unknown> {
  const { actions } = judged.operation;
  const facts = actions.map((action) => action.facts as { reads?: string[]; writes?: string[] });
  return {
    actions: [...new Set(actions.map(({ action }) => action))],
    reads: [...new Set(facts.flatMap(({ reads }) => reads ?? []))],
    writes: [...new Set(facts.flatMap(({ writes }) => writes ?? []))],
  };
}

/** Longest parameter value that the recording takes; of a longer one it has a digest. */
const RECORDED_PARAMETER = 64 << 10;

function recordParameters(parameters: BindParameters): unknown[] {
  return parameters.values.map((value, index) => {
    if (value === null) return null;
    if (value.length > RECORDED_PARAMETER) {
      return { bytes: value.length, sha256: createHash("sha256").update(value).digest("hex") };
    }
    return showParameter(value, formatOf(parameters, index));
  });
}

function showParameters(parameters: BindParameters): (string | null)[] {
  return parameters.values.map((value, index) => {
    if (value === null) return null;
    const shown = showParameter(value.subarray(0, RECORDED_PARAMETER), formatOf(parameters, index));
    return value.length > RECORDED_PARAMETER ? `${shown}… (${value.length} bytes)` : shown;
  });
}

function showParameter(value: Uint8Array, format: number): string {
  const text = format === 0 ? fromUtf8(value) : undefined;
  return text ?? `base64:${toBase64(value)}`;
}

/** One format stands for all, none for text (PostgreSQL docs 54.7, Bind). */
function formatOf({ formats }: BindParameters, index: number): number {
  return formats.length === 1 ? (formats[0] ?? 0) : (formats[index] ?? 0);
}

function hashParameters(hash: Hash, parameters: BindParameters): void {
  for (const [index, value] of parameters.values.entries()) {
    const length = value === null ? -1 : value.length;
    hash.update(`\n${formatOf(parameters, index)} ${length}\n`);
    if (value !== null) hash.update(value);
  }
}
