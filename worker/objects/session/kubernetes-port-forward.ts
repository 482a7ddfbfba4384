/** A port-forward: its frames are counted and limited, what is in them passes unread. */
import type { WebSocketMessage } from "../../../wire/http/web-socket-frame.ts";
import { PortForwardMeter } from "../../../wire/kubernetes/port-forward.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { MessageWatch, WatchOptions } from "./http-web-socket.ts";

export class PortForwardWatch implements MessageWatch {
  readonly #options: WatchOptions;
  readonly #meter = new PortForwardMeter();

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  fromClient(message: WebSocketMessage): Result<readonly WebSocketMessage[], Refusal> {
    return this.#pass("client", message);
  }

  fromService(message: WebSocketMessage): Result<readonly WebSocketMessage[], Refusal> {
    return this.#pass("server", message);
  }

  flush(): void {}

  farewell(): readonly WebSocketMessage[] {
    return [];
  }

  close(): void {
    const { host, operation } = this.#options;
    host.record({ type: "forwarded", operation, ...this.#meter.summary });
  }

  #pass(from: "client" | "server", message: WebSocketMessage): Result<readonly WebSocketMessage[], Refusal> {
    if (message.kind === "close") return ok([message]);
    const followed = this.#meter.push(from, message.bytes);
    if (followed.ok) return ok([message]);
    return err(
      followed.error === "over_limit"
        ? refusal("over_limit", "the port-forward has too many connections, or too large a frame")
        : refusal("protocol_violation", "the port-forward's frames are malformed"),
    );
  }
}
