/** Every configuration that ever ran, from the Control object's SQLite, and what another one would change. */
import { diffLines } from "diff";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Principal } from "../../policy/types.ts";
import { sha256 } from "../recording/chain.ts";

export type Files = Readonly<Record<string, string>>;

export type ConfigVersion = {
  readonly version: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly by: Principal | "bootstrap";
};

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

type Row = { readonly version: number; readonly at: number; readonly by: string; readonly files: string };

export class ConfigHistory {
  readonly #sql: SqlStorage;

  /** The table is the Control object's own. */
  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Newest first. */
  list(limit: number): (ConfigVersion & { readonly digest: string })[] {
    return this.#sql
      .exec<Row>("SELECT version, at, by, files FROM config ORDER BY version DESC LIMIT ?", limit)
      .toArray()
      .map((row) => ({ ...versionOf(row), digest: sha256(row.files) }));
  }

  get(version: number): Result<ConfigVersion & { readonly files: Files }, Refusal> {
    const row = this.#sql
      .exec<Row>("SELECT version, at, by, files FROM config WHERE version = ?", version)
      .toArray()[0];
    return row === undefined
      ? err(refusal("not_found", `there is no configuration version ${version}`))
      : ok({ ...versionOf(row), files: JSON.parse(row.files) as Files });
  }
}

function versionOf({ version, at, by }: Row): ConfigVersion {
  return { version, at, by: JSON.parse(by) as Principal | "bootstrap" };
}

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
