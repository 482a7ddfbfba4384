/** What happens now: who waits for a decision, and which sessions are live. Kept current by the stream. */
import type { JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { may } from "../api/client.ts";
import { approvals, connection, sessions } from "../api/live.ts";
import type { Approval, Session } from "../api/types.ts";
import { ApprovalCard } from "../components/approval-card.tsx";
import { DecideDialog, type Verdict, setShortcuts, shortcutsOn, useKeys } from "../components/decide.tsx";
import { KillDialog } from "../components/kill.tsx";
import { Elapsed, Empty, Loading, PageHead, Section, StatusBadge, Time } from "../components/parts.tsx";
import { CountCells, CountHeads, ResourceCell, WhoCell } from "../components/session-cells.tsx";
import { InlineCode } from "../components/code.tsx";
import { oneLine } from "../model/text.ts";
import { go, href } from "../router.ts";

const byAge = (a: Approval, b: Approval): number => Date.parse(a.createdAt) - Date.parse(b.createdAt);

export function NowPage(): JSX.Element {
  const [deciding, setDeciding] = useState<{ id: string; verdict: Verdict }>();
  const [killing, setKilling] = useState<Session>();
  const [keys, setKeys] = useState(shortcutsOn());
  const all = [...approvals.value.values()];
  const pending = all.filter(({ status }) => status === "pending").sort(byAge);
  const decided = all
    .filter(({ status }) => status !== "pending")
    .sort((a, b) => byAge(b, a))
    .slice(0, 8);
  const live = [...sessions.value.values()].filter(({ status }) => status === "live");
  const waiting = new Map(pending.map((approval) => [approval.session, approval]));
  const protocolOf = (approval: Approval): string =>
    sessions.value.get(approval.session)?.protocol ?? "postgres";

  useFocusKept(pending.map(({ id }) => id));

  useKeys((key) => {
    const cards = [...document.querySelectorAll<HTMLElement>("[data-approval]")];
    const at = cards.findIndex((card) => card.contains(document.activeElement));
    if (key === "j" || key === "k") {
      cards[Math.max(0, Math.min(cards.length - 1, key === "j" ? at + 1 : at - 1))]?.focus();
      return true;
    }
    // With one approval there is no doubt which; with several, the one that has the focus.
    const id = (at >= 0 ? cards[at] : cards.length === 1 ? cards[0] : undefined)?.dataset["approval"];
    const approval = pending.find((each) => each.id === id);
    if (approval === undefined) return false;
    if (key === "o") go(href("approvals", approval.id));
    else if ((key === "a" || key === "d") && mayDecide(approval)) {
      setDeciding({ id: approval.id, verdict: key === "a" ? "approve" : "deny" });
    } else return false;
    return true;
  });

  const asked = deciding === undefined ? undefined : approvals.value.get(deciding.id);
  const unknown = connection.value === "connecting";
  return (
    <>
      <PageHead title="Now" />
      <Section
        title={`Waiting for a decision${pending.length > 0 ? ` (${pending.length})` : ""}`}
        aside={
          <label class="check small quiet keys-hint">
            <input
              type="checkbox"
              checked={keys}
              onChange={(event) => {
                setShortcuts(event.currentTarget.checked);
                setKeys(event.currentTarget.checked);
              }}
            />
            <span>
              keys: <kbd>j</kbd> <kbd>k</kbd> choose, <kbd>a</kbd> approve, <kbd>d</kbd> deny, <kbd>o</kbd>{" "}
              open
            </span>
          </label>
        }
      >
        <div aria-live="polite" class="visually-hidden">
          {pending.length === 0 ? "nothing waits for a decision" : `${pending.length} waiting for a decision`}
        </div>
        {unknown ? (
          <Loading what="what waits" />
        ) : pending.length === 0 ? (
          <Empty title="Nothing waits for a decision">
            A held operation appears here the moment it is held.
          </Empty>
        ) : (
          <div class="cards">
            {pending.map((approval) => (
              <ApprovalCard
                key={approval.id}
                approval={approval}
                protocol={protocolOf(approval)}
                mayDecide={mayDecide(approval)}
                onDecide={(verdict) => setDeciding({ id: approval.id, verdict })}
              />
            ))}
          </div>
        )}
      </Section>
      {decided.length > 0 && (
        <Section title="Just decided">
          <ul class="lines">
            {decided.map((approval) => (
              <li key={approval.id}>
                <StatusBadge status={approval.status} />
                <a class="grow clip" href={href("approvals", approval.id)}>
                  <InlineCode text={oneLine(approval.operation.text)} protocol={protocolOf(approval)} />
                </a>
                <span class="quiet small">
                  {approval.decisions.map(({ reviewer }) => reviewer.name).join(", ")}
                </span>
              </li>
            ))}
          </ul>
        </Section>
      )}
      <Section title={`Live sessions${live.length > 0 ? ` (${live.length})` : ""}`}>
        {unknown ? (
          <Loading what="live sessions" />
        ) : live.length === 0 ? (
          <Empty title="No session is live">
            Sessions that have ended are under <a href={href("sessions")}>Sessions</a>.
          </Empty>
        ) : (
          <LiveSessions live={live} waiting={waiting} onKill={setKilling} />
        )}
      </Section>
      {deciding !== undefined && asked !== undefined && (
        <DecideDialog
          approval={asked}
          verdict={deciding.verdict}
          protocol={protocolOf(asked)}
          onClose={() => setDeciding(undefined)}
        />
      )}
      {killing !== undefined && <KillDialog session={killing} onClose={() => setKilling(undefined)} />}
    </>
  );
}

/**
 * Keeps the keyboard where it was: when the card that has the focus goes away, because somebody has decided or its
 * client has left, the one in its place gets it, and the page's heading where none is left.
 */
function useFocusKept(ids: readonly string[]): void {
  const before = useRef<{ readonly ids: readonly string[]; readonly focused: number }>(undefined);
  const cards = [...document.querySelectorAll<HTMLElement>("[data-approval]")];
  // While rendering the page is still as it was.
  const focused = cards.findIndex((card) => card.contains(document.activeElement));
  before.current = { ids: cards.map((card) => card.dataset["approval"] ?? ""), focused };
  const shown = ids.join(" ");
  useLayoutEffect(() => {
    const last = before.current;
    if (last === undefined || last.focused < 0 || ids.includes(last.ids[last.focused] ?? "")) return;
    const left = [...document.querySelectorAll<HTMLElement>("[data-approval]")];
    const next = left[Math.min(last.focused, left.length - 1)] ?? document.querySelector<HTMLElement>("h1");
    next?.focus();
  }, [shown]);
}

/** The gateway's own word where it gives one; it decides again when the verdict comes. */
export function mayDecide(approval: Approval): boolean {
  return approval.mayDecide ?? may("approval:decide", approval.resource);
}

function LiveSessions({
  live,
  waiting,
  onKill,
}: {
  readonly live: readonly Session[];
  readonly waiting: ReadonlyMap<string, Approval>;
  readonly onKill: (session: Session) => void;
}): JSX.Element {
  const sorted = [...live].sort((a, b) => Date.parse(b.startedAt) - Date.parse(a.startedAt));
  return (
    <table class="list">
      <thead>
        <tr>
          <th scope="col">Who</th>
          <th scope="col">Resource</th>
          <th scope="col">Since</th>
          <CountHeads />
          <th scope="col">
            <span class="visually-hidden">Actions</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {sorted.map((session) => (
          <tr key={session.id}>
            <WhoCell session={session} waits={waiting.has(session.id)} />
            <ResourceCell session={session} />
            <td data-label="Since">
              <Time at={session.startedAt} as="clock" />{" "}
              <span class="quiet small">
                <Elapsed since={session.startedAt} />
              </span>
            </td>
            <CountCells session={session} />
            <td class="row-actions">
              <a class="button small" href={href("sessions", session.id)}>
                Watch
              </a>
              {may("session:kill", session.resource) && (
                <button type="button" class="small danger-quiet" onClick={() => onKill(session)}>
                  Kill
                </button>
              )}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
