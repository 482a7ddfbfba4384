/**
 * What goes into and comes out of PostgresMachine. The machine stands between a native client and an
 * authenticated server connection (PostgreSQL docs chapter 54). It knows the protocol, not policy: for
 * whatever could have an effect it emits `ask` and waits for a `verdict`.
 *
 *   client bytes ──► clientBytes ─┐                        ┌─► toServer   bytes for the server
 *   server bytes ──► serverBytes ─┤                        ├─► toClient   bytes for the client
 *   upstream is up ► opened ──────┼─► step(state, input) ──┼─► ask        decide this, then send `verdict`
 *   policy ───────► verdict ──────┘                        ├─► delivered  what the client was given, for the recording
 *                                                          └─► open, cancel, end …
 */
import type { Refusal } from "../refusals.ts";

/** Text or binary parameter of Bind exactly as sent; null is SQL NULL. */
export type BindParameters = {
  readonly formats: readonly number[];
  readonly values: readonly (Uint8Array | null)[];
};

/** What the machine wants decided. `id` is unique within the session and increases. */
export type Ask =
  /** A simple Query message, possibly of several statements; nothing of it has been sent. */
  | { readonly kind: "query"; readonly id: number; readonly sql: string }
  /** Parse: may this statement be prepared, and in what form? Never held. */
  | {
      readonly kind: "parse";
      readonly id: number;
      readonly name: string;
      readonly sql: string;
      readonly parameterTypes: readonly number[];
    }
  /**
   * Bind: may the prepared statement run with these parameters? May be held (planning can run functions).
   * `parseId` names the Parse that the statement's name stands for when only Parse and Close gave it meaning;
   * undefined when none did. PREPARE, DEALLOCATE and DISCARD in SQL are not seen here.
   */
  | {
      readonly kind: "bind";
      readonly id: number;
      readonly statement: string;
      readonly parseId: number | undefined;
      readonly portal: string;
      readonly parameters: BindParameters;
    }
  /**
   * Execute of a portal: decided anew. `bindId` names the Bind it came from (whose approval counts for the
   * first Execute), `continued` says that the portal was suspended and goes on. `bindId` is undefined for a
   * portal that SQL made (DECLARE).
   */
  | {
      readonly kind: "execute";
      readonly id: number;
      readonly portal: string;
      readonly bindId: number | undefined;
      readonly continued: boolean;
      readonly maxRows: number;
    };

export type Verdict =
  | {
      readonly id: number;
      readonly effect: "forward";
      /** The text to send instead (query and parse only); undefined sends the client's own. */
      readonly sql?: string;
      readonly guard: Guard;
    }
  | { readonly id: number; readonly effect: "refuse"; readonly refusal: Refusal };

/** What must hold for the answer to a forwarded statement (DESIGN section 5, second line). */
export type Guard = {
  /** `tableOid:attributeNumber` pairs that RowDescription must not name; the statement then fails with no row delivered. */
  readonly withheldAttributes: readonly string[];
  /** Drop message text, DETAIL, HINT position, WHERE, CONTEXT and such from errors and notices of this statement, keeping SQLSTATE. */
  readonly hideErrorDetail: boolean;
  /** Deliver rows as whole DataRow / CopyData messages in `rows` effects for the third line to inspect. */
  readonly inspectRows: boolean;
  /**
   * SQLSTATEs that only the gateway's own additions to the statement raise: such an error is delivered as this
   * refusal (SQLSTATE, message and hint) whatever the server's text says.
   */
  readonly errorMeanings?: readonly { readonly sqlstate: string; readonly refusal: Refusal }[];
};

export const OPEN_GUARD: Guard = { withheldAttributes: [], hideErrorDetail: false, inspectRows: false };

export type Field = {
  readonly name: string;
  readonly tableOid: number;
  readonly attribute: number;
  readonly typeOid: number;
  readonly typeModifier: number;
  /** 0 text, 1 binary. */
  readonly format: number;
};

