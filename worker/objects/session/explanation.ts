/** What `sally policy explain` answers, whatever the protocol. */
import type { Refusal } from "../../../wire/refusals.ts";
import type { Decision, DeterminingPolicy, HoldRequirement } from "../../policy/types.ts";

type Shown = {
  readonly effect: Decision["effect"];
  readonly policies: readonly DeterminingPolicy[];
  readonly requirements?: readonly HoldRequirement[];
  readonly refusal?: Refusal;
};

export type Explanation = Shown & {
  readonly actions: readonly (Shown & { readonly action: string; readonly facts: object })[];
  /** The text that the database would be sent, where masks change it. */
  readonly rewritten?: string;
  readonly notes: readonly string[];
};

/** Refused before policy was asked. */
export function deniedExplanation(why: Refusal): Explanation {
  return { effect: "deny", policies: [], refusal: why, actions: [], notes: [] };
}

export function showDecision(decision: Decision): Shown {
  const { effect, policies } = decision;
  if (effect === "hold") return { effect, policies, requirements: decision.requirements };
  if (effect === "deny") return { effect, policies, refusal: decision.refusal };
  return { effect, policies };
}
