/** Finding sessions: by who, where, what, how it was decided and when. The search is in the address. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Problem, get } from "../api/client.ts";
import type { FoundSession, ListedResource } from "../api/types.ts";
import { useLoad } from "../api/load.ts";
import { InlineCode } from "../components/code.tsx";
import { EffectBadge, Empty, Failed, Loading, PageHead, Time } from "../components/parts.tsx";
import { CountCells, CountHeads, ResourceCell, WhoCell } from "../components/session-cells.tsx";
import { count, oneLine, span } from "../model/text.ts";
import { go, href, place } from "../router.ts";

type Page = { readonly sessions: readonly FoundSession[]; readonly next?: string };

const FIELDS = ["person", "resource", "relation", "text", "decision", "status", "from", "to"] as const;
type Field = (typeof FIELDS)[number];
type Search = Partial<Record<Field, string>>;

const PAGE_SIZE = "50";

function readSearch(query: URLSearchParams): Search {
  const search: Search = {};
  for (const field of FIELDS) {
    const value = query.get(field);
    if (value !== null && value !== "") search[field] = value;
  }
  return search;
}

/** Local date and time of a field as an instant. */
function instant(local: string | undefined): string | undefined {
  if (local === undefined) return undefined;
  const moment = new Date(local);
  return Number.isNaN(moment.getTime()) ? undefined : moment.toISOString();
}

function requestPath(search: Search, before?: string): string {
  const query = new URLSearchParams({ limit: PAGE_SIZE });
  for (const field of FIELDS) {
    const value = field === "from" || field === "to" ? instant(search[field]) : search[field];
    if (value !== undefined) query.set(field, value);
  }
  if (before !== undefined) query.set("before", before);
  return `/v1/search/sessions?${query.toString()}`;
}

export function SessionsPage(): JSX.Element {
  const search = readSearch(place.value.query);
  const first = useLoad<Page>(requestPath(search));
  const [more, setMore] = useState<{
    readonly of?: Page;
    readonly sessions: FoundSession[];
    readonly next?: string;
  }>({
    sessions: [],
  });
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const page = first.value;
  const following = more.of === page ? more : undefined;
  const next = following === undefined ? page?.next : following.next;
  const found = [...(page?.sessions ?? []), ...(following?.sessions ?? [])];

  const loadMore = async (): Promise<void> => {
    if (page === undefined || next === undefined || busy) return;
    setBusy(true);
    const answer = await get<Page>(requestPath(search, next));
    setBusy(false);
    if (!answer.ok) return setProblem(answer.error);
    setProblem(undefined);
    setMore({
      of: page,
      sessions: [...(following?.sessions ?? []), ...answer.value.sessions],
      ...(answer.value.next === undefined ? {} : { next: answer.value.next }),
    });
  };

  return (
    <>
      <PageHead title="Sessions" />
      <SearchForm search={search} />
      {first.problem !== undefined && <Failed problem={first.problem} retry={first.reload} />}
      {page === undefined && first.loading && <Loading what="sessions" />}
      {page !== undefined && found.length === 0 && (
        <Empty
          title={Object.keys(search).length === 0 ? "No session has been recorded yet" : "No session matches"}
        >
          {Object.keys(search).length === 0 ? (
            <>Try one: sally psql shop-db -- -c 'select 1'</>
          ) : (
            <a href={href("sessions")}>Show all of them</a>
          )}
        </Empty>
      )}
      {found.length > 0 && <Found sessions={found} stale={first.loading} />}
      {problem !== undefined && <Failed problem={problem} retry={() => void loadMore()} />}
      {next !== undefined && (
        <p class="more">
          <button type="button" disabled={busy} onClick={() => void loadMore()}>
            {busy ? "Loading…" : "Older sessions"}
          </button>
        </p>
      )}
    </>
  );
}

