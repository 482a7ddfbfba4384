import { describe, expect, it } from "vitest";
import type { Field } from "../../../../wire/postgres/machine-types.ts";
import { DETECTOR_KINDS } from "../../../../worker/policy/masks/detectors.ts";
import { createRowInspector, flushCopy, inspectRows } from "../../../../worker/policy/masks/inspect-rows.ts";

const field = (name: string, typeOid: number, format = 0): Field => ({
  name,
  tableOid: 0,
  attribute: 0,
  typeOid,
  typeModifier: -1,
  format,
});

function dataRow(values: readonly (Buffer | string | null)[]): Buffer {
  const cells = values.map((value) => {
    const bytes = value === null ? Buffer.alloc(0) : Buffer.from(value);
    const length = Buffer.alloc(4);
    length.writeInt32BE(value === null ? -1 : bytes.length);
    return Buffer.concat([length, bytes]);
  });
  const head = Buffer.alloc(7);
  const body = Buffer.concat(cells);
  head.write("D");
  head.writeInt32BE(body.length + 6, 1);
  head.writeInt16BE(values.length, 5);
  return Buffer.concat([head, body]);
}

function valuesOf(row: Uint8Array): (string | null)[] {
  const bytes = Buffer.from(row);
  const values: (string | null)[] = [];
  let at = 7;
  for (let column = 0; column < bytes.readInt16BE(5); column++) {
    const length = bytes.readInt32BE(at);
    at += 4;
    values.push(length === -1 ? null : bytes.toString("utf8", at, at + length));
    at += Math.max(0, length);
  }
  expect(bytes.readInt32BE(1)).toBe(bytes.length - 1);
  return values;
}

const fresh = createRowInspector(DETECTOR_KINDS);

describe("DataRow", () => {
  it("overwrites text values and leaves the others as they are", () => {
    const row = dataRow(["1", "card 4111111111111111", null, "jane@example.com"]);
    const { bytes, found } = inspectRows(fresh, row, [
      field("id", 23),
      field("note", 25),
      field("x", 25),
      field("mail", 1043),
    ]);
    expect(valuesOf(bytes)).toEqual(["1", "card ****************", null, "****************"]);
    expect(found).toEqual(["card", "email"]);
  });

  it("makes a card number in a bigint or numeric NULL, in text and binary", () => {
    const int8 = Buffer.alloc(8);
    int8.writeBigInt64BE(4_111_111_111_111_111n);
    const numeric = Buffer.from("0004000300000000100F045704570457".replace("100F0457", "100F0457"), "hex");
    expect(numeric).toHaveLength(16);
    const row = dataRow(["4111111111111111", int8, numeric, "4111111111111112"]);
    const { bytes } = inspectRows(fresh, row, [
      field("a", 20),
      field("b", 20, 1),
      field("c", 1700, 1),
      field("d", 20),
    ]);
    expect(valuesOf(bytes)).toEqual([null, null, null, "4111111111111112"]);
  });

  it("keeps JSON valid", () => {
    const row = dataRow(['{"card":4111111111111111,"mail":"jane@example.com"}']);
    const { bytes } = inspectRows(fresh, row, [field("doc", 3802)]);
    expect(JSON.parse(valuesOf(bytes)[0] ?? "")).toEqual({
      card: 1_000_000_000_000_000,
      mail: "****************",
    });
  });

  it("looks into binary values that hold text", () => {
    const jsonb = Buffer.concat([Buffer.from([1]), Buffer.from('{"m": "jane@example.com"}')]);
    const { bytes } = inspectRows(fresh, dataRow([jsonb]), [field("doc", 3802, 1)]);
    expect(valuesOf(bytes)[0]).toBe('\u0001{"m": "****************"}');
  });

  it("knows a social security number by its column", () => {
    const { bytes } = inspectRows(fresh, dataRow(["219-09-9999", "219-09-9999"]), [
      field("ssn", 25),
      field("part", 25),
    ]);
    expect(valuesOf(bytes)).toEqual(["***********", "219-09-9999"]);
  });

  it("says what was found when a value is spread over rows, one character each", () => {
    let inspector = fresh;
    const found = new Set<string>();
    for (const digit of "4111111111111111") {
      const inspected = inspectRows(inspector, dataRow([digit]), [field("substr", 25)]);
      inspector = inspected.inspector;
      for (const kind of inspected.found) found.add(kind);
    }
    expect([...found]).toEqual(["card"]);
  });

  it("takes several messages at once and leaves clean ones untouched", () => {
    const rows = Buffer.concat([dataRow(["a"]), dataRow(["b"])]);
    expect(Buffer.from(inspectRows(fresh, rows, [field("x", 25)]).bytes).equals(rows)).toBe(true);
  });
});

describe("COPY", () => {
  const copyData = (text: string): Buffer => {
    const head = Buffer.alloc(5);
    head.write("d");
    head.writeInt32BE(text.length + 4, 1);
    return Buffer.concat([head, Buffer.from(text)]);
  };
  const payload = (bytes: Uint8Array): string => {
    const buffer = Buffer.from(bytes);
    let out = "";
    for (let at = 0; at < buffer.length; at += 1 + buffer.readInt32BE(at + 1)) {
      out += buffer.toString("latin1", at + 5, at + 1 + buffer.readInt32BE(at + 1));
    }
    return out;
  };

  it("finds a value that two CopyData messages share, at every split", () => {
    const text = "1\t4111111111111111\tx\n2\tjane@example.com\ty\n";
    for (let split = 1; split < text.length; split++) {
      const first = inspectRows(fresh, copyData(text.slice(0, split)), undefined);
      const second = inspectRows(first.inspector, copyData(text.slice(split)), undefined);
      const last = flushCopy(second.inspector);
      expect(payload(first.bytes) + payload(second.bytes) + payload(last.bytes)).toBe(
        "1\t****************\tx\n2\t****************\ty\n",
      );
    }
  });
});
