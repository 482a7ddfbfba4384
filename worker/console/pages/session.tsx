/** One session: who, where, whether its record holds, and everything that happened, in order. */
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, may } from "../api/client.ts";
import { sessions } from "../api/live.ts";
import { useLoad } from "../api/load.ts";
import { type Recording, useRecording } from "../api/recording.ts";
import type { Effect, Events, RecordedEvent, Session } from "../api/types.ts";
import { KillDialog } from "../components/kill.tsx";
import {
  Elapsed,
  Empty,
  Facts,
  Failed,
  Hash,
  Loading,
  PageHead,
  Section,
  Time,
  Who,
  sentence,
} from "../components/parts.tsx";
import { Player } from "../components/player.tsx";
import { EntryView } from "../components/timeline-entry.tsx";
import { shows } from "../model/timeline.ts";
import { count, plural, span } from "../model/text.ts";
import { href, place } from "../router.ts";

export function SessionPage({ id }: { readonly id: string }): JSX.Element {
  const path = `/v1/sessions/${encodeURIComponent(id)}`;
  const { value, problem, reload } = useLoad<Session>(path);
  const streamed = sessions.value.get(id);
  const session = streamed ?? value;
  const [retry, setRetry] = useState(0);
  const recording = useRecording(id, session?.status, retry);
  const [killing, setKilling] = useState(false);
  const back = { href: href("sessions"), text: "Sessions" };
  const ended = recording.timeline.entries.some((entry) => entry.kind === "note" && entry.type === "end");
  useEffect(() => {
    if (ended) reload();
  }, [ended, reload]);
  if (session === undefined) {
    return (
      <>
        <PageHead title="Session" back={back} />
        {problem === undefined ? <Loading what="the session" /> : <Failed problem={problem} retry={reload} />}
      </>
    );
  }
  const live = session.status === "live";
  return (
    <>
      <PageHead
        title={
          <>
            <Who principal={session.principal} /> on {session.resource}{" "}
            {live && <span class="badge live">live</span>}
          </>
        }
        back={back}
      >
        <Download session={session} />
        {live && may("session:kill", session.resource) && (
          <button type="button" class="danger" onClick={() => setKilling(true)}>
            Kill…
          </button>
        )}
      </PageHead>
      <Facts
        items={[
          ["started", <Time at={session.startedAt} as="full" />],
          [
            "lasted",
            session.endedAt === undefined ? (
              <Elapsed since={session.startedAt} />
            ) : (
              span(Date.parse(session.endedAt) - Date.parse(session.startedAt))
            ),
          ],
          [
            "operations",
            `${count(session.operations)}, ${count(session.held)} held, ${count(session.denied)} denied`,
          ],
          ["rows delivered", count(session.rows)],
          session.endReason === undefined ? undefined : ["ended by", session.endReason.replaceAll("_", " ")],
          ["id", <code>{session.id}</code>],
        ]}
      />
      <Chain recording={recording} live={live} />
      {recording.complete &&
        recording.timeline.terminals.map((terminal) => (
          <Section
            key={terminal.channel}
            title="Terminal"
            aside={
              <code class="clip quiet terminal-command" title={terminal.header.title}>
                {terminal.header.title}
              </code>
            }
          >
            <Player terminal={terminal} length={terminal.length} />
          </Section>
        ))}
      <TimelineView session={session} recording={recording} onRetry={() => setRetry(retry + 1)} />
      {killing && <KillDialog session={session} onClose={() => setKilling(false)} />}
    </>
  );
}

/** Whether the chain of hashes holds, found out by this browser. */
function Chain({ recording, live }: { readonly recording: Recording; readonly live: boolean }): JSX.Element {
  const { verified, broken, complete, head } = recording;
  const [open, setOpen] = useState(false);
  if (broken !== undefined) {
    return (
      <div class="chain broken" role="alert">
        <b>The recording does not hold.</b> Event {broken.seq}: {sentence(broken.why)}. Everything before it
        is as it was recorded; do not rely on what follows.
      </div>
    );
  }
  if (verified === undefined || head === undefined) {
    return <div class="chain pending">Checking the recording…</div>;
  }
  return (
    <div class={`chain ${complete ? "holds" : "pending"}`}>
      <p>
        <b>{complete ? "Verified by this browser" : "Checking"}</b>: {plural(verified.seq, "event")}, each
        hashed over the one before it, none missing{live ? ", so far" : ""}.{" "}
        <button type="button" class="link" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? "Hide" : "Show"} the last hash
        </button>
      </p>
      {open && (
        <>
          <Hash value={verified.hash} />
          <p class="small quiet">
            Compare it with <code>sally sessions verify</code>, or with what you noted earlier: it covers
            everything up to event {verified.seq}.
          </p>
        </>
      )}
    </div>
  );
}

