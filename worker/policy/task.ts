/**
 * Tasks: delegated, narrower, short-lived authority (DESIGN section 8, RFC 9396). Pure.
 *
 * A task holds rights and limits. It never permits what policy does not: it only takes away. Tasks form a
 * tree; an operation has to be covered by every task from the root down to the one it runs under, so that a
 * child can never do more than its parent even where the check at its creation should have been wrong.
 */
import { LIMITS } from "../../wire/limits.ts";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { ALLOWED_FUNCTIONS } from "./masks/builtin-functions.ts";
import type { Action, Decision, HoldRequirement, Operation, Principal } from "./types.ts";

/** Facts that a right may bind, beside resource and action. A list that is there has to cover the fact. */
export const TASK_FACTS = ["relations", "functions", "commands", "namespaces", "paths"] as const;
export type TaskFact = (typeof TASK_FACTS)[number];

/** One `authorization_details` object: what may be done, on which resources. */
export type TaskRight = {
  readonly resources: readonly string[];
  /** `postgres:select`, or `postgres:*` for all of a protocol. */
  readonly actions: readonly string[];
  /** Every operation that only this right covers is held for this group. */
  readonly approval?: { readonly group: string; readonly quorum: number };
} & { readonly [fact in TaskFact]?: readonly string[] };

/** What binds the whole task, whichever of its rights is used. */
export type TaskLimits = {
  /** Statements, commands, requests; null for no limit of its own. */
  readonly maxOperations: number | null;
  readonly maxRows: number | null;
  /** Milliseconds since the epoch. */
  readonly deadline: number;
};

export type TaskTerms = TaskLimits & { readonly rights: readonly TaskRight[] };

/** A task as far as deciding needs it. */
export type TaskStep = {
  readonly id: string;
  readonly name: string;
  readonly terms: TaskTerms;
  /** On whose behalf it runs, and who runs it, the one that acts first. */
  readonly principal: Principal;
  readonly actors: readonly Principal[];
};

/**
 * The terms of a child that asks for `asked` under `parent`: limits that it leaves out are its parent's.
 * Refuses whatever would be wider than the parent; the text says what.
 */
export function narrow(
  parent: TaskTerms,
  asked: Omit<TaskTerms, "deadline"> & { readonly deadline: number | null },
): Result<TaskTerms, string> {
  const wider = asked.rights.findIndex((right) => !isRightWithin(right, parent.rights));
  if (wider >= 0) return err(`right ${wider + 1} goes beyond the task that it is part of`);
  const limits = { maxOperations: "max_operations", maxRows: "max_rows", deadline: "deadline" } as const;
  for (const limit of ["maxOperations", "maxRows", "deadline"] as const) {
    const [most, wanted] = [parent[limit], asked[limit]];
    if (most !== null && wanted !== null && wanted > most) {
      return err(`${limits[limit]} goes beyond the task that it is part of`);
    }
  }
  return ok({
    rights: asked.rights,
    maxOperations: asked.maxOperations ?? parent.maxOperations,
    maxRows: asked.maxRows ?? parent.maxRows,
    deadline: asked.deadline ?? parent.deadline,
  });
}

/** Whether everything that `right` covers is covered by some of `parents` too, resource by resource and action by action. */
function isRightWithin(right: TaskRight, parents: readonly TaskRight[]): boolean {
  return right.resources.every((resource) =>
    right.actions.every((action) =>
      parents.some(
        (parent) =>
          parent.resources.includes(resource) &&
          parent.actions.some((pattern) => isActionWithin(action, pattern)) &&
          TASK_FACTS.every((fact) => areFactsWithin(fact, right[fact], parent[fact])) &&
          callsWithin(right, parent),
      ),
    ),
  );
}

function isActionWithin(action: string, pattern: string): boolean {
  return action === pattern || (pattern.endsWith(":*") && action.startsWith(pattern.slice(0, -1)));
}

/** A list that the parent lacks is a restriction of the child's own; one that only the parent has is missing. */
function areFactsWithin(
  fact: TaskFact,
  child: readonly string[] | undefined,
  parent: readonly string[] | undefined,
): boolean {
  if (parent === undefined) return true;
  return child !== undefined && child.every((value) => parent.some((most) => covers(fact, most, value)));
}

/** Where the parent binds relations and not functions, it means the harmless built-in ones: so may the child. */
function callsWithin(child: TaskRight, parent: TaskRight): boolean {
  if (parent.relations === undefined || parent.functions !== undefined) return true;
  return child.functions === undefined || child.functions.every(isHarmless);
}

/** Paths may name a whole directory, with a slash at the end; everything else is compared as it is. */
function covers(fact: TaskFact, granted: string, value: string): boolean {
  if (granted === value) return true;
  return fact === "paths" && granted.endsWith("/") && value.startsWith(granted);
}

