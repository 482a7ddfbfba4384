/**
 * How many rows a held statement is expected to touch: PostgreSQL's plan for the text that would be sent, by
 * EXPLAIN on a connection of the connector's own. Nothing of it runs. Planning may call functions that are
 * marked immutable, so a statement with functions that are not known is not planned.
 */
import { fromUtf8, utf8 } from "../../../wire/bytes.ts";
import type { PostgresExplainOpen, PostgresExplainQuestion } from "../../../wire/control.ts";
import { LIMITS } from "../../../wire/limits.ts";
import type { Estimate } from "../../policy/approval.ts";
import { ALLOWED_FUNCTIONS } from "../../policy/masks/builtin-functions.ts";
import type { Operation } from "../../policy/types.ts";
import type { SessionHost } from "./driver.ts";
import { askConnector } from "./read-channel.ts";

const PLANNED: ReadonlySet<string> = new Set(["select", "insert", "update", "delete", "merge"]);

export type EstimateQuestion = PostgresExplainQuestion & {
  readonly operation: Operation;
  readonly parameters: Readonly<Record<string, string>>;
};

/** Never rejects; where there is no estimate it says why, in words for reviewers. */
export async function estimateRows(
  host: SessionHost,
  { operation, parameters, sql, values }: EstimateQuestion,
): Promise<Estimate> {
  const problem = planProblem(operation, host.resource.trustedFunctions);
  if (problem !== undefined) return { unavailable: problem };
  const payload: PostgresExplainOpen = {
    protocol: "postgres-explain",
    resource: host.resource.name,
    parameters,
  };
  const question: PostgresExplainQuestion = { sql, values };
  const answer = await askConnector(host, payload, LIMITS.approvals.plan, utf8(JSON.stringify(question)));
  if (!answer.ok) return { unavailable: answer.error.message };
  try {
    return readPlan(JSON.parse(fromUtf8(answer.value) ?? ""));
  } catch {
    return { unavailable: "the database's plan was not understood" };
  }
}

function planProblem({ actions }: Operation, trusted: readonly string[]): string | undefined {
  for (const { action, facts } of actions) {
    if (!action.startsWith("postgres:") || !PLANNED.has(action.slice("postgres:".length))) {
      return "only queries and changes of rows have a plan";
    }
    const { functions } = facts as { readonly functions: readonly string[] };
    const unknown = functions.find(
      (name) => !ALLOWED_FUNCTIONS.has(name.replace(/^pg_catalog\./, "")) && !trusted.includes(name),
    );
    if (unknown !== undefined) return `it calls ${unknown}, which planning could run`;
  }
  return undefined;
}

type Plan = {
  readonly node: string;
  readonly rows: number;
  readonly relation: string | undefined;
  readonly plans: readonly Plan[];
};

/** What PostgreSQL's plan (FORMAT JSON) says of rows; numbers and names of relations only. */
export function readPlan(json: unknown): Estimate {
  const [first] = Array.isArray(json) ? (json as unknown[]) : [];
  const root = (first as { readonly Plan?: Record<string, unknown> } | undefined)?.Plan;
  if (root === undefined) return { unavailable: "the database gave no plan" };
  const plan = toPlan(root, 0);
  const nodes = flatten(plan);
  // A ModifyTable itself delivers no rows: it changes those of the plan under it.
  const changes = nodes.filter(({ node }) => node === "ModifyTable");
  const rows =
    changes.length === 0
      ? plan.rows
      : changes.reduce((sum, { plans, rows: own }) => sum + (plans[0]?.rows ?? own), 0);
  const relations = new Map<string, number>();
  for (const { node, relation, rows: touched } of nodes) {
    if (relation !== undefined && node !== "ModifyTable") {
      relations.set(relation, (relations.get(relation) ?? 0) + touched);
    }
  }
  const cost = root["Total Cost"];
  return {
    rows,
    cost: typeof cost === "number" ? cost : 0,
    relations: [...relations].map(([relation, touched]) => ({ relation, rows: touched })),
  };
}

const MAX_DEPTH = 100;

function toPlan(node: Record<string, unknown>, depth: number): Plan {
  const { "Node Type": type, "Plan Rows": rows, Schema: schema, "Relation Name": name, Plans: below } = node;
  const plans = Array.isArray(below) && depth < MAX_DEPTH ? (below as Record<string, unknown>[]) : [];
  return {
    node: typeof type === "string" ? type : "",
    rows: typeof rows === "number" ? rows : 0,
    relation: typeof name !== "string" ? undefined : typeof schema === "string" ? `${schema}.${name}` : name,
    plans: plans.map((plan) => toPlan(plan, depth + 1)),
  };
}

function flatten(plan: Plan): Plan[] {
  return [plan, ...plan.plans.flatMap(flatten)];
}