export type Input =
  | { readonly kind: "clientBytes"; readonly bytes: Uint8Array }
  | { readonly kind: "serverBytes"; readonly bytes: Uint8Array }
  /** The client half-closed or went away. */
  | { readonly kind: "clientEnded" }
  | { readonly kind: "serverEnded" }
  /** The connector reached the server. Random values are the caller's: 4 bytes process id, 32 bytes secret. */
  | {
      readonly kind: "opened";
      readonly parameters: readonly (readonly [string, string])[];
      readonly processId: number;
      readonly secretKey: Uint8Array;
    }
  /** The upstream could not be opened. */
  | { readonly kind: "openFailed"; readonly refusal: Refusal }
  | { readonly kind: "verdict"; readonly verdict: Verdict }
  /** A hold began: tell the client with a NoticeResponse now (flushed), while it waits. */
  | { readonly kind: "notice"; readonly message: string; readonly hint?: string }
  /** End the session with FATAL and this refusal (killed, revoked, token expired). */
  | { readonly kind: "terminate"; readonly refusal: Refusal };

export type Effect =
  | { readonly kind: "toClient"; readonly bytes: Uint8Array }
  | { readonly kind: "toServer"; readonly bytes: Uint8Array }
  /** Startup is checked: open the upstream with these parameters. `user` and `database` as the client sent them. */
  | {
      readonly kind: "open";
      readonly user: string;
      readonly database: string;
      readonly parameters: Readonly<Record<string, string>>;
    }
  /** This connection is a CancelRequest for another session; the connection ends. */
  | { readonly kind: "cancelRequest"; readonly processId: number; readonly secretKey: Uint8Array }
  | { readonly kind: "ask"; readonly ask: Ask }
  /** ParseComplete arrived for the Parse with this ask id. */
  | { readonly kind: "parsed"; readonly id: number }
  /** The server closed this prepared statement (CloseComplete for Close 'S'). */
  | { readonly kind: "statementClosed"; readonly name: string }
  | { readonly kind: "rowDescription"; readonly id: number; readonly fields: readonly Field[] }
  /**
   * Whole DataRow or CopyData messages, `inspectRows` only. They have NOT been sent: the caller inspects,
   * changes and sends them, in order with `toClient`.
   */
  | {
      readonly kind: "rows";
      readonly id: number;
      readonly bytes: Uint8Array;
      readonly fields: readonly Field[] | undefined;
      readonly copy: boolean;
    }
  /**
   * Row bytes that a preceding `toClient` delivered (DataRow and CopyData messages with their headers, and pieces
   * of them), for the recording. `rows` counts messages that started in these bytes.
   */
  | { readonly kind: "delivered"; readonly id: number; readonly bytes: Uint8Array; readonly rows: number }
  /** COPY FROM STDIN data on its way to the server (precedes its `toServer`). */
  | { readonly kind: "copiedIn"; readonly id: number; readonly bytes: Uint8Array }
  /** One statement of ask `id` completed: its CommandComplete tag, or EmptyQueryResponse ("") or PortalSuspended ("SUSPENDED"). */
  | { readonly kind: "completed"; readonly id: number; readonly tag: string }
  /**
   * Ask `id` ended with an error from the server, as delivered to the client (after the guard). An error at
   * Sync (a deferred constraint) comes after `completed` and is put down to the last ask of the pipeline.
   */
  | { readonly kind: "failed"; readonly id: number; readonly sqlstate: string; readonly message: string }
  /**
   * Ask `id` was refused and the client has been told. What the machine refuses by itself (FunctionCall, text
   * over the limits or not UTF-8) has an id too, though it was never asked about.
   */
  | { readonly kind: "refused"; readonly id: number; readonly refusal: Refusal }
  /** Nothing more comes of ask `id` (skipped until Sync after an earlier error, never run). */
  | { readonly kind: "skipped"; readonly id: number }
  /**
   * ReadyForQuery went to the client. I idle, T in transaction, E failed transaction. Asks up to the id `mark`
   * have ended; later ones of the same pipeline have not. 0: nothing is known to have ended.
   */
  | { readonly kind: "ready"; readonly status: "I" | "T" | "E"; readonly mark: number }
  /** The connection is over; `refusal` when we ended it (FATAL was sent first where the state allowed). */
  | { readonly kind: "end"; readonly refusal: Refusal | undefined };
