/** Asking the connector one question on a channel of its own: OPEN, perhaps data, then its answer until END. */
import { concat } from "../../../wire/bytes.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { SessionHost } from "./driver.ts";

/** The whole answer, at most `most` bytes. */
export function askConnector(
  host: SessionHost,
  payload: unknown,
  most: number,
  question?: Uint8Array,
): Promise<Result<Uint8Array, Refusal>> {
  return new Promise((resolve) => {
    const chunks: Uint8Array[] = [];
    let length = 0;
    let channel: number | undefined;
    const finish = (result: Result<Uint8Array, Refusal>): void => {
      clearTimeout(timer);
      if (channel !== undefined) host.closeChannel(channel);
      channel = undefined;
      resolve(result);
    };
    const timer = setTimeout(() => host.turn(() => finish(err(SILENT))), LIMITS.time.upstreamOpen);
    host.turn(() => {
      const opened = host.openChannel(payload, {
        opened: () => undefined,
        signal: () => undefined,
        data: (bytes) => {
          length += bytes.length;
          if (length > most) {
            finish(err(refusal("over_limit", "the connector's answer is too large")));
            return;
          }
          chunks.push(bytes.slice());
          if (channel !== undefined) host.consumed(channel, bytes.length);
        },
        ended: () => finish(ok(concat(chunks))),
        closed: (why) => finish(err(why)),
      });
      if (!opened.ok) {
        finish(opened);
        return;
      }
      channel = opened.value;
      if (question === undefined) return;
      host.toChannel(channel, question);
      host.endChannel(channel);
    });
  });
}

const SILENT = refusal("upstream_lost", "the connector did not answer in time");