function SearchForm({ search }: { readonly search: Search }): JSX.Element {
  const resources = useLoad<{ readonly resources: readonly ListedResource[] }>("/v1/resources");
  const [draft, setDraft] = useState<Search>(search);
  const address = JSON.stringify(search);
  useEffect(() => setDraft(JSON.parse(address) as Search), [address]);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const set = (field: Field, value: string, wait: number): void => {
    const changed = { ...draft, [field]: value };
    setDraft(changed);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => go(href("sessions", changed), true), wait);
  };
  const text = (field: Field, label: string, hint: string): JSX.Element => (
    <label class="field">
      {label}
      <input
        type="search"
        placeholder={hint}
        value={draft[field] ?? ""}
        onInput={(event) => set(field, event.currentTarget.value, 300)}
      />
    </label>
  );
  const select = (
    field: Field,
    label: string,
    options: readonly (readonly [string, string])[],
  ): JSX.Element => (
    <label class="field">
      {label}
      <select value={draft[field] ?? ""} onChange={(event) => set(field, event.currentTarget.value, 0)}>
        {options.map(([value, name]) => (
          <option key={value} value={value}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
  return (
    <form
      class="search"
      role="search"
      aria-label="sessions"
      onSubmit={(event) => {
        event.preventDefault();
        clearTimeout(timer.current);
        go(href("sessions", draft), true);
      }}
    >
      {text("text", "Statement", "part of a statement")}
      {text("person", "Person", "name or subject")}
      {text("relation", "Relation", "public.orders")}
      {select("resource", "Resource", [
        ["", "any"],
        ...(resources.value?.resources.map(({ name }) => [name, name] as const) ?? []),
      ])}
      {select("decision", "Decision", [
        ["", "any"],
        ["allow", "allowed"],
        ["hold", "held"],
        ["deny", "denied"],
      ])}
      {select("status", "State", [
        ["", "any"],
        ["live", "live"],
      ])}
      <label class="field">
        From
        <input
          type="datetime-local"
          value={draft.from ?? ""}
          onChange={(event) => set("from", event.currentTarget.value, 0)}
        />
      </label>
      <label class="field">
        To
        <input
          type="datetime-local"
          value={draft.to ?? ""}
          onChange={(event) => set("to", event.currentTarget.value, 0)}
        />
      </label>
    </form>
  );
}

function Found({
  sessions,
  stale,
}: {
  readonly sessions: readonly FoundSession[];
  readonly stale: boolean;
}): JSX.Element {
  return (
    <table class={`list${stale ? " stale" : ""}`}>
      <thead>
        <tr>
          <th scope="col">Started</th>
          <th scope="col">Who</th>
          <th scope="col">Resource</th>
          <th scope="col">Lasted</th>
          <CountHeads />
          <th scope="col" class="number">
            Rows
          </th>
        </tr>
      </thead>
      {sessions.map((session) => (
        <tbody key={session.id}>
          <tr>
            <td data-label="Started">
              <a class="row-link" href={href("sessions", session.id)}>
                <Time at={session.startedAt} />
              </a>
            </td>
            <WhoCell session={session} />
            <ResourceCell session={session} />
            <td data-label="Lasted">
              {session.status === "live" ? (
                <span class="badge live">live</span>
              ) : session.endedAt === undefined ? (
                "–"
              ) : (
                span(Date.parse(session.endedAt) - Date.parse(session.startedAt))
              )}
            </td>
            <CountCells session={session} />
            <td class="number" data-label="Rows">
              {count(session.rows)}
            </td>
          </tr>
          {(session.matches ?? []).map((match) => (
            <tr key={match.seq} class="match">
              <td colSpan={8}>
                <a href={href("sessions", session.id, { at: String(match.seq) })}>
                  <EffectBadge effect={match.effect} />
                  <InlineCode text={oneLine(match.text)} protocol={session.protocol} />
                </a>
              </td>
            </tr>
          ))}
        </tbody>
      ))}
    </table>
  );
}
