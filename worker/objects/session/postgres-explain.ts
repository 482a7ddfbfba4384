/** `sally policy explain`: what policy and masks say of a statement, without running it. */
import type { Refusal } from "../../../wire/refusals.ts";
import { type Result, ok } from "../../../wire/result.ts";
import { NO_SESSION_NAMES } from "../../policy/masks/session-names.ts";
import type { PolicyEngine, PolicySource } from "../../policy/cedar/engine.ts";
import { newPreparedState } from "../../policy/sql/prepared.ts";
import type { Principal } from "../../policy/types.ts";
import type { SessionHost } from "./driver.ts";
import { type Explanation, deniedExplanation, showDecision } from "./explanation.ts";
import { MaskingSource } from "./postgres-masking.ts";
import { type Masking, analyseText, judgeMessage } from "./postgres-statements.ts";

export type ExplainQuestion = {
  readonly resource: string;
  /** A statement, or a request as it is written in HTTP/1.1 (http-explain.ts). */
  readonly sql: string;
  readonly principal: Principal;
  /** Asked in place of the policies that run. */
  readonly policies?: readonly PolicySource[];
};

export async function explainStatement(
  host: SessionHost,
  sql: string,
  engine: Pick<PolicyEngine, "explain">,
): Promise<Result<Explanation, Refusal>> {
  const statements = analyseText(sql);
  if (!statements.ok) return ok(deniedExplanation(statements.error));
  const masking = await maskingFor(host);
  if (!masking.ok) return masking;
  const judged = judgeMessage(sql, statements.value, {
    decide: (operation) => host.decide(operation),
    prepared: newPreparedState(),
    masking: masking.value,
    inspectRows: false,
  });
  const operation = { actions: statements.value.flatMap(({ actions }) => actions), text: sql };
  const { actions } = engine.explain(host.grant.principal, host.resource, operation);
  const explained = actions.map(({ action, decision }) => ({
    action: action.action,
    facts: action.facts,
    ...showDecision(decision),
  }));
  if (!judged.ok) return ok({ ...deniedExplanation(judged.error), actions: explained });
  return ok({
    ...showDecision(judged.value.decision),
    actions: explained,
    ...(judged.value.sql === undefined ? {} : { rewritten: judged.value.sql }),
    notes: judged.value.notes,
  });
}

/** The masks of now, read through the connector where they are needed. */
async function maskingFor(host: SessionHost): Promise<Result<Masking | undefined, Refusal>> {
  const source = new MaskingSource(host);
  const known = source.current(NO_SESSION_NAMES);
  if (known !== "catalogue") return known;
  const dialed = await host.dialBack();
  if (!dialed.ok) return dialed;
  const read = await source.refresh();
  if (!read.ok) return read;
  const current = source.current(NO_SESSION_NAMES);
  if (current === "catalogue") throw new Error("a catalogue that was just read is not there");
  return current;
}
