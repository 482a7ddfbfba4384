/** What the viewer has changed and not applied: kept while they look elsewhere in the console. */
import { signal } from "@preact/signals";
import type { Configuration, Files } from "../api/types.ts";

export type Draft = {
  /** The version it was begun from; applying it onto another one is refused. */
  readonly from: number;
  readonly files: Files;
};

export const draft = signal<Draft | undefined>(undefined);

/** Counts how often the draft was thrown away: the editor then begins anew. */
export const discarded = signal(0);

export function discard(): void {
  draft.value = undefined;
  discarded.value++;
}

/** The files as the viewer has them. */
export function draftFiles(running: Configuration): Files {
  return draft.value?.files ?? running.files;
}

export function isChanged(running: Configuration): boolean {
  const files = draft.value?.files;
  if (files === undefined) return false;
  const names = new Set([...Object.keys(files), ...Object.keys(running.files)]);
  return [...names].some((name) => files[name] !== running.files[name]);
}

export function change(running: Configuration, path: string, text: string | undefined): void {
  const files = { ...draftFiles(running) };
  if (text === undefined) delete files[path];
  else files[path] = text;
  draft.value = { from: draft.value?.from ?? running.version, files };
}
