/**
 * What the Session object and a protocol's driver are to each other. The object owns sockets, credit,
 * recording, policy and approvals; a driver owns one protocol's machine and turns its effects into calls of
 * the host. A new protocol is one more driver.
 */
import type { ClientNotice } from "../../../wire/control.ts";
import type { Refusal } from "../../../wire/refusals.ts";
import type { Result } from "../../../wire/result.ts";
import type { Grant } from "../../policy/grant.ts";
import type { Estimate, HeldOperation } from "../../policy/approval.ts";
import type { Decision, Operation, Resource } from "../../policy/types.ts";
import type { ApprovalOutcome, SessionCounts } from "../control/types.ts";
import type { EventBody } from "../recording/chain.ts";

/** One channel of the connector's tunnel, as its user hears from it. */
export type ChannelHandler = {
  opened(payload: unknown): void;
  /** Acknowledge with `host.consumed` once the bytes have gone on. */
  data(bytes: Uint8Array): void;
  signal(payload: unknown): void;
  /** No more data from there. */
  ended(): void;
  /**
   * The connector opens a channel that belongs to this one, such as a connection on a port that it listens on.
   * Call `host.listen` for it, then `host.acceptChannel` or `host.closeChannel`. A channel without this takes none.
   */
  incoming?(channel: number, payload: unknown): void;
  /** The channel is over, also when the connector's socket is lost. `orderly`: the connector was done with it. */
  closed(why: Refusal, orderly: boolean): void;
};

/** An operation to be held, and what reviewers see of it. */
export type Hold = {
  readonly operation: HeldOperation;
  readonly decision: Extract<Decision, { effect: "hold" }>;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** Of this operation, where each may have its own; else the grant's. */
  readonly noWait?: boolean;
  readonly reason?: string | undefined;
};

export type HoldStart = {
  /** This hold opened the approval: nobody has described it yet. */
  readonly opened?: true;
} &
  /** An approval for exactly this operation was there; it is used up. */
  (
    | { readonly state: "granted"; readonly approval: string }
    /** Wait for `approvalDecided`. */
    | { readonly state: "waiting"; readonly approval: string; readonly url: string }
    /** The client did not want to wait. */
    | { readonly state: "refused"; readonly refusal: Refusal }
  );

export type SessionHost = {
  readonly grant: Grant;
  /** The resource as the newest configuration has it. */
  readonly resource: Resource;
  /** Increases with every configuration that arrives. */
  readonly configVersion: number;
  /** Milliseconds since the epoch. */
  now(): number;

  /** Puts the session into the index and the recording. Nothing may be opened before it has resolved. */
  start(details: EventBody): Promise<Result<void, Refusal>>;
  record(body: EventBody): void;
  /** Events that the recording has by now. */
  readonly recorded: number;
  count(what: keyof SessionCounts, by: number): void;

  toClient(bytes: Uint8Array): void;
  /** Bytes for the client that wait for its credit. */
  clientQueued(): number;
  /** Gives the client credit back. */
  clientConsumed(length: number): void;
  notify(notice: ClientNotice): void;

  /** Has the connector dial back, if it has not yet. */
  dialBack(): Promise<Result<void, Refusal>>;
  /** Opens a channel on the connector's tunnel. */
  openChannel(payload: unknown, handler: ChannelHandler): Result<number, Refusal>;
  /** Hears from a channel that it did not open itself: of the connector's, or from before hibernation. */
  listen(channel: number, handler: ChannelHandler): void;
  /** Tells the connector that a channel of its own may be used. */
  acceptChannel(channel: number): void;
  toChannel(channel: number, bytes: Uint8Array): void;
  channelQueued(channel: number): number;
  consumed(channel: number, length: number): void;
  signalChannel(channel: number, payload: unknown): void;
  endChannel(channel: number): void;
  closeChannel(channel: number): void;

  decide(operation: Operation): Decision;
  /**
   * Takes operations out of the budget of the session's task; ask before an operation runs, approved ones
   * too. Undefined: there is no budget, go on at once.
   */
  reserve(operations: () => number): Promise<Result<void, Refusal>> | undefined;
  /** Rows that this turn has queued for the client. */
  rowsQueued(rows: number): void;
  reveals(relation: string, column: string): boolean;
  hold(hold: Hold): Promise<HoldStart>;
  /** Tells reviewers how many rows the held operation would touch. */
  describe(approval: string, estimate: Estimate): void;
  /** Takes a granted approval up; refused when it was withdrawn or ran out meanwhile. */
  useApproval(approval: string): Promise<Result<void, Refusal>>;
  withdraw(approval: string): void;

  /** A JWT of ours that tells the upstream who is asking; good until the grant ends. */
  identity(): Promise<Result<string, Refusal>>;
  /** Key of the resource's `hash` masks, hexadecimal. */
  maskKey(): string;

  /** Asks the session that owns these keys to cancel what it runs (PostgreSQL docs 54.2.8). */
  cancelOther(processId: number, secretKey: Uint8Array): Promise<void>;
  /** Runs `work` as a turn of its own: what it records is written before what it sends leaves. */
  turn(work: () => void): void;
  /** The session is over. `why` undefined: the client left in good order. */
  end(why: Refusal | undefined): void;
};

export type SessionDriver = {
  clientBytes(bytes: Uint8Array): void;
  clientEnded(): void;
  approvalDecided(outcome: ApprovalOutcome): boolean;
  /** The configuration changed: it counts from the next operation on. */
  configChanged(): void;
  /** Somebody else's session asks to cancel what runs here. True when the key fits. */
  cancel(processId: number, secretKey: Uint8Array): boolean;
  /** End the client's connection with this refusal, in the protocol's own way. */
  terminate(why: Refusal): void;
  /** After everything sendable has gone: give credit back where there is room. */
  pump(): void;
  /** The driver's state while it is idle, as plain JSON; undefined while it is not. */
  freeze(): string | undefined;
  /** The process id that a client's CancelRequest names; 0 where the protocol has none. */
  readonly processId: number;
  /** It asks `host.reserve` before each operation; a driver that does not gets no session in a task with a budget. */
  readonly reserves?: true;
};

/** A driver whose client has no connection of its own: it sends requests, any number of them at once. */
export type RequestDriver = SessionDriver & {
  /**
   * @param target the request's path and query below the resource, as the client wrote them
   * @param grant the session's grant, with what this one request says about waiting and its reason
   * @param origin the resource's own origin, where the client is a browser that speaks to it there
   */
  request(request: Request, target: string, grant: Grant, origin?: string): Promise<Response>;
};
