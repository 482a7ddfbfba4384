/** One entry of a session's timeline. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Entry, Note, Operation, Result, Value } from "../model/timeline.ts";
import { bytes, laidOut, plural, span } from "../model/text.ts";
import { href } from "../router.ts";
import { Code } from "./code.tsx";
import { EffectBadge, Time, sentence } from "./parts.tsx";

export function EntryView({
  entry,
  protocol,
  startedAt,
  marked,
}: {
  readonly entry: Entry;
  readonly protocol: string;
  readonly startedAt: string;
  readonly marked: boolean;
}): JSX.Element {
  const offset = Date.parse(entry.at) - Date.parse(startedAt);
  return (
    <li
      class={`entry${entry.kind === "operation" ? ` ${entry.effect}` : " note"}${marked ? " marked" : ""}`}
      data-seq={entry.seq}
    >
      <div class="entry-when">
        <a href={`?at=${entry.seq}`}>
          <Time at={entry.at} as="clock" />
        </a>
        <span class="quiet small">+{span(offset)}</span>
      </div>
      <div class="entry-body">
        {entry.kind === "operation" ? (
          <OperationView operation={entry} protocol={protocol} />
        ) : (
          <NoteView note={entry} />
        )}
      </div>
    </li>
  );
}

function OperationView({
  operation,
  protocol,
}: {
  readonly operation: Operation;
  readonly protocol: string;
}): JSX.Element {
  const [rewritten, setRewritten] = useState(false);
  const rows = operation.results.reduce((sum, { rowCount }) => sum + rowCount, 0);
  return (
    <>
      <div class="entry-head small">
        <EffectBadge effect={operation.effect} />
        <span class="quiet">{operation.actions.join(", ")}</span>
        {operation.policies.map(({ id }) => (
          <code key={id} class="policy-id">
            {id}
          </code>
        ))}
        <span class="grow" />
        {operation.results.length > 0 && (
          <span>{operation.results.map(({ tag }) => tag).join("; ") || plural(rows, "row")}</span>
        )}
        {operation.exit !== undefined && <span>{operation.exit}</span>}
        {operation.milliseconds !== undefined && <span class="quiet">{span(operation.milliseconds)}</span>}
      </div>
      <Code text={operation.text} protocol={protocol} />
      {operation.parameters !== undefined && operation.parameters.length > 0 && (
        <ol class="parameters" aria-label="parameters">
          {operation.parameters.map((value, index) => (
            <li key={index}>
              <code>${index + 1}</code> <ValueView value={value} />
            </li>
          ))}
        </ol>
      )}
      <Held operation={operation} />
      {operation.refusal !== undefined && (
        <p class="said deny">
          {sentence(operation.refusal.message)} <code class="policy-id">{operation.refusal.code}</code>
        </p>
      )}
      {operation.error !== undefined && (
        <p class="said deny">
          {operation.error.message} <code class="policy-id">{operation.error.code}</code>
        </p>
      )}
      {operation.rewritten !== undefined && (
        <div>
          <button
            type="button"
            class="link small"
            aria-expanded={rewritten}
            onClick={() => setRewritten(!rewritten)}
          >
            {rewritten ? "Hide" : "Show"} what was sent, with its masks
          </button>
          {rewritten && (
            <>
              <Code
                text={operation.rewritten}
                protocol={protocol}
                label="statement as it was sent to the server"
              />
              {operation.notes.map((note) => (
                <p key={note} class="small quiet">
                  {sentence(note)}
                </p>
              ))}
            </>
          )}
        </div>
      )}
      {operation.output.stdout !== "" && (
        <Code text={operation.output.stdout} protocol="text" label="standard output" />
      )}
      {operation.output.stderr !== "" && (
        <Code text={operation.output.stderr} protocol="text" label="standard error" />
      )}
      {operation.results.map((result, index) => (
        <ResultView key={index} result={result} />
      ))}
      <BodyView name="Sent" text={operation.exchange.sent} />
      <BodyView name="Answer" text={operation.exchange.received} />
      {operation.exchange.truncated && (
        <p class="small quiet">The recording keeps a part of what passed, and a digest of all.</p>
      )}
    </>
  );
}

function Held({ operation }: { readonly operation: Operation }): JSX.Element | null {
  const { approval, decided, waitedMs, withdrawn, requirements } = operation;
  if (operation.effect !== "hold") return null;
  const link = approval === undefined ? "its approval" : <a href={href("approvals", approval)}>{approval}</a>;
  return (
    <p class="said hold">
      {decided !== undefined ? (
        <>
          {sentence(decided.outcome)}
          {decided.by.length > 0 && ` by ${decided.by.join(", ")}`}
          {waitedMs !== undefined && ` after ${span(waitedMs)}`}
          {decided.comment !== undefined && <>: “{decided.comment}”</>} ({link})
        </>
      ) : withdrawn !== undefined ? (
        <>
          Withdrawn: {withdrawn.replaceAll("_", " ")} ({link})
        </>
      ) : approval !== undefined ? (
        <>Approved beforehand ({link})</>
      ) : (
        <>
          Held for{" "}
          {requirements.map(({ quorum, group }) => `${quorum} of ${group}`).join(", ") || "an approval"}
        </>
      )}
    </p>
  );
}

/** Rows on the page at first. */
const FEW = 20;