type Filter = "all" | Effect | "errors";
const FILTERS: readonly (readonly [Filter, string])[] = [
  ["all", "Everything"],
  ["allow", "Allowed"],
  ["hold", "Held"],
  ["deny", "Denied"],
  ["errors", "Errors"],
];
/** Entries put on the page at once; a longer session shows more on demand. */
const AT_ONCE = 300;

function TimelineView({
  session,
  recording,
  onRetry,
}: {
  readonly session: Session;
  readonly recording: Recording;
  readonly onRetry: () => void;
}): JSX.Element {
  const { timeline, complete, problem, turn } = recording;
  const live = session.status === "live";
  const [filter, setFilter] = useState<Filter>("all");
  const [words, setWords] = useState("");
  const [shown, setShown] = useState(AT_ONCE);
  const [follow, setFollow] = useState(true);
  const list = useRef<HTMLOListElement>(null);
  const target = Number(place.value.query.get("at") ?? Number.NaN);

  const entries = useMemo(
    () => timeline.entries.filter((entry) => shows(entry, filter, words)),
    [timeline, turn, filter, words],
  );
  const at = entries.findIndex(({ seq }) => seq >= target);
  // The end of a live session is what one looks at; of a finished one, its beginning or where the link points.
  const last = live ? entries.length : Math.min(entries.length, Math.max(shown, at + 50));
  const first = live ? Math.max(0, entries.length - shown) : 0;
  const visible = entries.slice(first, last);

  useEffect(() => {
    if (!complete || Number.isNaN(target)) return;
    list.current
      ?.querySelector<HTMLElement>(`[data-seq="${entries[at]?.seq ?? -1}"]`)
      ?.scrollIntoView({ block: "center" });
  }, [complete, target]);
  const pinned = live && follow && Number.isNaN(target);
  useEffect(() => {
    if (pinned && complete) list.current?.lastElementChild?.scrollIntoView({ block: "nearest" });
  }, [turn, pinned, complete]);

  return (
    <Section
      title={`Timeline${live ? "" : ` (${plural(timeline.entries.length, "entry", "entries")})`}`}
      aside={
        live ? (
          <label class="check small">
            <input
              type="checkbox"
              checked={follow}
              onChange={(event) => setFollow(event.currentTarget.checked)}
            />
            follow
          </label>
        ) : undefined
      }
    >
      <div class="toolbar">
        <div class="segments" role="group" aria-label="show">
          {FILTERS.map(([value, name]) => (
            <button
              key={value}
              type="button"
              aria-pressed={filter === value}
              onClick={() => setFilter(value)}
            >
              {name}
            </button>
          ))}
        </div>
        <input
          type="search"
          aria-label="find in this session"
          placeholder="Find in this session"
          value={words}
          onInput={(event) => setWords(event.currentTarget.value)}
        />
      </div>
      {problem !== undefined && <Failed problem={problem} retry={onRetry} />}
      {first > 0 && (
        <p class="more">
          <button type="button" onClick={() => setShown(shown + AT_ONCE)}>
            {plural(first, "earlier entry", "earlier entries")}
          </button>
        </p>
      )}
      <ol class="timeline" ref={list}>
        {visible.map((entry) => (
          <EntryView
            key={entry.seq}
            entry={entry}
            protocol={session.protocol}
            startedAt={session.startedAt}
            marked={entry.seq === target}
          />
        ))}
      </ol>
      {complete && entries.length === 0 && problem === undefined && (
        <Empty
          title={timeline.entries.length === 0 ? "Nothing has happened in this session" : "Nothing matches"}
        />
      )}
      {!complete && problem === undefined && <Loading what="the recording" />}
      {last < entries.length && (
        <p class="more">
          <button type="button" onClick={() => setShown(last + AT_ONCE)}>
            {plural(entries.length - last, "further entry", "further entries")}
          </button>
        </p>
      )}
    </Section>
  );
}

/** The recording as one file: an event a line, exactly as it is stored, so that the chain can be verified from it. */
function Download({ session }: { readonly session: Session }): JSX.Element {
  const [state, setState] = useState("Download");
  const save = async (): Promise<void> => {
    setState("Reading…");
    const lines: string[] = [];
    let after = 0;
    for (;;) {
      const answer = await get<Events>(
        `/v1/sessions/${encodeURIComponent(session.id)}/events?after=${after}&limit=1000`,
      );
      if (!answer.ok) return setState("Try the download again");
      for (const event of answer.value.events) lines.push(lineOf(event));
      after = answer.value.events.at(-1)?.seq ?? after;
      if (!answer.value.more || answer.value.events.length === 0) break;
    }
    const url = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = `${session.id}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    setState("Download");
  };
  return (
    <button type="button" onClick={() => void save()}>
      {state}
    </button>
  );
}

function lineOf({ seq, at, previous, hash, json }: RecordedEvent): string {
  return `${JSON.stringify({ seq, at, previous, hash, json })}\n`;
}
