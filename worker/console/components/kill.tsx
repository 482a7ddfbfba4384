/** Ending somebody's session, with a reason that is recorded. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { type Problem, post } from "../api/client.ts";
import type { Session } from "../api/types.ts";
import { Dialog } from "./dialog.tsx";
import { Failed, Time, Who } from "./parts.tsx";

export function KillDialog({
  session,
  onClose,
}: {
  readonly session: Session;
  readonly onClose: () => void;
}): JSX.Element {
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const send = async (): Promise<void> => {
    if (busy) return;
    setBusy(true);
    const answer = await post<Session>(
      `/v1/sessions/${encodeURIComponent(session.id)}/kill`,
      reason.trim() === "" ? {} : { reason: reason.trim() },
    );
    setBusy(false);
    if (answer.ok) onClose();
    else setProblem(answer.error);
  };
  return (
    <Dialog title="End this session now?" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <p>
          <Who principal={session.principal} /> on <b>{session.resource}</b>, since{" "}
          <Time at={session.startedAt} />. What runs is cancelled; both connections are cut.
        </p>
        <label class="field">
          Reason (recorded)
          <input
            type="text"
            maxLength={2000}
            data-focus
            value={reason}
            onInput={(event) => setReason(event.currentTarget.value)}
          />
        </label>
        {problem !== undefined && <Failed problem={problem} />}
        <div class="dialog-actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="danger" disabled={busy}>
            End the session
          </button>
        </div>
      </form>
    </Dialog>
  );
}
