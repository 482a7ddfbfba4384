/** Statements and files, highlighted by CodeMirror's own parsers. Text nodes only, never HTML. */
import { PostgreSQL } from "@codemirror/lang-sql";
import { classHighlighter, highlightCode } from "@lezer/highlight";
import type { ComponentChildren, JSX } from "preact";
import { useMemo } from "preact/hooks";

/** Longer ones are shown plain: colouring them would only make the page slow. */
const HIGHLIGHTED = 50_000;

/** A statement of the protocol, `postgres` highlighted as SQL. */
export function Code({
  text,
  protocol = "postgres",
  label = "statement",
}: {
  readonly text: string;
  readonly protocol?: string;
  readonly label?: string;
}): JSX.Element {
  const parts = useMemo(() => (protocol === "postgres" ? highlight(text) : text), [text, protocol]);
  return (
    <pre class="code" tabIndex={0} role="group" aria-label={label}>
      <code>{parts}</code>
    </pre>
  );
}

/** The same within a line. */
export function InlineCode({
  text,
  protocol = "postgres",
}: {
  readonly text: string;
  readonly protocol?: string;
}): JSX.Element {
  const parts = useMemo(() => (protocol === "postgres" ? highlight(text) : text), [text, protocol]);
  return <code class="inline-code">{parts}</code>;
}

function highlight(text: string): ComponentChildren {
  if (text.length > HIGHLIGHTED) return text;
  const parts: ComponentChildren[] = [];
  highlightCode(
    text,
    PostgreSQL.language.parser.parse(text),
    classHighlighter,
    (piece, classes) =>
      parts.push(
        classes === "" ? (
          piece
        ) : (
          <span key={parts.length} class={classes}>
            {piece}
          </span>
        ),
      ),
    () => parts.push("\n"),
  );
  return parts;
}
