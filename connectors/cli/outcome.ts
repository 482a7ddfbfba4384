/**
 * What happened in the sessions behind a native client, learnt from the gateway's notices, so that `sally`
 * can tell a script (DESIGN section 10): the client's own exit code passes through, except that a client
 * that failed after an operation was denied or held, or that never got a session, gives ours.
 */
import type { ClientNotice } from "../../wire/control.ts";
import { EXIT } from "../../wire/refusals.ts";
import { type Failure, exitFor } from "./failure.ts";
import { type Terminal, say, sayFailure } from "./terminal.ts";

/** Exit codes that say more than a client's own. */
const TELLING: ReadonlySet<number> = new Set([
  EXIT.denied,
  EXIT.held,
  EXIT.unauthenticated,
  EXIT.unreachable,
]);

export type Outcome = {
  /** Takes note of a message from the gateway and tells the user what native clients do not show. */
  readonly notice: (notice: ClientNotice) => void;
  /** A connection that never became a session. */
  readonly failed: (failure: Failure) => void;
  /** The exit code for a client that ended with `code`. */
  readonly exitCode: (code: number) => number;
};

export function newOutcome(terminal: Terminal): Outcome {
  let last: number | undefined;
  let told: string | undefined;
  const note = (exit: number): void => {
    if (TELLING.has(exit)) last = exit;
  };
  return {
    notice: (notice) => {
      switch (notice.type) {
        case "session":
          return;
        case "held":
          // While it waits nothing has failed; the refusal or the result that follows says how it ended.
          if (!notice.waiting) note(EXIT.held);
          sayHeld(terminal, notice);
          return;
        case "refused":
          // The native client shows the message itself.
          note(exitFor(notice.code));
          return;
        case "ended":
          if (notice.code === "done") return;
          note(exitFor(notice.code));
          say(terminal, `the session has ended: ${notice.message}`);
          return;
      }
    },
    failed: (failure) => {
      note(failure.exit);
      // A client that tries again and again should not fill the screen with the same words.
      if (told !== failure.message) sayFailure(terminal, failure);
      told = failure.message;
    },
    exitCode: (code) => (code === 0 ? 0 : (last ?? code)),
  };
}

function sayHeld(terminal: Terminal, notice: { approval: string; url: string; waiting: boolean }): void {
  say(
    terminal,
    notice.waiting
      ? `held: waiting for approval ${notice.approval}; approve with: sally approvals approve ${notice.approval}`
      : `held: needs approval ${notice.approval}; the same operation passes when it is sent again after: ` +
          `sally approvals approve ${notice.approval}`,
  );
  if (URL.canParse(notice.url)) terminal.err(`  see: ${new URL(notice.url).href}\n`);
}
