/** Approving and denying: always by a question that shows exactly what is decided, hash included. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { type Problem, post } from "../api/client.ts";
import { keep } from "../api/live.ts";
import type { Approval } from "../api/types.ts";
import { Code } from "./code.tsx";
import { Dialog } from "./dialog.tsx";
import { Failed, Hash, Who } from "./parts.tsx";

export type Verdict = "approve" | "deny";

const BATCH_HOURS = [1, 4, 8, 24];

/** The question. The verdict is sent with the hash that is on the screen; if the operation is another, it is refused. */
export function DecideDialog({
  approval: given,
  verdict,
  protocol,
  onClose,
}: {
  readonly approval: Approval;
  readonly verdict: Verdict;
  readonly protocol?: string;
  readonly onClose: () => void;
}): JSX.Element {
  // What was on the screen when it was opened, whatever the stream brings meanwhile.
  const [approval] = useState(given);
  const [comment, setComment] = useState("");
  const [batch, setBatch] = useState(false);
  const [uses, setUses] = useState(Math.min(5, approval.batchLimit ?? 1));
  const [hours, setHours] = useState(1);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const approving = verdict === "approve";
  const { operation } = approval;
  const usesFit = !batch || (Number.isInteger(uses) && uses >= 1 && uses <= (approval.batchLimit ?? 1));
  const gone = given.status !== "pending";

  const send = async (): Promise<void> => {
    if (busy) return;
    setBusy(true);
    const until = new Date(Date.now() + hours * 3_600_000).toISOString();
    const answer = await post<Approval>(`/v1/approvals/${encodeURIComponent(approval.id)}/${verdict}`, {
      hash: operation.hash,
      ...(comment.trim() === "" ? {} : { comment: comment.trim() }),
      ...(batch && approving ? { batch: { uses, until } } : {}),
    });
    setBusy(false);
    if (!answer.ok) return setProblem(answer.error);
    keep({ ...approval, ...answer.value });
    onClose();
  };

  return (
    <Dialog title={approving ? "Approve this operation?" : "Deny this operation?"} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <p class="dialog-lead">
          <Who principal={approval.requester} /> on <b>{approval.resource}</b>
          {!approving
            ? " will be told that it was denied:"
            : batch
              ? " may run this, and the same with other values:"
              : " may run this once, exactly as it is:"}
        </p>
        <Code text={operation.text} protocol={protocol ?? "postgres"} />
        <Parameters values={operation.parameters} />
        <p class="label">SHA-256 of the operation and its parameters</p>
        <Hash value={operation.hash} />
        {approving && approval.batchLimit !== undefined && operation.shape !== undefined && (
          <fieldset class="batch">
            <label class="check">
              <input
                type="checkbox"
                checked={batch}
                onChange={(event) => setBatch(event.currentTarget.checked)}
              />
              Also allow the same statement with <b>other values</b>, without asking again
            </label>
            {batch && (
              <>
                <Code text={operation.shape.text} label="statement with its values left open" />
                <div class="row">
                  <label class="field grow">
                    uses in all
                    <input
                      type="number"
                      min={1}
                      max={approval.batchLimit}
                      value={uses}
                      onInput={(event) => setUses(event.currentTarget.valueAsNumber)}
                    />
                  </label>
                  <label class="field grow">
                    within
                    <select value={hours} onChange={(event) => setHours(Number(event.currentTarget.value))}>
                      {BATCH_HOURS.map((each) => (
                        <option key={each} value={each}>
                          {each === 1 ? "1 hour" : `${each} hours`}
                        </option>
                      ))}
                    </select>
                  </label>
                </div>
                <p class="small quiet">
                  At most {approval.batchLimit} uses by policy. {operation.shape.hash.slice(0, 16)}… is the
                  hash of this shape.
                </p>
              </>
            )}
          </fieldset>
        )}
        <label class="field">
          {approving ? "Comment (optional, recorded)" : "Reason (the requester sees it)"}
          <textarea
            rows={2}
            maxLength={2000}
            value={comment}
            data-focus={approving ? undefined : true}
            onInput={(event) => setComment(event.currentTarget.value)}
          />
        </label>
        {gone && <p class="banner hold">This approval is {given.status} already.</p>}
        {problem !== undefined && <Failed problem={problem} />}
        <div class="dialog-actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button
            type="submit"
            class={approving ? "approve" : "danger"}
            disabled={busy || gone || !usesFit}
            data-focus={approving ? true : undefined}
          >
            {approving ? (batch ? `Approve ${usesFit ? uses : "…"} uses` : "Approve once") : "Deny"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** Bound values, in order. */
export function Parameters({
  values,
}: {
  readonly values: Approval["operation"]["parameters"];
}): JSX.Element | null {
  if (values === undefined || values.length === 0) return null;
  return (
    <ol class="parameters" aria-label="parameters">
      {values.map((value, index) => (
        <li key={index}>
          <code>${index + 1}</code>{" "}
          {value === null ? <i class="null">NULL</i> : <code class="value">{value}</code>}
        </li>
      ))}
    </ol>
  );
}

const SHORTCUTS_KEY = "sallyport-shortcuts";

/** One-key commands can be turned off (WCAG 2.1.4): a person who speaks to their computer presses keys by accident. */
export function shortcutsOn(): boolean {
  return localStorage.getItem(SHORTCUTS_KEY) !== "off";
}

export function setShortcuts(on: boolean): void {
  localStorage.setItem(SHORTCUTS_KEY, on ? "on" : "off");
}

/** Calls `on` for a key pressed anywhere but in a field, a dialog, or together with a modifier. */
export function useKeys(on: (key: string) => boolean): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.repeat) return;
      if (document.querySelector("dialog[open]") !== null || !shortcutsOn()) return;
      const target = event.target instanceof Element ? event.target : null;
      if (target?.closest("input, textarea, select, [contenteditable]") != null) return;
      if (on(event.key)) event.preventDefault();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  });
}
