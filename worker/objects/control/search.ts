/** Searching the index of sessions, page by page, among those that the searcher may see. */
import type { Principal } from "../../policy/types.ts";
import type { OperationLine, Operations, Search } from "./operations.ts";
import type { SessionIndex } from "./sessions.ts";
import type { SessionRow } from "./types.ts";

export type FoundSession = SessionRow & { readonly matches?: readonly Omit<OperationLine, "relations">[] };

export type SearchQuestion = Search & { readonly person?: string };

export type SearchAnswer = { readonly sessions: readonly FoundSession[]; readonly next?: string };

/** Sessions looked at in one step, and in one search: what is left is the next page's. */
const STEP = 200;
const MOST_LOOKED_AT = 5_000;

export function searchSessions(
  operations: Operations,
  index: SessionIndex,
  question: SearchQuestion,
  limit: number,
  maySee: (session: SessionRow) => boolean,
): SearchAnswer {
  const { person, ...search } = question;
  const found: FoundSession[] = [];
  let before = search.before;
  for (let looked = 0; looked < MOST_LOOKED_AT; looked += STEP) {
    const step = operations.search({ ...search, ...(before === undefined ? {} : { before }) }, STEP);
    for (const { id, startedAt } of step) {
      before = { at: startedAt, id };
      const session = index.get(id);
      if (session === undefined || !fits(session.principal, person) || !maySee(session)) continue;
      const matches = operations.matches(id, search);
      found.push({ ...session, ...(matches.length === 0 ? {} : { matches }) });
      if (found.length === limit) return { sessions: found, next: cursor(before) };
    }
    if (step.length < STEP) return { sessions: found };
  }
  return { sessions: found, ...(before === undefined ? {} : { next: cursor(before) }) };
}

function fits({ name, subject }: Principal, person: string | undefined): boolean {
  if (person === undefined) return true;
  const part = person.toLowerCase();
  return name.toLowerCase().includes(part) || subject.toLowerCase().includes(part);
}

function cursor({ at, id }: { readonly at: number; readonly id: string }): string {
  return `${at}.${id}`;
}

export function readCursor(text: string | undefined): Search["before"] {
  const [, at, id] = /^(\d{1,15})\.(ses_[0-9a-z]{26})$/.exec(text ?? "") ?? [];
  return at === undefined || id === undefined ? undefined : { at: Number(at), id };
}
