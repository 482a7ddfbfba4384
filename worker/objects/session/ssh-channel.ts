/** One channel of an SSH session on the connector's tunnel: its number there, its queues, its recording. */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import type { Result } from "../../../wire/result.ts";
import type { SshInput, SshSignal, SshTarget } from "../../../wire/ssh/machine-types.ts";
import { SshOpened, SshSignalFromServer } from "../../../wire/ssh/open.ts";
import { type OutputPiece, newOutputParser, parseOutput } from "../../../wire/ssh/output-frame.ts";
import type { ChannelHandler, SessionHost } from "./driver.ts";
import { OutputDetectors } from "./output-detectors.ts";
import { ChannelLog } from "./channel-log.ts";

/** What detectors do with what they find. */
export type DetectorAction = "mask" | "block";

export class UpstreamChannel {
  readonly log: ChannelLog;
  readonly #host: SessionHost;
  readonly #id: number;
  /** Output of a program marks its two streams; of everything else it is bare. */
  readonly #marked: boolean;
  readonly #terminal: boolean;
  readonly #action: DetectorAction | undefined;
  #detectors: OutputDetectors | undefined;
  readonly #parser = newOutputParser();
  #number: number | undefined;
  #handed = 0;
  #reported = 0;
  /** How the program ended, until its last output has come. */
  #exit: SshSignal | undefined;
  #over = false;

  /** @param action set where detectors look at the output */
  constructor(host: SessionHost, id: number, target: SshTarget, keep: number, action?: DetectorAction) {
    this.#host = host;
    this.#action = action;
    this.#terminal = "terminal" in target && target.terminal !== undefined;
    this.#id = id;
    this.#marked = target.kind === "exec" || target.kind === "shell";
    this.log = new ChannelLog(id, keep, (body) => host.record(body));
  }

  /** @param incoming takes connections on a remote forward, by their number on the tunnel */
  open(
    payload: unknown,
    run: (input: SshInput) => void,
    incoming?: (number: number, payload: unknown) => void,
  ): Result<void, Refusal> {
    if (this.#action !== undefined) this.#detectors = this.#newDetectors(run);
    const handler = this.#handler(run);
    const opened = this.#host.openChannel(
      payload,
      incoming === undefined ? handler : { ...handler, incoming },
    );
    if (!opened.ok) return opened;
    this.#number = opened.value;
    return { ok: true, value: undefined };
  }

  /** Takes a channel that the connector has opened; `accept` says so once the client wants it. */
  take(number: number, run: (input: SshInput) => void): void {
    this.#number = number;
    this.#host.listen(number, this.#handler(run));
  }

  accept(): void {
    if (this.#number !== undefined && !this.#over) this.#host.acceptChannel(this.#number);
  }

  #handler(run: (input: SshInput) => void): ChannelHandler {
    const channel = this.#id;
    return {
      opened: (answer) => {
        const parsed = SshOpened.safeParse(answer);
        const port = parsed.success ? parsed.data.port : undefined;
        run({ kind: "upstreamOpened", channel, ...(port === undefined ? {} : { port }) });
      },
      data: (bytes) => this.#data(bytes, run),
      signal: (message) => {
        const parsed = SshSignalFromServer.safeParse(message);
        if (parsed.success) this.#exit = parsed.data;
      },
      ended: () => {
        this.#flushHeld(run);
        this.#flushExit(run);
        run({ kind: "upstreamEnd", channel });
      },
      closed: (why, orderly) => {
        this.#flushHeld(run);
        if (this.#over) return;
        this.#over = true;
        this.#flushExit(run);
        run({ kind: "upstreamClosed", channel, refusal: orderly ? undefined : why });
      },
    };
  }

  send(bytes: Uint8Array): void {
    if (this.#number === undefined || this.#over) return;
    this.#host.toChannel(this.#number, bytes);
    if (this.#terminal) this.#detectors?.typed(bytes.length);
    this.#handed += bytes.length;
  }

  /** Bytes that have left since it was asked last. */
  takeSent(): number {
    if (this.#number === undefined) return 0;
    const left = this.#handed - this.#host.channelQueued(this.#number);
    const sent = left - this.#reported;
    this.#reported = left;
    return sent;
  }

  end(): void {
    if (this.#number !== undefined && !this.#over) this.#host.endChannel(this.#number);
  }

  close(): void {
    if (this.#number !== undefined && !this.#over) this.#host.closeChannel(this.#number);
    this.#over = true;
    this.#detectors?.close();
  }

  signal(signal: SshSignal): void {
    if (this.#number !== undefined && !this.#over) this.#host.signalChannel(this.#number, signal);
  }

  consumed(credit: number): void {
    if (this.#number !== undefined && !this.#over) this.#host.consumed(this.#number, credit);
  }

  #data(bytes: Uint8Array, run: (input: SshInput) => void): void {
    const pieces = this.#marked
      ? parseOutput(this.#parser, bytes)
      : { ok: true as const, value: [{ stream: 0, bytes } satisfies OutputPiece] };
    const channel = this.#id;
    if (!pieces.ok) {
      this.close();
      const why = refusal("upstream_lost", "the connector's output was not understood");
      return run({ kind: "upstreamClosed", channel, refusal: why });
    }
    // The marks cost credit too: it is given back with the first piece.
    let credit = bytes.length - pieces.value.reduce((sum, piece) => sum + piece.bytes.length, 0);
    for (const piece of pieces.value) {
      const bytes = this.#detectors?.push(piece.stream, piece.bytes) ?? piece.bytes;
      if (this.#over) return;
      run({
        kind: "upstreamData",
        channel,
        stream: piece.stream,
        bytes,
        credit: credit + piece.bytes.length,
      });
      credit = 0;
    }
    if (credit > 0) run({ kind: "upstreamData", channel, stream: 0, bytes: new Uint8Array(), credit });
  }

  #newDetectors(run: (input: SshInput) => void): OutputDetectors {
    const host = this.#host;
    const channel = this.#id;
    return new OutputDetectors({
      turn: (work) => host.turn(work),
      now: () => host.now(),
      late: (stream, bytes) => this.#deliver(stream, bytes, run),
      found: (stream, kinds) => {
        host.record({ type: "detected", channel, stream, kinds, action: this.#action });
        if (this.#action !== "block" || this.#over) return;
        this.close();
        const message = `the output holds what must not leave ${host.resource.name}: ${kinds.join(", ")}`;
        const why = refusal("mask_value_withheld", message, { hint: "it was broken off before that" });
        host.notify({ type: "refused", code: why.code, message: why.message });
        run({ kind: "upstreamClosed", channel, refusal: why });
      },
    });
  }

  /** What detectors have held back, whose credit has been given back already. */
  #deliver(stream: number, bytes: Uint8Array, run: (input: SshInput) => void): void {
    run({ kind: "upstreamData", channel: this.#id, stream: stream === 0 ? 0 : 1, bytes, credit: 0 });
  }

  #flushHeld(run: (input: SshInput) => void): void {
    for (const { stream, bytes } of this.#detectors?.end() ?? [])
      if (!this.#over) this.#deliver(stream, bytes, run);
  }

  #flushExit(run: (input: SshInput) => void): void {
    if (this.#exit !== undefined) run({ kind: "upstreamSignal", channel: this.#id, signal: this.#exit });
    this.#exit = undefined;
  }
}
