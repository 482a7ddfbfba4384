/** CancelRequest on a connection of its own (PostgreSQL docs 54.2.8). */
import { type Result, err, ok } from "../../../wire/result.ts";
import { type Address, type Target, connect } from "./connect.ts";
import type { CancelKey } from "./login.ts";
import { cancelRequest } from "./messages.ts";

const CANCEL_TIMEOUT = 5_000;

/**
 * Asks the server at `at` to cancel what the session of `key` runs. The server tells nothing; it has acted when
 * it closes the connection.
 */
export async function cancel(
  target: Target,
  at: Address,
  key: CancelKey,
): Promise<Result<undefined, string>> {
  const signal = AbortSignal.timeout(CANCEL_TIMEOUT);
  const connection = await connect(target, signal, at);
  if (!connection.ok) return err(connection.error.detail);
  const { stream } = connection.value;
  return new Promise((resolve) => {
    const settle = (result: Result<undefined, string>) => {
      signal.removeEventListener("abort", abort);
      stream.destroy();
      resolve(result);
    };
    const abort = () => settle(err("the server did not take the cancel request in time"));
    signal.addEventListener("abort", abort, { once: true });
    stream.once("close", () => settle(ok(undefined)));
    stream.resume();
    stream.write(cancelRequest(key.processId, key.secretKey));
  });
}
