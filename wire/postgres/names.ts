/**
 * What a name (of a prepared statement or a portal) stands for, while the server's answers are still on their
 * way. A client may send Parse or Close and use the name at once; if an error comes instead, the name keeps its
 * older meaning. So changes are pending until the server confirms them, and a use that could mean one of two
 * things has to wait for the answer: deciding about the wrong one would let a statement run undecided.
 *
 * Within one segment (up to a Sync) there is no doubt: when an earlier message fails, the server skips the use.
 */
export type Change<T> = { readonly name: string; readonly segment: number; readonly value: T | undefined };

export type Names<T> = { readonly confirmed: Map<string, T>; readonly pending: Map<string, Change<T>[]> };

export type Lookup<T> = { readonly known: true; readonly value: T | undefined } | { readonly known: false };

export function newNames<T>(): Names<T> {
  return { confirmed: new Map(), pending: new Map() };
}

/** Notes that the name was given a new meaning, or none (`undefined`), by a message just forwarded. */
export function change<T>(names: Names<T>, name: string, segment: number, value: T | undefined): Change<T> {
  const made: Change<T> = { name, segment, value };
  const list = names.pending.get(name);
  if (list === undefined) names.pending.set(name, [made]);
  else list.push(made);
  return made;
}

/**
 * The server confirmed the change. `capacity` names are kept, the oldest goes first.
 * `dropped` is given each value that no name stands for any more.
 */
export function confirm<T>(
  names: Names<T>,
  made: Change<T>,
  capacity: number,
  dropped: (value: T) => void,
): void {
  withdraw(names, made);
  const former = names.confirmed.get(made.name);
  if (former !== undefined) {
    names.confirmed.delete(made.name);
    dropped(former);
  }
  if (made.value === undefined) return;
  names.confirmed.set(made.name, made.value);
  if (names.confirmed.size <= capacity) return;
  for (const [oldest, value] of names.confirmed) {
    names.confirmed.delete(oldest);
    dropped(value);
    break;
  }
}

/** The server failed or skipped the change. */
export function withdraw<T>(names: Names<T>, made: Change<T>): void {
  const list = names.pending.get(made.name);
  if (list === undefined) return;
  const at = list.indexOf(made);
  if (at >= 0) list.splice(at, 1);
  if (list.length === 0) names.pending.delete(made.name);
}

/** What a use of the name in `segment` means, or that it has to wait. */
export function lookup<T>(names: Names<T>, name: string, segment: number): Lookup<T> {
  const list = names.pending.get(name);
  const confirmed = names.confirmed.get(name);
  const last = list?.at(-1);
  if (list === undefined || last === undefined) return { known: true, value: confirmed };
  if (last.segment === segment) return { known: true, value: last.value };
  // Only one possible meaning: were the change to fail, the name would stand for nothing and the use would fail.
  if (list.length === 1 && last.value !== undefined && confirmed === undefined)
    return { known: true, value: last.value };
  return { known: false };
}