function ResultView({ result }: { readonly result: Result }): JSX.Element | null {
  const [all, setAll] = useState(false);
  if (result.copied !== "") {
    return <Code text={result.copied} protocol="text" label="copied data as it was delivered" />;
  }
  if (result.columns.length === 0 && result.values.length === 0) return null;
  const values = all ? result.values : result.values.slice(0, FEW);
  const width = Math.max(result.columns.length, result.values[0]?.length ?? 0);
  return (
    <div class="result">
      {/* Scrolls sideways, so the keyboard has to reach it. */}
      <div class="scroll" tabIndex={0} role="group" aria-label="rows as they were delivered">
        <table class="data">
          <thead>
            <tr>
              {Array.from({ length: width }, (_, index) => (
                <th key={index} scope="col">
                  {result.columns[index] ?? "?"}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {values.map((row, index) => (
              <tr key={index}>
                {row.map((value, column) => (
                  <td key={column}>
                    <ValueView value={value} />
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="small quiet">
        {plural(result.rowCount, "row")}
        {result.bytes > 0 && `, ${bytes(result.bytes)}`}, as delivered
        {result.truncated && `; the recording keeps the first ${result.values.length} and a digest of all`}
        {result.values.length > FEW && (
          <>
            {" "}
            <button type="button" class="link" onClick={() => setAll(!all)}>
              {all ? "Show fewer" : `Show all ${result.values.length}`}
            </button>
          </>
        )}
      </p>
    </div>
  );
}

/** A body below the request, closed until somebody wants to read it; JSON is laid out. */
function BodyView({ name, text }: { readonly name: string; readonly text: string }): JSX.Element | null {
  const [open, setOpen] = useState(false);
  if (text === "") return null;
  return (
    <div>
      <button type="button" class="link small" aria-expanded={open} onClick={() => setOpen(!open)}>
        {name}, {bytes(new Blob([text]).size)}
      </button>
      {open && <Code text={laidOut(text)} protocol="text" label={`${name.toLowerCase()} as it passed`} />}
    </div>
  );
}

function ValueView({ value }: { readonly value: Value }): JSX.Element {
  if (value === null) return <i class="null">NULL</i>;
  if (typeof value === "string") return <span class="value">{value}</span>;
  return <span class="value quiet">base64:{value.base64}</span>;
}

const NOTES: Readonly<Record<string, string>> = {
  session: "Session started",
  opened: "Connected to the server",
  end: "Session ended",
  renewed: "Identity renewed",
  cancel_request: "Cancel requested",
  channel: "Channel closed",
  open_failed: "The server could not be reached",
  declined: "Declined",
  signal: "Signal sent",
  checkpoint: "Checkpoint, signed by the gateway",
};

function NoteView({ note }: { readonly note: Note }): JSX.Element {
  const [open, setOpen] = useState(false);
  const { type: _, ...rest } = note.body;
  const reason =
    typeof note.body["reason"] === "string" ? note.body["reason"].replaceAll("_", " ") : undefined;
  return (
    <>
      <p>
        {NOTES[note.type] ?? sentence(note.type.replaceAll("_", " "))}
        {reason !== undefined && `: ${reason}`}{" "}
        {Object.keys(rest).length > 0 && (
          <button type="button" class="link small" aria-expanded={open} onClick={() => setOpen(!open)}>
            {open ? "less" : "more"}
          </button>
        )}
      </p>
      {open && <Code text={JSON.stringify(rest, null, 2)} protocol="json" label="details" />}
    </>
  );
}
