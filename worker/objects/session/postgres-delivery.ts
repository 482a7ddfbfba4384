/** Rows and COPY data on their way to the client: past the detectors, into the recording and the counts. */
import { refusal } from "../../../wire/refusals.ts";
import type { Field } from "../../../wire/postgres/machine-types.ts";
import type { SessionDriver, SessionHost } from "./driver.ts";
import { Detectors, type InspectedRows } from "./postgres-detectors.ts";
import type { RunningOperations } from "./postgres-running.ts";

export class PostgresDelivery {
  readonly #host: SessionHost;
  readonly #running: RunningOperations;
  readonly #terminate: SessionDriver["terminate"];
  #detectors = new Detectors();

  constructor(host: SessionHost, running: RunningOperations, terminate: SessionDriver["terminate"]) {
    this.#host = host;
    this.#running = running;
    this.#terminate = terminate;
  }

  /** Detectors look at results unless the principal may reveal everything (relation and column `*`). */
  get detects(): boolean {
    return this.#host.resource.detectors !== "off" && !this.#host.reveals("*", "*");
  }

  /** Whole rows that the client gets as they are, or the other way round data of a COPY that the server got. */
  delivered(id: number, bytes: Uint8Array, rows: number): void {
    this.#host.rowsQueued(rows);
    const event = this.#running.delivered(id, bytes, rows);
    if (event !== undefined) this.#host.record(event);
  }

  /** Whole rows for the detectors. */
  rows(id: number, bytes: Uint8Array, fields: readonly Field[] | undefined): void {
    this.#deliver(id, this.#detectors.inspect(id, bytes, fields));
  }

  /** Something else goes to the client: what the detectors held back of a COPY goes first. */
  flushCopy(): void {
    if (!this.#detectors.holding) return;
    const flushed = this.#detectors.flush();
    if (flushed.bytes.length > 0) this.#deliver(flushed.operation, flushed);
  }

  /** Delivers rows that the detectors have seen; where they block, the session ends instead. */
  #deliver(id: number, inspected: InspectedRows): void {
    const host = this.#host;
    const { bytes, rows, found } = inspected;
    if (found.length > 0)
      host.record({ type: "detected", operation: id, kinds: found, action: host.resource.detectors });
    if (found.length > 0 && host.resource.detectors === "block") {
      this.#detectors = new Detectors();
      const what = found.join(", ");
      const message = `the result holds what must not leave ${host.resource.name}: ${what}`;
      this.#terminate(
        refusal("mask_value_withheld", message, { hint: "leave it out of the query; the session has ended" }),
      );
      return;
    }
    if (bytes.length === 0) return;
    host.toClient(bytes);
    this.delivered(id, bytes, rows);
  }
}
