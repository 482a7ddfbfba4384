/** What holding an operation in place has in common between protocols (DESIGN section 6): words, reminders, checks. */
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import type { Decision, Operation } from "../../policy/types.ts";
import type { ApprovalOutcome } from "../control/types.ts";
import type { SessionHost } from "./driver.ts";

type Held = Extract<Decision, { effect: "hold" }>;

/** What the client is told when it begins to wait: that it is held and why, and how it goes on. */
export function heldMessages(decision: Held, approval: string): readonly [held: string, hint: string] {
  const groups = groupsOf(decision);
  const reason = decision.policies.flatMap((policy) => policy.reason ?? []).join("; ");
  return [
    `held for approval by ${groups}${reason === "" ? "" : `: ${reason}`} (approval ${approval})`,
    `it runs as soon as somebody of ${groups} approves it: sally approvals approve ${approval}; press Ctrl-C to give up`,
  ];
}

/** Tells the client now and then, each time in a turn, that it still waits; until the timer is cleared. */
export function remind(
  host: SessionHost,
  decision: Held,
  approval: string,
  notice: (text: string) => void,
): ReturnType<typeof setInterval> {
  const since = host.now();
  const groups = groupsOf(decision);
  return setInterval(() => {
    const seconds = Math.round((host.now() - since) / 1000);
    host.turn(() => notice(`still held for ${groups} after ${seconds} s (approval ${approval})`));
  }, host.resource.heldReminder ?? LIMITS.time.heldReminder);
}

function groupsOf({ requirements }: Held): string {
  return requirements.map(({ group }) => group).join(" and ");
}

/** Why the operation does not run after this outcome; undefined when it was approved. */
export function outcomeRefusal({ approval, outcome, by, comment }: ApprovalOutcome): Refusal | undefined {
  switch (outcome) {
    case "approved":
      return undefined;
    case "denied": {
      const said = comment === undefined ? "" : `: ${comment}`;
      return refusal("approval_denied", `denied by ${by.join(", ")}${said}`, { approval });
    }
    case "expired": {
      const hint = "send it again to ask again";
      return refusal("approval_expired", `nobody decided approval ${approval} in time`, { hint, approval });
    }
  }
}

/**
 * Why an approved operation does not run under the decision of now, which policy may have changed since it was
 * held; undefined when it may.
 */
export function changedSince(before: Held["requirements"], now: Decision): Refusal | undefined {
  if (now.effect === "deny") return now.refusal;
  if (now.effect === "allow" || JSON.stringify(now.requirements) === JSON.stringify(before)) return undefined;
  const message = "policy asks for another approval than when this was held";
  return refusal("approval_expired", message, { hint: "send it again" });
}

/** Names of an operation's actions and what they are about, for the recording. */
export function actionsOf(operation: Operation): Record<string, unknown> {
  return {
    actions: [...new Set(operation.actions.map(({ action }) => action))],
    facts: operation.actions.map(({ facts }) => facts),
  };
}
