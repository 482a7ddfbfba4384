/** One approval with everything that helps to decide it. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { approvals } from "../api/live.ts";
import { useLoad } from "../api/load.ts";
import type { Approval } from "../api/types.ts";
import { Estimated, Needed, Through, Why } from "../components/approval-card.tsx";
import { Code, InlineCode } from "../components/code.tsx";
import { DecideDialog, Parameters, type Verdict, useKeys } from "../components/decide.tsx";
import {
  EffectBadge,
  Elapsed,
  Facts,
  Failed,
  Hash,
  Loading,
  PageHead,
  Section,
  StatusBadge,
  Time,
  Who,
} from "../components/parts.tsx";
import { oneLine, plural } from "../model/text.ts";
import { href } from "../router.ts";
import { mayDecide } from "./now.tsx";

export function ApprovalPage({ id }: { readonly id: string }): JSX.Element {
  const { value, problem, reload } = useLoad<Approval>(`/v1/approvals/${encodeURIComponent(id)}`);
  const streamed = approvals.value.get(id);
  const [verdict, setVerdict] = useState<Verdict>();
  const changed = streamed?.status;
  useEffect(() => {
    if (changed !== undefined) reload();
  }, [changed, reload]);
  const approval =
    value === undefined ? streamed : streamed === undefined ? value : { ...value, ...streamed };
  const open = approval !== undefined && approval.status === "pending" && mayDecide(approval);
  useKeys((key) => {
    if (!open || (key !== "a" && key !== "d")) return false;
    setVerdict(key === "a" ? "approve" : "deny");
    return true;
  });
  const back = { href: href(), text: "Now" };
  if (approval === undefined) {
    return (
      <>
        <PageHead title="Approval" back={back} />
        {problem === undefined ? (
          <Loading what="the approval" />
        ) : (
          <Failed problem={problem} retry={reload} />
        )}
      </>
    );
  }
  const { operation } = approval;
  const protocol = operation.action.some((action) => action.startsWith("postgres:")) ? "postgres" : "other";
  return (
    <>
      <PageHead
        title={
          <>
            Approval <StatusBadge status={approval.status} />
          </>
        }
        back={back}
      >
        {open && (
          <>
            <button type="button" class="approve" onClick={() => setVerdict("approve")} aria-keyshortcuts="a">
              Approve…
            </button>
            <button type="button" class="danger" onClick={() => setVerdict("deny")} aria-keyshortcuts="d">
              Deny…
            </button>
          </>
        )}
      </PageHead>
      <div class="columns">
        <div>
          <Section title="What is asked">
            <Why approval={approval} />
            <Statement operation={operation} protocol={protocol} />
            <Parameters values={operation.parameters} />
            <p class="label">SHA-256 of the operation and its parameters</p>
            <Hash value={operation.hash} />
          </Section>
          <Before approval={approval} protocol={protocol} />
          <SimilarOnes approval={approval} protocol={protocol} />
        </div>
        <aside>
          <Section title="Facts">
            <Facts
              items={[
                [
                  "asked by",
                  <>
                    <Who principal={approval.requester} />
                    <Through approval={approval} />
                  </>,
                ],
                ["on", <a href={href("resources", approval.resource)}>{approval.resource}</a>],
                ["session", <a href={href("sessions", approval.session)}>{approval.session}</a>],
                ["actions", operation.action.join(", ")],
                operation.relations === undefined
                  ? undefined
                  : ["reads", operation.relations.reads.join(", ") || "nothing"],
                operation.relations === undefined
                  ? undefined
                  : ["changes", operation.relations.writes.join(", ") || "nothing"],
                approval.estimate === undefined
                  ? undefined
                  : ["estimate", <Estimated estimate={approval.estimate} />],
                ["needs", <Needed approval={approval} />],
                ["asked", <Time at={approval.createdAt} as="full" />],
                [
                  approval.status === "pending" ? "ends" : "would end",
                  <>
                    <Time at={approval.expiresAt} as="full" />
                    {approval.status === "pending" && (
                      <span class="quiet">
                        {" "}
                        (in <Elapsed until={approval.expiresAt} />)
                      </span>
                    )}
                  </>,
                ],
                approval.batch === undefined
                  ? undefined
                  : ["batch", `${approval.batch.left} of ${approval.batch.uses} uses left`],
              ]}
            />
          </Section>
          <Section title="Decisions">
            {approval.decisions.length === 0 ? (
              <p class="quiet">Nobody has decided yet.</p>
            ) : (
              <ul class="plain">
                {approval.decisions.map((decision) => (
                  <li key={decision.at} class="decision">
                    <span class={`badge ${decision.verdict === "approve" ? "allow" : "deny"}`}>
                      {decision.verdict === "approve" ? "approved" : "denied"}
                    </span>{" "}
                    <Who principal={decision.reviewer} />{" "}
                    <span class="quiet small">
                      <Time at={decision.at} />
                    </span>
                    {decision.comment !== undefined && <blockquote>{decision.comment}</blockquote>}
                  </li>
                ))}
              </ul>
            )}
          </Section>
        </aside>
      </div>
      {verdict !== undefined && (
        <DecideDialog
          approval={approval}
          verdict={verdict}
          protocol={protocol}
          onClose={() => setVerdict(undefined)}
        />
      )}
    </>
  );
}

/** As it was sent, which is what counts, or laid out for reading. */
function Statement({
  operation,
  protocol,
}: {
  readonly operation: Approval["operation"];
  readonly protocol: string;
}): JSX.Element {
  const [formatted, setFormatted] = useState(false);
  if (operation.formatted === undefined) return <Code text={operation.text} protocol={protocol} />;
  return (
    <>
      <Code text={formatted ? operation.formatted : operation.text} protocol={protocol} />
      <label class="check small">
        <input
          type="checkbox"
          checked={formatted}
          onChange={(event) => setFormatted(event.currentTarget.checked)}
        />
        lay it out for reading (what runs is the text as it was sent)
      </label>
    </>
  );
}

function Before({
  approval,
  protocol,
}: {
  readonly approval: Approval;
  readonly protocol: string;
}): JSX.Element | null {
  if (approval.before === undefined) return null;
  return (
    <Section title="Just before, in the same session">
      {approval.before.length === 0 ? (
        <p class="quiet">Nothing: it is the first thing in this session.</p>
      ) : (
        <ul class="lines">
          {approval.before.map((each, index) => (
            <li key={index}>
              <Time at={each.at} as="clock" />
              <EffectBadge effect={each.effect} />
              <span class="grow clip">
                <InlineCode text={oneLine(each.text)} protocol={protocol} />
              </span>
              {each.rows !== undefined && <span class="quiet small">{plural(each.rows, "row")}</span>}
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

function SimilarOnes({
  approval,
  protocol,
}: {
  readonly approval: Approval;
  readonly protocol: string;
}): JSX.Element | null {
  if (approval.similar === undefined) return null;
  return (
    <Section title="How similar requests ended">
      {approval.similar.length === 0 ? (
        <p class="quiet">Nothing like it has been asked before.</p>
      ) : (
        <ul class="lines">
          {approval.similar.map((each) => (
            <li key={each.id}>
              <StatusBadge status={each.status} />
              <a class="grow clip" href={href("approvals", each.id)}>
                <InlineCode text={oneLine(each.text)} protocol={protocol} />
              </a>
              <span class="small">
                <Who principal={each.requester} />
              </span>
              <span class="quiet small">
                <Time at={each.createdAt} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}
