/** One channel of an SSH session on the connector's tunnel: its number there, its queues, its recording. */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import type { Result } from "../../../wire/result.ts";
import type { SshInput, SshSignal, SshTarget } from "../../../wire/ssh/machine-types.ts";
import { SshOpened, SshSignalFromServer } from "../../../wire/ssh/open.ts";
import { type OutputPiece, newOutputParser, parseOutput } from "../../../wire/ssh/output-frame.ts";
import type { SessionHost } from "./driver.ts";
import { ChannelLog } from "./ssh-log.ts";

export class UpstreamChannel {
  readonly log: ChannelLog;
  readonly #host: SessionHost;
  readonly #id: number;
  /** Output of a program marks its two streams; of everything else it is bare. */
  readonly #marked: boolean;
  readonly #parser = newOutputParser();
  #number: number | undefined;
  #handed = 0;
  #reported = 0;
  /** How the program ended, until its last output has come. */
  #exit: SshSignal | undefined;
  #over = false;

  constructor(host: SessionHost, id: number, target: SshTarget, keep: number) {
    this.#host = host;
    this.#id = id;
    this.#marked = target.kind === "exec" || target.kind === "shell";
    this.log = new ChannelLog(id, keep, (body) => host.record(body));
  }

  open(payload: unknown, run: (input: SshInput) => void): Result<void, Refusal> {
    const channel = this.#id;
    const opened = this.#host.openChannel(payload, {
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
        this.#flushExit(run);
        run({ kind: "upstreamEnd", channel });
      },
      closed: (why, orderly) => {
        this.#over = true;
        this.#flushExit(run);
        run({ kind: "upstreamClosed", channel, refusal: orderly ? undefined : why });
      },
    });
    if (!opened.ok) return opened;
    this.#number = opened.value;
    return { ok: true, value: undefined };
  }

  send(bytes: Uint8Array): void {
    if (this.#number === undefined || this.#over) return;
    this.#host.toChannel(this.#number, bytes);
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
      run({
        kind: "upstreamData",
        channel,
        stream: piece.stream,
        bytes: piece.bytes,
        credit: credit + piece.bytes.length,
      });
      credit = 0;
    }
    if (credit > 0) run({ kind: "upstreamData", channel, stream: 0, bytes: new Uint8Array(), credit });
  }

  #flushExit(run: (input: SshInput) => void): void {
    if (this.#exit !== undefined) run({ kind: "upstreamSignal", channel: this.#id, signal: this.#exit });
    this.#exit = undefined;
  }
}
