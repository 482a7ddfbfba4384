/**
 * A session's recording as a readable timeline: the events of one operation (decision, wait, results, error)
 * gathered into one entry, in the order in which the operations began. Made from the very events whose chain the
 * page verifies, so that what is shown is what was verified.
 */
import type { Effect, Policy, Requirement } from "../api/types.ts";
import { Decoder, Terminal } from "./terminal.ts";

export type TimelineEvent = {
  readonly seq: number;
  readonly at: string;
  readonly body: { readonly type: string; readonly [field: string]: unknown };
};

/** As delivered: text, null for SQL NULL, bytes that are no text as base64. */
export type Value = string | null | { readonly base64: string };

export type Result = {
  tag: string;
  rowCount: number;
  bytes: number;
  columns: readonly string[];
  values: (readonly Value[])[];
  /** Text of a COPY. */
  copied: string;
  /** More was delivered than the recording keeps. */
  truncated: boolean;
};

export type Operation = {
  readonly kind: "operation";
  readonly seq: number;
  readonly at: string;
  readonly id: number;
  text: string;
  parameters: readonly Value[] | undefined;
  rewritten: string | undefined;
  notes: readonly string[];
  actions: readonly string[];
  reads: readonly string[];
  writes: readonly string[];
  /** What came of it: held while nobody has decided. */
  effect: Effect;
  policies: readonly Policy[];
  requirements: readonly Requirement[];
  hash: string | undefined;
  approval: string | undefined;
  decided:
    | { readonly outcome: string; readonly by: readonly string[]; readonly comment?: string }
    | undefined;
  waitedMs: number | undefined;
  milliseconds: number | undefined;
  refusal: { readonly code: string; readonly message: string } | undefined;
  /** What the server said, or what broke the operation off; `code` is an SQLSTATE or one of ours. */
  error: { readonly code: string; readonly message: string } | undefined;
  withdrawn: string | undefined;
  results: Result[];
  /** What a command over SSH printed, where it had no terminal: standard output and standard error. */
  output: { stdout: string; stderr: string };
  exit: string | undefined;
  /** A request's body and its answer's, as they passed; empty where the recording keeps none. */
  exchange: { sent: string; received: string; readonly truncated: boolean };
};

export type Note = {
  readonly kind: "note";
  readonly seq: number;
  readonly at: string;
  readonly type: string;
  readonly body: Readonly<Record<string, unknown>>;
};

export type Entry = Operation | Note;

type Channel = {
  readonly operation: Operation;
  readonly terminal: Terminal | undefined;
  readonly stdout: Decoder;
  readonly stderr: Decoder;
};

/** Built event by event; `add` may be called again as more of the recording arrives. */
export class Timeline {
  readonly #entries: Entry[] = [];
  /** Where an operation stands among the entries, and which have changed since they were last shown. */
  readonly #places = new Map<Operation, number>();
  readonly #changed = new Set<Operation>();
  readonly #operations = new Map<number, Operation>();
  /** Results that are still being delivered, by operation. */
  readonly #open = new Map<number, Result>();
  /** By channel of an SSH session: what runs on it. */
  readonly #channels = new Map<number, Channel>();
  readonly #terminals: Terminal[] = [];
  /** By operation and direction: the rest of a character that the next part of a body completes. */
  readonly #bodies = new Map<string, Decoder>();

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  /** What there is to play, in the order in which the terminals were opened. */
  get terminals(): readonly Terminal[] {
    return this.#terminals;
  }

  add(events: readonly TimelineEvent[]): void {
    for (const event of events) this.#add(event);
    // Whoever shows an entry sees by its identity that it has changed.
    for (const operation of this.#changed) {
      const place = this.#places.get(operation);
      if (place !== undefined) this.#entries[place] = shownAs(operation);
    }
    this.#changed.clear();
  }

