/**
 * Standard output and standard error of a program on one byte stream from the connector: `byte stream`,
 * `uint24 length`, bytes. The tunnel joins and splits frames as it likes, so the pieces mark themselves.
 */
import { type Result, err, ok } from "../result.ts";

export type OutputStream = 0 | 1;
export type OutputPiece = { readonly stream: OutputStream; readonly bytes: Uint8Array };

const HEADER = 4;

/** Marks one piece of output; at most 2^24 - 1 bytes. */
export function encodeOutput(stream: OutputStream, bytes: Uint8Array): Uint8Array {
  const framed = new Uint8Array(HEADER + bytes.length);
  framed[0] = stream;
  framed[1] = bytes.length >>> 16;
  framed[2] = bytes.length >>> 8;
  framed[3] = bytes.length;
  framed.set(bytes, HEADER);
  return framed;
}

export type OutputParser = { header: number[]; stream: OutputStream; left: number };

export function newOutputParser(): OutputParser {
  return { header: [], stream: 0, left: 0 };
}

/** The pieces in `bytes`, as views; a piece that goes on in later bytes comes in parts. */
export function parseOutput(
  parser: OutputParser,
  bytes: Uint8Array,
): Result<OutputPiece[], "output_malformed"> {
  const pieces: OutputPiece[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (parser.left === 0) {
      parser.header.push(bytes[at] ?? 0);
      at += 1;
      if (parser.header.length < HEADER) continue;
      const [stream = 0, high = 0, middle = 0, low = 0] = parser.header;
      if (stream !== 0 && stream !== 1) return err("output_malformed");
      parser.stream = stream;
      parser.left = (high << 16) | (middle << 8) | low;
      parser.header = [];
      continue;
    }
    const length = Math.min(parser.left, bytes.length - at);
    pieces.push({ stream: parser.stream, bytes: bytes.subarray(at, at + length) });
    parser.left -= length;
    at += length;
  }
  return ok(pieces);
}
