/** A terminal session, played: asciinema's player, loaded only where there is something to play. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Terminal } from "../model/terminal.ts";
import { Loading } from "./parts.tsx";

/** A terminal is not blown up to the width of the page. */
const REM_PER_COLUMN = 0.66;
/** Of a terminal that has said no size (wire/ssh/asciicast.ts). */
const USUAL_COLUMNS = 80;

/** `length` is that of the terminal's recording: when a live session has more, the player offers to load it. */
export function Player({
  terminal,
  length,
}: {
  readonly terminal: Terminal;
  readonly length: number;
}): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  const [state, setState] = useState<"loading" | "ready" | "failed">("loading");
  const [loadedAt, setLoadedAt] = useState(length);
  useEffect(() => {
    let gone = false;
    let dispose: (() => void) | undefined;
    const load = async (): Promise<void> => {
      const [{ create }, { allowPlayerTemplates }] = await Promise.all([
        import("asciinema-player"),
        import("../player-templates.ts"),
        import("asciinema-player/dist/bundle/asciinema-player.css"),
      ]);
      if (gone || host.current === null) return;
      allowPlayerTemplates();
      const player = create({ data: terminal.cast() }, host.current, {
        fit: "width",
        idleTimeLimit: 3,
        preload: true,
        // What was on the screen at the end says more than an empty one.
        poster: "npt:86400",
        theme: "asciinema",
      });
      dispose = () => player.dispose();
      setState("ready");
    };
    load().catch(() => setState("failed"));
    return () => {
      gone = true;
      dispose?.();
    };
  }, [terminal, loadedAt]);
  return (
    <div
      class="player"
      style={{ maxWidth: `${Math.max(24, (terminal.header.columns || USUAL_COLUMNS) * REM_PER_COLUMN)}rem` }}
    >
      {state === "loading" && <Loading what="the terminal" />}
      {state === "failed" && <p class="quiet">The terminal player could not be loaded.</p>}
      <div ref={host} />
      {length > loadedAt && (
        <button type="button" onClick={() => setLoadedAt(length)}>
          Load what has happened since
        </button>
      )}
    </div>
  );
}
