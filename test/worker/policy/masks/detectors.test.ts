import { describe, expect, it } from "vitest";
import {
  createDetector,
  detect,
  flush,
  HOLD_BACK,
  push,
  type DetectorKind,
} from "../../../../worker/policy/masks/detectors.ts";

const kindsIn = (text: string, context = ""): DetectorKind[] =>
  detect(text, undefined, context).map(({ kind }) => kind);
const cut = (text: string, context = ""): string[] =>
  detect(text, undefined, context).map(({ start, end }) => text.slice(start, end));

describe("what is found", () => {
  it("finds payment cards of every scheme, in groups or not", () => {
    for (const card of [
      "4111111111111111",
      "4111 1111 1111 1111",
      "5500-0000-0000-0004",
      "340000000000009",
      "2223003122003222",
      "6011000000000004",
      "30000000000004",
      "3530111333300000",
    ]) {
      expect(cut(`pay ${card}, please`), card).toEqual([card]);
    }
  });

  it("leaves numbers alone that fail Luhn's check, or are too long, or begin like no card", () => {
    for (const number of [
      "4111111111111112",
      "41111111111111110000",
      "1234567890123452",
      "0000000000000000",
      "2026-11-22 07:33:12",
      "1700000000000",
    ]) {
      expect(kindsIn(number), number).not.toContain("card");
    }
  });

  it("finds IBANs by their country's length and remainder", () => {
    expect(cut("to DE89370400440532013000.")).toEqual(["DE89370400440532013000"]);
    expect(cut("GB29 NWBK 6016 1331 9268 19")).toEqual(["GB29 NWBK 6016 1331 9268 19"]);
    expect(cut("iban fr1420041010050500013M02606")).toEqual(["fr1420041010050500013M02606"]);
    expect(cut("DE89370400440532013001")).toEqual([]);
    expect(cut("DE8937040044053201300")).toEqual([]);
    expect(cut("XDE89370400440532013000")).toEqual([]);
  });

  it("finds addresses", () => {
    expect(cut("mail jane.doe+x@mail.example.co.uk.")).toEqual(["jane.doe+x@mail.example.co.uk"]);
    expect(cut("<a@b.io>")).toEqual(["a@b.io"]);
    expect(cut("user@host $ ls @types/node a@b")).toEqual([]);
  });

  it("finds phones with a country code and North American ones", () => {
    expect(cut("+49 (0)30 901820")).toEqual(["+49 (0)30 901820"]);
    expect(cut("call +14155552671 or (415) 555-2671")).toEqual(["+14155552671", "(415) 555-2671"]);
    expect(cut("1+1 = 2, +5 %, 2026-11-22, 10.0.0.1")).toEqual([]);
  });

  it("finds social security numbers only where something says that they are", () => {
    expect(cut("SSN: 219-09-9999")).toEqual(["219-09-9999"]);
    expect(cut("219099999", "customer_ssn")).toEqual(["219099999"]);
    expect(cut("219-09-9999")).toEqual([]);
    expect(cut("ssn 000-12-3456, 666-12-3456, 900-12-3456, 219-00-9999")).toEqual([]);
  });

  it("finds keys of services and private keys", () => {
    for (const key of [
      "AKIAIOSFODNN7EXAMPLE",
      `ghp_${"a1".repeat(18)}`,
      `xoxb-1234567890-${"a".repeat(20)}`,
      `AIza${"x".repeat(35)}`,
      "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ]) {
      expect(cut(`key=${key};`), key).toEqual([key]);
    }
    const pem = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\ndef\n-----END OPENSSH PRIVATE KEY-----";
    expect(cut(pem)).toEqual(["\nabc\ndef\n"]);
    expect(cut("-----BEGIN RSA PRIVATE KEY-----\nMIIB")).toEqual(["\nMIIB"]);
    expect(cut("-----BEGIN PUBLIC KEY-----\nMIIB")).toEqual([]);
  });

  it("takes time in proportion to hostile text", () => {
    for (const piece of ["4111 ", "a@", "+1 ", "-----BEGIN ", "DE89", "AKIA", "eyJa.eyJ", "a.b-"]) {
      const text = piece.repeat(200_000 / piece.length);
      const start = performance.now();
      detect(text);
      expect(performance.now() - start, piece).toBeLessThan(2_000);
    }
  });
});

describe("a stream", () => {
  const encoder = new TextEncoder();
  const decoder = new TextDecoder("latin1");
  const run = (chunks: readonly string[]): string => {
    let detector = createDetector();
    let out = "";
    for (const chunk of chunks) {
      const passed = push(detector, encoder.encode(chunk));
      detector = passed.detector;
      expect(detector.held.length).toBeLessThanOrEqual(HOLD_BACK + chunk.length);
      out += decoder.decode(passed.bytes);
    }
    return out + decoder.decode(flush(detector).bytes);
  };
  const text =
    "id,card\n1,4111 1111 1111 1111\nmail me: jane.doe@example.com or +14155552671\nSSN 219-09-9999\n" +
    `-----BEGIN PRIVATE KEY-----\n${"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n".repeat(40)}-----END PRIVATE KEY-----\nrest DE89370400440532013000\n`;
  const masked = run([text]);

  it("overwrites all of it and keeps the length", () => {
    expect(masked).toHaveLength(text.length);
    for (const secret of ["4111", "jane", "@example", "415555", "219-09", "MIIE", "DE89"])
      expect(masked).not.toContain(secret);
    expect(masked).toContain("rest ");
    expect(masked).toContain("-----END PRIVATE KEY-----");
  });

  it("gives the same at every split", () => {
    for (let at = 1; at < text.length; at++)
      expect(run([text.slice(0, at), text.slice(at)]), `split at ${at}`).toBe(masked);
  });

  it("gives the same byte by byte", () => {
    expect(run(text.split(""))).toBe(masked);
  });

  it("holds back no more than it must", () => {
    const passed = push(createDetector(), encoder.encode("a line\nand 4111 1111"));
    expect(decoder.decode(passed.bytes)).toBe("a line\n");
  });

  it("never holds more than its ceiling", () => {
    let detector = createDetector();
    for (let round = 0; round < 50; round++) {
      detector = push(detector, encoder.encode("x".repeat(1_000))).detector;
      expect(detector.held.length).toBeLessThanOrEqual(HOLD_BACK);
    }
  });
});
