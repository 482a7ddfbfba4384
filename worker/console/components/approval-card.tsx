/** One approval, as much of it as a reviewer needs to decide. */
import type { JSX } from "preact";
import type { Approval, Estimate, Requirement } from "../api/types.ts";
import { count, plural } from "../model/text.ts";
import { href } from "../router.ts";
import { Code } from "./code.tsx";
import { Parameters, type Verdict } from "./decide.tsx";
import { Elapsed, Time, Who, sentence } from "./parts.tsx";

export function ApprovalCard({
  approval,
  protocol,
  mayDecide,
  onDecide,
}: {
  readonly approval: Approval;
  readonly protocol: string;
  readonly mayDecide: boolean;
  readonly onDecide: (verdict: Verdict) => void;
}): JSX.Element {
  const { operation, requester } = approval;
  return (
    <article
      class="card approval"
      tabIndex={0}
      data-approval={approval.id}
      aria-label={`${requester.name} asks on ${approval.resource}`}
    >
      <header class="card-head">
        <div>
          <Who principal={requester} />
          <Through approval={approval} /> on{" "}
          <a href={href("resources", approval.resource)}>{approval.resource}</a>
        </div>
        <div class="quiet small">
          waits <Elapsed since={approval.createdAt} /> · ends in <Elapsed until={approval.expiresAt} />
        </div>
      </header>
      <Why approval={approval} />
      <Code text={operation.text} protocol={protocol} />
      <Parameters values={operation.parameters} />
      <div class="card-facts small">
        <span>{operation.action.join(", ")}</span>
        {operation.relations !== undefined && operation.relations.writes.length > 0 && (
          <span>changes {operation.relations.writes.join(", ")}</span>
        )}
        <Estimated estimate={approval.estimate} />
        <Needed approval={approval} />
      </div>
      <footer class="card-actions">
        {mayDecide ? (
          <>
            <button type="button" class="approve" onClick={() => onDecide("approve")} aria-keyshortcuts="a">
              Approve…
            </button>
            <button type="button" class="danger" onClick={() => onDecide("deny")} aria-keyshortcuts="d">
              Deny…
            </button>
          </>
        ) : (
          <span class="quiet small">You cannot decide this one.</span>
        )}
        <a class="button quiet-button" href={href("approvals", approval.id)}>
          Details
        </a>
      </footer>
    </article>
  );
}

/** Through whom it is asked, when not by the requester alone. */
export function Through({ approval }: { readonly approval: Approval }): JSX.Element | null {
  const { parties, task } = approval;
  if ((parties === undefined || parties.length === 0) && task === undefined) return null;
  return (
    <span class="quiet small">
      {parties !== undefined && parties.length > 0 && <> with {parties.map(({ name }) => name).join(", ")}</>}
      {task !== undefined && <> in task {task}</>}
    </span>
  );
}

/** Why policy held it, and why the requester wants it. */
export function Why({ approval }: { readonly approval: Approval }): JSX.Element {
  return (
    <div class="why">
      {approval.policies.map(({ id, reason }) => (
        <p key={id}>
          {sentence(reason ?? "held by policy")} <code class="policy-id">{id}</code>
        </p>
      ))}
      {approval.reason !== undefined && (
        <blockquote>
          <span class="label">their reason</span> {approval.reason}
        </blockquote>
      )}
    </div>
  );
}

export function Estimated({ estimate }: { readonly estimate: Estimate | undefined }): JSX.Element | null {
  if (estimate === undefined) return null;
  if ("unavailable" in estimate) return <span class="quiet">no estimate: {estimate.unavailable}</span>;
  const touched = estimate.relations.map(({ relation, rows }) => `${relation} ${count(rows)}`).join(", ");
  return (
    <span title={touched === "" ? undefined : `planner's estimate: ${touched}`}>
      about <b>{plural(estimate.rows, "row")}</b>
    </span>
  );
}

/** How many have approved, of how many from where. */
export function Needed({ approval }: { readonly approval: Approval }): JSX.Element {
  return (
    <>
      {approval.requirements.map((requirement) => (
        <span key={requirement.policy}>
          {approvedBy(approval, requirement)} of {requirement.quorum} from <b>{requirement.group}</b>
          {approval.escalatedAt !== undefined && (
            <>
              {" "}
              (escalated <Time at={approval.escalatedAt} as="clock" />)
            </>
          )}
        </span>
      ))}
    </>
  );
}

function approvedBy(approval: Approval, requirement: Requirement): number {
  const groups = requirement.groups ?? [requirement.group];
  return approval.decisions.filter(
    ({ verdict, reviewer }) =>
      verdict === "approve" && reviewer.groups.some((group) => groups.includes(group)),
  ).length;
}
