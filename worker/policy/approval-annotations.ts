/**
 * The annotations that make a `permit` hold for people, as values:
 *
 *   @approval("dba")                    one member of dba
 *   @approval("dba | security")         one member of either
 *   @quorum("2")                        that many distinct people
 *   @escalate("oncall after 10m")       from then on members of oncall count too, and are told
 *   @batch("20")                        reviewers may approve up to 20 statements of one shape at once
 *
 * Several policies that hold the same operation have all to be met.
 */
import { LIMITS } from "../../wire/limits.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import type { HoldRequirement } from "./types.ts";

/** What one policy asks for. */
export type HoldTerms = Omit<HoldRequirement, "policy">;

type ApprovalAnnotation = "approval" | "quorum" | "escalate" | "batch";

/** Something wrong with one annotation; the text says what it should be. */
type AnnotationProblem = { readonly annotation: ApprovalAnnotation; readonly message: string };

const MAX_QUORUM = 20;
const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 };

/**
 * The terms of a policy with these annotations; undefined for one without `@approval`. `values` has what is
 * there; a value that could not be read at all is "" and has been complained about.
 */
export function readHoldTerms(
  values: Readonly<Partial<Record<ApprovalAnnotation, string>>>,
): Result<HoldTerms | undefined, readonly AnnotationProblem[]> {
  const problems: AnnotationProblem[] = [];
  const complain = (annotation: ApprovalAnnotation, message: string): undefined => {
    problems.push({ annotation, message });
    return undefined;
  };
  const { approval, quorum: quorumText, escalate: escalateText, batch: batchText } = values;
  if (approval === undefined) {
    if (quorumText !== undefined) {
      const message = `@quorum says how many of a group have to approve, so it needs @approval("group") beside it`;
      complain("quorum", message);
    }
    for (const [name, text] of [
      ["escalate", escalateText],
      ["batch", batchText],
    ] as const) {
      if (text !== undefined) complain(name, `@${name} belongs beside an @approval("group")`);
    }
  }
  const groups = approval === undefined || approval === "" ? undefined : readGroups(approval);
  if (approval !== undefined && approval !== "" && groups === undefined) {
    const message = `@approval names a group, or up to ${LIMITS.approvals.groups} different ones: @approval("dba | security")`;
    complain("approval", message);
  }
  const quorum = quorumText === undefined || quorumText === "" ? 1 : readNumber(quorumText, MAX_QUORUM);
  if (quorum === undefined) {
    complain("quorum", `@quorum is how many reviewers have to approve: a number from 1 to ${MAX_QUORUM}`);
  }
  const escalate =
    escalateText === undefined || escalateText === ""
      ? undefined
      : (readEscalation(escalateText) ??
        complain("escalate", `@escalate is a group and a time up to 1h: @escalate("oncall after 10m")`));
  const batch =
    batchText === undefined || batchText === ""
      ? undefined
      : (readNumber(batchText, LIMITS.approvals.batchUses) ??
        complain("batch", `@batch is a number from 1 to ${LIMITS.approvals.batchUses}: @batch("20")`));
  if (problems.length > 0) return err(problems);
  if (groups === undefined || quorum === undefined) return ok(undefined);
  return ok({
    group: groups.join(" or "),
    ...(groups.length === 1 ? {} : { anyOf: groups }),
    quorum,
    ...(escalate === undefined ? {} : { escalate }),
    ...(batch === undefined ? {} : { batch }),
  });
}

function readGroups(text: string): readonly string[] | undefined {
  const groups = text.split("|").map((group) => group.trim());
  const usable =
    groups.length <= LIMITS.approvals.groups &&
    groups.every((group) => group !== "") &&
    new Set(groups).size === groups.length;
  return usable ? groups : undefined;
}

function readNumber(text: string, most: number): number | undefined {
  const value = /^[1-9][0-9]{0,3}$/.test(text) ? Number(text) : 0;
  return value >= 1 && value <= most ? value : undefined;
}

function readEscalation(text: string): HoldRequirement["escalate"] {
  const match = /^(.+?)\s+after\s+([1-9][0-9]{0,4})([smh])$/.exec(text.trim());
  const groups = match?.[1] === undefined ? undefined : readGroups(match[1]);
  const after = Number(match?.[2]) * (UNITS[match?.[3] ?? ""] ?? Number.NaN);
  return groups !== undefined && after <= LIMITS.time.approval ? { groups, after } : undefined;
}
