/** The third line over one PostgreSQL session's results: detectors on rows and COPY data before they leave. */
import { readUint32 } from "../../../wire/bytes.ts";
import type { Field } from "../../../wire/postgres/machine-types.ts";
import { DETECTOR_KINDS, type DetectorKind } from "../../policy/masks/detectors.ts";
import {
  type RowInspector,
  createRowInspector,
  flushCopy,
  inspectRows,
} from "../../policy/masks/inspect-rows.ts";

export type InspectedRows = {
  /** What may be delivered, with what was found overwritten. */
  readonly bytes: Uint8Array;
  readonly rows: number;
  readonly found: readonly DetectorKind[];
};

export class Detectors {
  #operation = 0;
  #inspector: RowInspector = createRowInspector(DETECTOR_KINDS);

  /** Whole DataRow or CopyData messages of one operation, in order. */
  inspect(operation: number, bytes: Uint8Array, fields: readonly Field[] | undefined): InspectedRows {
    if (operation !== this.#operation) {
      this.#operation = operation;
      this.#inspector = createRowInspector(DETECTOR_KINDS);
    }
    const inspected = inspectRows(this.#inspector, bytes, fields);
    this.#inspector = inspected.inspector;
    return { bytes: inspected.bytes, rows: countMessages(bytes), found: inspected.found };
  }

  /** Whether COPY data is held back that could be part of something longer. */
  get holding(): boolean {
    return this.#inspector.copy.held.length > 0;
  }

  /** What COPY held back; to be delivered before anything that follows the data. */
  flush(): InspectedRows & { readonly operation: number } {
    const flushed = flushCopy(this.#inspector);
    this.#inspector = flushed.inspector;
    return { bytes: flushed.bytes, rows: 0, found: flushed.found, operation: this.#operation };
  }
}

function countMessages(bytes: Uint8Array): number {
  let count = 0;
  for (let at = 0; at + 5 <= bytes.length; at += 1 + readUint32(bytes, at + 1)) count++;
  return count;
}
