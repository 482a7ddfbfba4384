/**
 * The stream of an exec or attach: every byte is recorded with its time, what detectors find in the output is
 * overwritten or ends it, and where the gateway ends it the client is told why in the protocol's own words.
 */
import { utf8 } from "../../../wire/bytes.ts";
import type { WebSocketMessage } from "../../../wire/http/web-socket-frame.ts";
import {
  REMOTE_COMMAND_PROTOCOLS,
  type RemoteCommandProtocol,
  readClientMessage,
  readServerMessage,
  writeRemoteCommand,
} from "../../../wire/kubernetes/remote-command.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { RequestInfo } from "../../policy/kubernetes/request-info.ts";
import { statusOf } from "../../policy/kubernetes/status.ts";
import { ChannelLog } from "./channel-log.ts";
import type { MessageWatch, WatchOptions } from "./http-web-socket.ts";
import { OutputDetectors } from "./output-detectors.ts";

type Passed = Result<readonly WebSocketMessage[], Refusal>;

const MALFORMED = refusal("protocol_violation", "a message of the stream is not what the protocol has");

export class RemoteCommandWatch implements MessageWatch {
  readonly #options: WatchOptions;
  readonly #log: ChannelLog;
  readonly #protocol: RemoteCommandProtocol | undefined;
  readonly #terminal: boolean;
  readonly #detectors: OutputDetectors | undefined;
  #exit: Record<string, unknown> | undefined;
  /** Detectors found what must not leave. */
  #blocked: Refusal | undefined;

  /** @param protocol what the server chose */
  constructor(info: RequestInfo, protocol: string | undefined, options: WatchOptions) {
    const { host, operation } = options;
    this.#options = options;
    this.#protocol = REMOTE_COMMAND_PROTOCOLS.find((known) => known === protocol);
    this.#terminal = info.stream?.tty === true;
    // A terminal is recorded whole: it is the only account of what happened in it.
    const keep = this.#terminal ? Infinity : host.resource.recordResultBytes;
    this.#log = new ChannelLog(operation, keep, (body) => host.record(body));
    const looked = host.resource.detectors !== "off" && !host.reveals("*", "*");
    this.#detectors = looked ? this.#newDetectors() : undefined;
  }

  fromClient(message: WebSocketMessage): Passed {
    if (message.kind === "close") return ok([message]);
    if (message.bytes.length === 0) return ok([]);
    if (this.#protocol === undefined) return err(MALFORMED);
    const read = readClientMessage(message.bytes, this.#protocol);
    if (!read.ok) return err(MALFORMED);
    const { value } = read;
    if (value.channel === "stdin") {
      this.#log.input(value.bytes);
      if (this.#terminal) this.#detectors?.typed(value.bytes.length);
    } else if (value.channel === "resize") {
      this.#log.flush();
      const { columns, rows } = value;
      this.#options.host.record({ type: "resize", channel: this.#options.operation, columns, rows });
    }
    return ok([{ kind: "binary", bytes: message.bytes }]);
  }

  fromService(message: WebSocketMessage): Passed {
    if (message.kind === "close") return ok([...this.#held(), message]);
    if (message.bytes.length === 0) return ok([]);
    const read = readServerMessage(message.bytes);
    if (!read.ok) return err(MALFORMED);
    const { value } = read;
    if (value.channel === "stdout" || value.channel === "stderr") {
      const stream = value.channel === "stdout" ? 0 : 1;
      const shown = this.#detectors?.push(stream, value.bytes) ?? value.bytes;
      if (this.#blocked !== undefined) return err(this.#blocked);
      // Servers open each channel with an empty message.
      if (shown.length === 0 && value.bytes.length > 0) return ok([]);
      return ok([this.#output(stream, shown)]);
    }
    if (value.channel !== "error") return ok([message]);
    const rest = this.#held();
    if (this.#blocked !== undefined) return err(this.#blocked);
    if (message.bytes.length > 1) {
      const { exitCode, message: text } = value.status;
      this.#exit = {
        ...(exitCode === undefined ? {} : { exit: { status: exitCode } }),
        ...(text === "" ? {} : { message: text }),
      };
    }
    return ok([...rest, message]);
  }

  flush(): void {
    this.#log.flush();
  }

  farewell(why: Refusal): readonly WebSocketMessage[] {
    const status = utf8(JSON.stringify(statusOf(why)));
    return [{ kind: "binary", bytes: writeRemoteCommand("error", status) }];
  }

  close(): void {
    this.#detectors?.close();
    this.#log.flush();
    const { host, operation } = this.#options;
    host.record({ type: "channel", channel: operation, ...this.#exit, ...this.#log.summary() });
  }

  #output(stream: number, bytes: Uint8Array): WebSocketMessage {
    this.#log.output(stream === 0 ? 0 : 1, bytes);
    return { kind: "binary", bytes: writeRemoteCommand(stream === 0 ? "stdout" : "stderr", bytes) };
  }

  /** What detectors have kept back, when nothing more can follow it. */
  #held(): WebSocketMessage[] {
    return (this.#detectors?.end() ?? []).map(({ stream, bytes }) => this.#output(stream, bytes));
  }

  #newDetectors(): OutputDetectors {
    const { host, operation, deliver, masked } = this.#options;
    return new OutputDetectors({
      turn: (work) => host.turn(work),
      now: () => host.now(),
      late: (stream, bytes) => {
        const message = this.#output(stream, bytes);
        this.#log.flush();
        deliver([message]);
      },
      found: (stream, kinds) => {
        const action = host.resource.detectors;
        host.record({ type: "detected", channel: operation, stream, kinds, action });
        for (const kind of kinds) masked(`detected ${kind}`);
        if (action !== "block") return;
        const message = `the output holds what must not leave ${host.resource.name}: ${kinds.join(", ")}`;
        this.#blocked = refusal("mask_value_withheld", message, { hint: "it was broken off before that" });
        this.#options.fail(this.#blocked);
      },
    });
  }
}
