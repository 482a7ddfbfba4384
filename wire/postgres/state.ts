/** What PostgresMachine remembers: plain data, small when idle. The machine's legal transitions stand in machine.ts. */
import { LIMITS } from "../limits.ts";
import type { Refusal } from "../refusals.ts";
import type { TransactionStatus } from "./backend-decoder.ts";
import { type Framer, newFramer } from "./framer.ts";
import { type Ask, type Field, type Guard } from "./machine-types.ts";
import { type Change, type Names, newNames } from "./names.ts";

/** A prepared statement that came by Parse. */
export type Statement = {
  /** Ask id of its Parse. */
  readonly id: number;
  readonly guard: Guard;
  /** Columns as a Describe told them; undefined when not (or no longer) known. */
  fields: readonly Field[] | undefined;
  /** Segment in which a Describe of it was forwarded last; 0 never. */
  describedIn: number;
};

/** A portal that came by Bind. */
export type Portal = {
  /** Ask id of its Bind. */
  readonly id: number;
  readonly guard: Guard;
  readonly statement: Statement | undefined;
  fields: readonly Field[] | undefined;
  describedIn: number;
  /** An Execute of it was forwarded before. */
  executed: boolean;
};

export type EntryKind =
  | "query"
  | "parse"
  | "bind"
  | "describeStatement"
  | "describePortal"
  | "execute"
  | "closeStatement"
  | "closePortal"
  | "sync";

/**
 * Where the answer to one message stands.
 *
 *   start ─► rows ─► (between | done)      query: between statements, the server may start another or be ready
 *     ├────► copyIn ─► …                   copyOut ends with CopyDone, then CommandComplete follows
 *     ├────► copyOut ─► copyOutDone ─► …
 *     └────► described                     Describe of a statement after ParameterDescription
 *   errored                                query: only ReadyForQuery is left
 */
export type Phase =
  | "start"
  | "rows"
  | "copyIn"
  | "copyOut"
  | "copyOutDone"
  | "between"
  | "described"
  | "errored";

/** A message that went to the server and is not answered yet. */
export type Entry = {
  readonly kind: EntryKind;
  /** Ask id whose outcome this answer is; 0 when the message needed none. */
  readonly id: number;
  readonly guard: Guard;
  /** Set when a failing statement was sent in its place: the server's error is replaced by this. */
  readonly refused: Refusal | undefined;
  /** The statement was sent in another text, so positions in it mean nothing to the client. */
  readonly rewritten: boolean;
  phase: Phase;
  /** The client has been told this instead; nothing more of the answer reaches it. */
  withheld: Refusal | undefined;
  /** Meaning of a name that this message changes. */
  statementChange: Change<Statement> | undefined;
  portalChange: Change<Portal> | undefined;
  /** describe*, execute: what is described or run. */
  statement: Statement | undefined;
  portal: Portal | undefined;
  /** describePortal that we put in for this Execute; its answer is not the client's. */
  describes: Entry | undefined;
  /** Columns of the rows that are coming. */
  fields: readonly Field[] | undefined;
  /** The columns were held against the guard. */
  checked: boolean;
  /** Its outcome was reported, though the server is not done with it. */
  reported: boolean;
  /** query, sync: portals of Binds up to this ask id end with an idle ReadyForQuery. */
  readonly mark: number;
};

export function newEntry(kind: EntryKind, id: number, guard: Guard, more: Partial<Entry> = {}): Entry {
  return {
    kind,
    id,
    guard,
    refused: undefined,
    rewritten: false,
    phase: "start",
    withheld: undefined,
    statementChange: undefined,
    portalChange: undefined,
    statement: undefined,
    portal: undefined,
    describes: undefined,
    fields: undefined,
    checked: false,
    reported: false,
    mark: 0,
    ...more,
  };
}

/** A client message that waits for its verdict. `message` is the whole of it, to be forwarded as it is. */
export type PendingAsk = {
  readonly ask: Ask;
  readonly message: Uint8Array;
  readonly portal?: Portal | undefined;
  readonly statement?: Statement | undefined;
};

