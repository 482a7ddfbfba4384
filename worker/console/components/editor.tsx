/**
 * A text editor with errors at their place (CodeMirror). It lives in a shadow root: only there does it put its
 * styles in as constructed style sheets, which the pages' Content-Security-Policy allows, and not as style elements.
 */
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { HighlightStyle, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import { EditorState, type Extension } from "@codemirror/state";
import {
  EditorView,
  drawSelection,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { ConfigError } from "../api/types.ts";

/** Enough of Cedar to read it by colour. */
const cedar = StreamLanguage.define<{ readonly none?: never }>({
  name: "cedar",
  startState: () => ({}),
  token: (stream) => {
    if (stream.eatSpace()) return null;
    if (stream.match("//")) {
      stream.skipToEnd();
      return "comment";
    }
    if (stream.match(/"(?:[^"\\]|\\.)*"?/)) return "string";
    if (stream.match(/@\w+/)) return "meta";
    if (stream.match(/\b(?:permit|forbid|when|unless|if|then|else|in|is|has|like)\b/)) return "keyword";
    if (stream.match(/\b(?:principal|action|resource|context)\b/)) return "variableName";
    if (stream.match(/\b(?:true|false)\b/)) return "bool";
    if (stream.match(/\d+/)) return "number";
    if (stream.match(/[A-Z]\w*(?=::)/)) return "typeName";
    if (!stream.match(/\w+/)) stream.next();
    return null;
  },
});

/** The page's colours: custom properties reach into the shadow root. */
const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--code-keyword)" },
  { tag: tags.string, color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null, tags.meta], color: "var(--code-number)" },
  { tag: tags.comment, color: "var(--code-comment)", fontStyle: "italic" },
  { tag: [tags.typeName, tags.propertyName], color: "var(--code-name)" },
]);

const look = EditorView.theme({
  "&": {
    height: "min(36rem, 65vh)",
    color: "var(--text)",
    background: "var(--panel)",
    border: "1px solid var(--strong-line)",
    borderRadius: "8px",
    overflow: "hidden",
  },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "1px" },
  ".cm-scroller": { font: "0.8125rem/1.6 var(--mono)" },
  ".cm-gutters": {
    background: "var(--sunken)",
    color: "var(--muted)",
    borderRight: "1px solid var(--line)",
  },
  ".cm-content": { caretColor: "var(--text)" },
  "&.cm-focused .cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-activeLine, .cm-activeLineGutter": { background: "var(--active-line)" },
  "& .cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": {
    background: "var(--selection)",
  },
  ".cm-tooltip": { background: "var(--panel)", color: "var(--text)", border: "1px solid var(--line)" },
});

function language(path: string): Extension {
  if (path.endsWith(".cedar")) return cedar;
  return /\.ya?ml$/.test(path) ? yaml() : [];
}

export function Editor({
  path,
  text,
  errors,
  readOnly,
  reset,
  jump,
  onChange,
}: {
  readonly path: string;
  readonly text: string;
  readonly errors: readonly ConfigError[];
  readonly readOnly: boolean;
  /**
   * `text` is what the editor begins with; it is taken anew when this changes. While somebody types, the editor
   * alone knows the newest text: putting back what a render has would undo keys.
   */
  readonly reset: string;
  /** Where to put the cursor; a new object each time it is asked for. */
  readonly jump: { readonly line: number; readonly column: number } | undefined;
  readonly onChange: (text: string) => void;
}): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(undefined);
  const changed = useRef(onChange);
  changed.current = onChange;
  useEffect(() => {
    if (host.current === null) return undefined;
    const root = host.current.shadowRoot ?? host.current.attachShadow({ mode: "open" });
    const editor = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: text,
        extensions: [
          lineNumbers(),
          highlightActiveLine(),
          highlightActiveLineGutter(),
          drawSelection(),
          history(),
          lintGutter(),
          language(path),
          syntaxHighlighting(colours),
          look,
          // Tab leaves the editor, as it does every other field.
          keymap.of([...defaultKeymap, ...historyKeymap]),
          EditorView.lineWrapping,
          EditorState.readOnly.of(readOnly),
          EditorView.contentAttributes.of({ "aria-label": path, tabindex: "0" }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) changed.current(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = editor;
    return () => {
      editor.destroy();
      view.current = undefined;
    };
  }, [path, readOnly, reset]);
  useEffect(() => {
    const editor = view.current;
    if (editor === undefined) return;
    const diagnostics = errors.map((error): Diagnostic => {
      const from = position(editor.state, error);
      const { to } = editor.state.doc.lineAt(from);
      return { from, to: Math.max(from, to), severity: "error", message: error.message };
    });
    editor.dispatch(setDiagnostics(editor.state, diagnostics));
  }, [errors, path]);
  useEffect(() => {
    const editor = view.current;
    if (editor === undefined || jump === undefined) return;
    const at = position(editor.state, jump);
    editor.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: "center" }) });
    editor.focus();
  }, [jump, path]);
  return <div ref={host} />;
}

/** Offset of a line and column, both from 1, as far as the text has them. */
function position(
  state: EditorState,
  { line, column }: { readonly line: number; readonly column: number },
): number {
  const found = state.doc.line(Math.max(1, Math.min(line, state.doc.lines)));
  return Math.min(found.to, found.from + Math.max(0, column - 1));
}