  #add({ seq, at, body }: TimelineEvent): void {
    const { type } = body;
    switch (type) {
      case "parse":
      case "statement":
      case "operation":
      case "hold":
      case "execute":
        this.#openChannel(at, body, this.#begin(seq, at, body));
        return;
      case "refusal":
        return this.#refuse(this.#begin(seq, at, body), body);
      case "approval":
        return this.#decide(body);
      case "rows":
        return this.#deliver(this.#result(body), body);
      case "result":
        return this.#complete(body);
      case "error":
        return this.#fail(body);
      case "withdrawn": {
        const operation = this.#operationOf(body);
        if (operation !== undefined) operation.withdrawn = textOf(body["reason"]) || "withdrawn";
        return;
      }
      case "request_body":
      case "response_body":
      case "response":
      case "completed":
        return this.#exchanged(at, body);
      case "open_failed": {
        const operation = this.#operationOf(body);
        // Without an operation it is a connection's.
        if (operation === undefined) break;
        operation.error = { code: textOf(body["code"]), message: textOf(body["reason"]) };
        return;
      }
      case "output":
      case "resize":
        return this.#channelEvent(at, body);
      case "input":
        // A terminal echoes what is typed where it is meant to be seen; files sent are in their operations.
        return;
      case "channel": {
        const operation = this.#channels.get(optionalNumber(body["channel"]) ?? -1)?.operation;
        if (operation === undefined) break;
        this.#changed.add(operation);
        const exit = body["exit"] as { status?: unknown; signal?: unknown } | undefined;
        const how = optionalNumber(exit?.status) ?? optionalText(exit?.signal);
        if (how !== undefined) operation.exit = typeof how === "number" ? `exit ${how}` : `signal ${how}`;
        return;
      }
      default:
    }
    this.#entries.push({ kind: "note", seq, at, type, body });
  }

  /** An operation on a channel: what the channel brings belongs to it from now on. */
  #openChannel(at: string, body: TimelineEvent["body"], operation: Operation): void {
    const channel = optionalNumber(body["channel"]);
    if (channel === undefined || body.type !== "operation") return;
    const asked = body["terminal"] as
      | { columns?: unknown; rows?: unknown; term?: unknown }
      | boolean
      | undefined;
    let terminal = this.#channels.get(channel)?.terminal;
    if (terminal === undefined && typeof asked === "object" && asked !== null) {
      terminal = new Terminal(channel, {
        startedAt: Date.parse(at),
        columns: optionalNumber(asked.columns) ?? 0,
        rows: optionalNumber(asked.rows) ?? 0,
        term: textOf(asked.term),
        title: operation.text,
      });
      this.#terminals.push(terminal);
    }
    this.#channels.set(channel, { operation, terminal, stdout: new Decoder(), stderr: new Decoder() });
  }

  #channelEvent(at: string, body: TimelineEvent["body"]): void {
    const channel = this.#channels.get(optionalNumber(body["channel"]) ?? -1);
    if (channel === undefined) return;
    const { terminal, operation } = channel;
    this.#changed.add(operation);
    if (body.type === "resize") {
      terminal?.resize(
        Date.parse(at),
        optionalNumber(body["columns"]) ?? 0,
        optionalNumber(body["rows"]) ?? 0,
      );
    } else if (terminal === undefined) {
      const stream = body["stream"] === 1 ? "stderr" : "stdout";
      operation.output[stream] += channel[stream].take(body["text"], body["base64"]);
    } else terminal.output(Date.parse(at), body["text"], body["base64"]);
  }

  /** A part of a request's way to the service and back. */
  #exchanged(at: string, body: TimelineEvent["body"]): void {
    const operation = this.#operationOf(body);
    if (operation === undefined) return;
    const { exchange } = operation;
    switch (body.type) {
      case "request_body":
        exchange.sent += this.#bodyDecoder(operation, "sent").take(body["text"], body["base64"]);
        return;
      case "response_body":
        exchange.received += this.#bodyDecoder(operation, "received").take(body["text"], body["base64"]);
        return;
      case "response":
        operation.exit = String(optionalNumber(body["status"]) ?? "");
        return;
      default: {
        const code = optionalText(body["code"]);
        if (code !== undefined) operation.error = { code, message: textOf(body["reason"]) };
        const parts = [body["request"], body["response"]] as ({ truncated?: unknown } | undefined)[];
        operation.exchange = { ...exchange, truncated: parts.some((part) => part?.truncated === true) };
        operation.milliseconds = Date.parse(at) - Date.parse(operation.at);
      }
    }
  }

  #bodyDecoder({ id }: Operation, which: "sent" | "received"): Decoder {
    const key = `${id} ${which}`;
    const known = this.#bodies.get(key);
    if (known !== undefined) return known;
    const decoder = new Decoder();
    this.#bodies.set(key, decoder);
    return decoder;
  }

  /** The entry of the event's operation, made when this is the first event of it. */
  #begin(seq: number, at: string, body: TimelineEvent["body"]): Operation {
    const id = typeof body["operation"] === "number" ? body["operation"] : -seq;
    const known = this.#operations.get(id);
    const operation = known ?? this.#newOperation(id, seq, at);
    this.#changed.add(operation);
    const before = typeof body["of"] === "number" ? this.#operations.get(body["of"]) : undefined;
    const cursor = typeof body["cursor"] === "string" ? `fetch from ${body["cursor"]}` : undefined;
    operation.text = textOf(body["text"]) || operation.text || before?.text || cursor || "";
    operation.parameters =
      (body["parameters"] as Value[] | undefined) ?? operation.parameters ?? before?.parameters;
    operation.rewritten = optionalText(body["rewritten"]) ?? operation.rewritten;
    operation.notes = texts(body["notes"]) ?? operation.notes;
    operation.actions =
      texts(body["actions"]) ?? (operation.actions.length > 0 ? operation.actions : (before?.actions ?? []));
    operation.reads = texts(body["reads"]) ?? operation.reads;
    operation.writes = texts(body["writes"]) ?? operation.writes;
    operation.hash = optionalText(body["hash"]) ?? operation.hash;
    operation.approval = optionalText(body["approval"]) ?? operation.approval;
    operation.requirements = (body["requirements"] as Requirement[] | undefined) ?? operation.requirements;
    const decision = body["decision"] as { effect?: Effect; policies?: readonly Policy[] } | undefined;
    operation.policies =
      decision?.policies ?? (body["policies"] as Policy[] | undefined) ?? operation.policies;
    if (body.type === "hold") operation.effect = "hold";
    // A held operation that runs was approved: its decision is still the hold.
    else if (body.type !== "refusal" && decision?.effect !== undefined) {
      operation.effect = operation.approval === undefined ? decision.effect : "hold";
    }
    return operation;
  }

  #newOperation(id: number, seq: number, at: string): Operation {
    const operation: Operation = {
      kind: "operation",
      seq,
      at,
      id,
      text: "",
      parameters: undefined,
      rewritten: undefined,
      notes: [],
      actions: [],
      reads: [],
      writes: [],
      effect: "allow",
      policies: [],
      requirements: [],
      hash: undefined,
      approval: undefined,
      decided: undefined,
      waitedMs: undefined,
      milliseconds: undefined,
      refusal: undefined,
      error: undefined,
      withdrawn: undefined,
      results: [],
      output: { stdout: "", stderr: "" },
      exit: undefined,
      exchange: { sent: "", received: "", truncated: false },
    };
    this.#operations.set(id, operation);
    this.#places.set(operation, this.#entries.push(operation) - 1);
    return operation;
  }

  #refuse(operation: Operation, body: TimelineEvent["body"]): void {
    operation.effect = operation.decided === undefined ? "deny" : operation.effect;
    const decision = body["decision"] as { effect?: Effect } | undefined;
    if (decision?.effect === "hold") operation.effect = "hold";
    operation.refusal = { code: textOf(body["code"]), message: textOf(body["reason"]) };
  }

  #decide(body: TimelineEvent["body"]): void {
    const operation = this.#operationOf(body);
    if (operation === undefined) return;
    const comment = optionalText(body["comment"]);
    operation.approval = optionalText(body["approval"]) ?? operation.approval;
    operation.decided = {
      outcome: textOf(body["outcome"]),
      by: texts(body["by"]) ?? [],
      ...(comment === undefined ? {} : { comment }),
    };
    operation.waitedMs = optionalNumber(body["waited"]);
  }

  /** The result of the operation that is being delivered. */
  #result(body: TimelineEvent["body"]): Result | undefined {
    const operation = this.#operationOf(body);
    if (operation === undefined) return undefined;
    const open = this.#open.get(operation.id);
    if (open !== undefined) return open;
    const result: Result = {
      tag: "",
      rowCount: 0,
      bytes: 0,
      columns: [],
      values: [],
      copied: "",
      truncated: false,
    };
    operation.results.push(result);
    this.#open.set(operation.id, result);
    return result;
  }

  #deliver(result: Result | undefined, body: TimelineEvent["body"]): void {
    if (result === undefined) return;
    for (const row of (body["rows"] as Value[][] | undefined) ?? []) result.values.push(row);
    result.copied += textOf(body["copied"]);
    result.rowCount = Math.max(result.rowCount, result.values.length);
  }

  #complete(body: TimelineEvent["body"]): void {
    const operation = this.#operationOf(body);
    const result = this.#result(body);
    if (operation === undefined || result === undefined) return;
    this.#deliver(result, body);
    result.tag = textOf(body["tag"]);
    result.rowCount = optionalNumber(body["rowCount"]) ?? result.values.length;
    result.bytes = optionalNumber(body["bytes"]) ?? 0;
    result.truncated = body["truncated"] === true;
    result.columns = ((body["columns"] as { name?: unknown }[] | undefined) ?? []).map(({ name }) =>
      textOf(name),
    );
    operation.milliseconds = optionalNumber(body["milliseconds"]) ?? operation.milliseconds;
    this.#open.delete(operation.id);
  }

  #fail(body: TimelineEvent["body"]): void {
    const operation = this.#operationOf(body);
    if (operation === undefined) return;
    if (body["rows"] !== undefined || body["copied"] !== undefined) this.#deliver(this.#result(body), body);
    operation.error = { code: textOf(body["sqlstate"]), message: textOf(body["message"]) };
    operation.milliseconds = optionalNumber(body["milliseconds"]) ?? operation.milliseconds;
    this.#open.delete(operation.id);
  }

  #operationOf(body: TimelineEvent["body"]): Operation | undefined {
    const id = body["operation"];
    const operation = typeof id === "number" ? this.#operations.get(id) : undefined;
    if (operation !== undefined) this.#changed.add(operation);
    return operation;
  }
}

function shownAs(operation: Operation): Operation {
  return {
    ...operation,
    output: { ...operation.output },
    exchange: { ...operation.exchange },
    results: operation.results.map((result) => ({ ...result })),
  };
}

/** Whether the entry is one that a reader filters for. */
export function shows(entry: Entry, filter: "all" | Effect | "errors", words: string): boolean {
  if (filter !== "all") {
    if (entry.kind !== "operation") return false;
    if (filter === "errors" ? entry.error === undefined : entry.effect !== filter) return false;
  }
  if (words === "") return true;
  const wanted = words.toLowerCase();
  if (entry.kind === "note") return entry.type.includes(wanted);
  return [
    entry.text,
    entry.exchange.sent,
    entry.exchange.received,
    ...entry.reads,
    ...entry.writes,
    entry.error?.message ?? "",
    entry.refusal?.message ?? "",
  ].some((text) => text.toLowerCase().includes(wanted));
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");
const optionalText = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
const optionalNumber = (value: unknown): number | undefined =>
  typeof value === "number" ? value : undefined;
const texts = (value: unknown): readonly string[] | undefined =>
  Array.isArray(value) ? value.filter((each) => typeof each === "string") : undefined;