export type PostgresState = {
  /** startup: the first packets; opening: `open` was given out; ready: queries; ended. */
  phase: "startup" | "opening" | "ready" | "ended";
  /** Minor protocol version agreed with the client. */
  minor: number;
  sslAnswered: boolean;
  gssAnswered: boolean;
  client: Framer;
  server: Framer;
  /** How the rest of a client message body that is taken in pieces is treated. */
  clientPieces: "none" | "copy" | "drop";
  /** How the rest of a server message body that is taken in pieces is treated. */
  serverPieces: "none" | "deliver" | "drop" | "error";
  lastId: number;
  pending: PendingAsk | undefined;
  /** The next client message has to wait for answers to earlier ones. */
  waiting: boolean;
  /** That message, where it was taken off the framer already. */
  stalled: Uint8Array | undefined;
  /** A Flush was sent so that those answers come. */
  flushed: boolean;
  /** Counts Syncs of the client, from 1. */
  segment: number;
  /** An error is certain in this segment: the server ignores everything up to Sync, and so do we. */
  skipping: boolean;
  /** Ask id of the last message forwarded in this segment, which an error at Sync is put down to; 0 none. */
  lastForwarded: number;
  /** A statement in this segment has error details to hide, so an error at Sync (deferred constraints) has too. */
  hideAtSync: boolean;
  /** The server asked for COPY data and the client has not ended it. */
  copyingIn: boolean;
  /** Answers the server owes, from index `answered` on. */
  owed: Entry[];
  answered: number;
  /** Syncs that a COPY may have swallowed, or may not: as many ReadyForQuery more than owed are legal. */
  strayReady: number;
  statements: Names<Statement>;
  portals: Names<Portal>;
  /** Columns remembered in statements and portals together. */
  rememberedFields: number;
  status: TransactionStatus;
  /** Nothing came from the client since the last ReadyForQuery that ended everything. */
  settled: boolean;
  /** Notices that wait for the end of a message that is passed on in pieces. */
  notices: Uint8Array[];
  /** The server said FATAL: its connection ends and that is not a surprise. */
  serverFatal: boolean;
};

export function newPostgresState(): PostgresState {
  return {
    phase: "startup",
    minor: 0,
    sslAnswered: false,
    gssAnswered: false,
    client: newFramer(),
    server: newFramer(),
    clientPieces: "none",
    serverPieces: "none",
    lastId: 0,
    pending: undefined,
    waiting: false,
    stalled: undefined,
    flushed: false,
    segment: 1,
    skipping: false,
    lastForwarded: 0,
    hideAtSync: false,
    copyingIn: false,
    owed: [],
    answered: 0,
    strayReady: 0,
    statements: newNames(),
    portals: newNames(),
    rememberedFields: 0,
    status: "I",
    settled: false,
    notices: [],
    serverFatal: false,
  };
}

/** The message that the server answers now. */
export function head(state: PostgresState): Entry | undefined {
  return state.owed[state.answered];
}

export function owedCount(state: PostgresState): number {
  return state.owed.length - state.answered;
}

export function owe(state: PostgresState, entry: Entry): void {
  state.flushed = false;
  state.owed.push(entry);
}

/** The head is answered. */
export function settleHead(state: PostgresState): void {
  state.answered++;
  if (state.answered === state.owed.length) {
    state.owed = [];
    state.answered = 0;
  } else if (state.answered > 1024 && state.answered * 2 > state.owed.length) {
    state.owed = state.owed.slice(state.answered);
    state.answered = 0;
  }
}

/**
 * Keeps columns for later checks as long as all that are kept stay under LIMITS.postgres.describedColumns;
 * what is forgotten is asked for again when it is needed.
 */
export function remember(state: PostgresState, holder: Statement | Portal, fields: readonly Field[]): void {
  const more = fields.length - (holder.fields?.length ?? 0);
  if (state.rememberedFields + more > LIMITS.postgres.describedColumns) {
    holder.describedIn = 0;
    return;
  }
  state.rememberedFields += more;
  holder.fields = fields;
}

export function forget(state: PostgresState, holder: Statement | Portal | undefined): void {
  if (holder?.fields === undefined) return;
  state.rememberedFields -= holder.fields.length;
  holder.fields = undefined;
}

export function needsFields(guard: Guard): boolean {
  return guard.inspectRows || guard.withheldAttributes.length > 0;
}
