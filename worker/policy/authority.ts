/**
 * What a grant may do: everybody in it has to be permitted, and every task it is under (DESIGN section 8).
 * An operation is allowed only where policy allows it to the principal and to each actor; what any of them
 * needs an approval for is held for all of these approvals together.
 */
import type { PolicyEngine, Target } from "./cedar/engine.ts";
import { strictest } from "./cedar/engine.ts";
import type { Grant } from "./grant.ts";
import { samePrincipal } from "./approval.ts";
import { decideByTask, revealsByTask } from "./task.ts";
import type { Decision, Operation, Principal } from "./types.ts";

type Under = Pick<Grant, "principal" | "actors" | "tasks" | "resource">;

/** `now` in milliseconds since the epoch. */
export function decideUnder(
  engine: Pick<PolicyEngine, "decideOperation">,
  grant: Under,
  target: Target,
  operation: Operation,
  now: number,
): Decision {
  const decisions = [grant.principal, ...grant.actors].map((party) =>
    engine.decideOperation(party, target, operation),
  );
  if (grant.tasks.length === 0 && decisions.length === 1 && decisions[0] !== undefined) return decisions[0];
  for (const step of grant.tasks) decisions.push(decideByTask(step, grant.resource, operation, now));
  return strictest(decisions);
}

/** Whether a masked column may be shown: to each of them, and in each task. */
export function revealsUnder(
  engine: Pick<PolicyEngine, "decide">,
  grant: Under,
  target: Target,
  relation: string,
  column: string,
): boolean {
  const action = { action: "reveal", facts: { relation, column } } as const;
  return (
    [grant.principal, ...grant.actors].every(
      (party) => engine.decide(party, target, action).effect === "allow",
    ) && grant.tasks.every((step) => revealsByTask(step, grant.resource, relation, column))
  );
}

/** Everybody but the principal who has a part in the grant: actors, and those of the tasks above. */
export function otherParties({
  principal,
  actors,
  tasks,
}: Pick<Grant, "principal" | "actors" | "tasks">): Principal[] {
  const parties: Principal[] = [];
  for (const party of [...actors, ...tasks.flatMap((step) => [step.principal, ...step.actors])]) {
    const known = [principal, ...parties].some((other) => samePrincipal(other, party));
    if (!known) parties.push(party);
  }
  return parties;
}