/**
 * What the task says of an operation. Every action needs a right that covers it. A right that binds a fact
 * covers only actions that have it: what cannot be compared is refused.
 */
export function decideByTask(step: TaskStep, resource: string, operation: Operation, now: number): Decision {
  if (step.terms.deadline <= now) return denied(taskEnded(step, "its deadline has passed"));
  const requirements: HoldRequirement[] = [];
  for (const action of operation.actions) {
    const covering = step.terms.rights.filter((right) => coversAction(right, resource, action));
    if (covering.length === 0) {
      return denied(
        refusal(
          "task_not_permitted",
          `${action.action} on ${resource} is denied: task ${label(step)} does not cover it`,
          {
            hint: "sally tasks show tells what it covers; a task cannot be widened, start another one",
          },
        ),
      );
    }
    const [first] = covering;
    const free = covering.some(({ approval }) => approval === undefined);
    if (!free && first?.approval !== undefined)
      requirements.push({ policy: `task ${step.id}`, ...first.approval });
  }
  const policies = [{ id: `task ${step.id}` }];
  if (requirements.length === 0) return { effect: "allow", policies: [] };
  return { effect: "hold", policies, requirements };
}

function coversAction(right: TaskRight, resource: string, { action, facts }: Action): boolean {
  if (!right.resources.includes(resource)) return false;
  if (!right.actions.some((pattern) => isActionWithin(action, pattern))) return false;
  return (
    TASK_FACTS.every((fact) => {
      const granted = right[fact];
      if (granted === undefined) return true;
      const values = factValues(fact, facts);
      return (
        values !== undefined && values.every((value) => granted.some((most) => covers(fact, most, value)))
      );
    }) && !reachesBeyondRelations(right, facts)
  );
}

/** The values of a fact in an action's facts; undefined when the action has none to compare. */
function factValues(fact: TaskFact, facts: Readonly<Record<string, unknown>>): readonly string[] | undefined {
  switch (fact) {
    case "relations":
      return isTexts(facts["reads"]) && isTexts(facts["writes"])
        ? [...facts["reads"], ...facts["writes"]]
        : one(facts["relation"]);
    case "functions":
      return isTexts(facts["functions"]) ? facts["functions"] : undefined;
    case "commands":
      // A command line that several shells read differently has no canonical form: "" covers nothing.
      return facts["plain"] === true ? one(facts["command"]) : undefined;
    case "namespaces":
      return one(facts["namespace"]);
    case "paths":
      return one(facts["path"]);
  }
}

/**
 * A function can read relations that the statement does not name (`query_to_xml('select …')`). Where a right
 * binds relations and not functions, only built-in functions that are known not to may be called.
 */
function reachesBeyondRelations(right: TaskRight, facts: Readonly<Record<string, unknown>>): boolean {
  if (right.relations === undefined || right.functions !== undefined || !isTexts(facts["functions"]))
    return false;
  return !facts["functions"].every(isHarmless);
}

/** A built-in function that sees nothing but its arguments. */
function isHarmless(name: string): boolean {
  return ALLOWED_FUNCTIONS.has(name.replace(/^pg_catalog\./, ""));
}

function one(value: unknown): readonly string[] | undefined {
  return typeof value === "string" && value !== "" ? [value] : undefined;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}

/** Whether the task lets `resource` be opened at all. */
export function coversResource(step: TaskStep, resource: string): boolean {
  return step.terms.rights.some((right) => right.resources.includes(resource));
}

/** Whether a masked column may be shown: only where a right of the task says `reveal`. */
export function revealsByTask(step: TaskStep, resource: string, relation: string, column: string): boolean {
  const action: Action = { action: "reveal", facts: { relation, column } };
  return step.terms.rights.some(
    (right) => right.approval === undefined && coversAction(right, resource, action),
  );
}

export function taskEnded({ id, name }: Pick<TaskStep, "id" | "name">, why: string): Refusal {
  return refusal("task_ended", `task ${label({ id, name })} has ended: ${why}`, {
    hint: "start another one: sally tasks start",
  });
}

/** One of the two budgets of a task is used up. */
export function budgetSpent(
  { id, name }: Pick<TaskStep, "id" | "name">,
  what: "operations" | "rows",
  most: number,
): Refusal {
  return refusal("task_budget_spent", `task ${label({ id, name })} has used up its ${most} ${what}`, {
    hint: "a task's budget cannot be raised; start another one: sally tasks start",
  });
}

function label({ id, name }: Pick<TaskStep, "id" | "name">): string {
  return name === "" ? id : `${name} (${id})`;
}

function denied(why: Refusal): Decision {
  return { effect: "deny", policies: [], refusal: why };
}

/** Whether a chain of tasks may get one more below it. */
export function roomBelow(chain: readonly TaskStep[]): boolean {
  return chain.length < LIMITS.tasks.depth;
}
