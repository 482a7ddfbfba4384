/** What one set of configuration files changes of another, line by line. */
import { diffLines } from "diff";
import type { Files } from "./config-history.ts";

export type FileChange = {
  readonly path: string;
  readonly change: "added" | "removed" | "changed";
  readonly lines: readonly DiffLine[];
};

export type DiffLine = {
  readonly kind: " " | "+" | "-";
  readonly text: string;
  /** Number of the line in the running file, and in the new one. */
  readonly before?: number;
  readonly after?: number;
};

/** Differing lines that are looked for at most in one file; beyond it the file is shown as replaced. */
const MAX_EDITS = 3000;

/** The files that differ, line by line. */
export function compareFiles(before: Files, after: Files): FileChange[] {
  const paths = [...new Set([...Object.keys(before), ...Object.keys(after)])].toSorted();
  return paths.flatMap((path) => {
    const [old, now] = [before[path], after[path]];
    if (old === now) return [];
    const change = old === undefined ? "added" : now === undefined ? "removed" : "changed";
    return [{ path, change, lines: compareLines(old ?? "", now ?? "") } as const];
  });
}

function compareLines(old: string, now: string): DiffLine[] {
  const parts = diffLines(old, now, { maxEditLength: MAX_EDITS }) ?? [
    { value: old, added: false, removed: true },
    { value: now, added: true, removed: false },
  ];
  const lines: DiffLine[] = [];
  let [before, after] = [1, 1];
  for (const { value, added, removed } of parts) {
    for (const text of linesOf(value)) {
      if (added) lines.push({ kind: "+", text, after: after++ });
      else if (removed) lines.push({ kind: "-", text, before: before++ });
      else lines.push({ kind: " ", text, before: before++, after: after++ });
    }
  }
  return lines;
}

function linesOf(text: string): string[] {
  if (text === "") return [];
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}
