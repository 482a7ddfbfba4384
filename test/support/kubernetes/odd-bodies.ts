/**
 * A Pod in every form in which the API server takes one, and in those in which two readers may see two Pods. Each asks
 * for the node's network or more, and most for the image `evil`.
 */
import fc from "fast-check";
import { concat, utf8 } from "../../../wire/bytes.ts";
import { cbor } from "../cbor.ts";
import { inEnvelope, message } from "../protobuf.ts";

const PROTOBUF = "application/vnd.kubernetes.protobuf";
const CBOR = "application/cbor";
const CBOR_POD = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "probe" },
  spec: { hostNetwork: true, containers: [{ name: "a", image: "evil" }] },
};

const head = "apiVersion: v1\nkind: Pod\nmetadata: {name: probe}\n";
const jsonHead = '"apiVersion":"v1","kind":"Pod","metadata":{"name":"probe"}';
const container = "{name: a, image: evil}";
const podSpec = message(
  [
    2,
    [
      [1, "a"],
      [2, "evil"],
    ],
  ],
  [11, true],
);
const raw = message([1, [[1, "probe"]]], [2, podSpec]);
const YAML = "application/yaml";
const JSON_TYPE = "application/json";
export const ODD_BODIES: readonly (readonly [what: string, type: string, body: string | Uint8Array])[] = [
  [
    "plain JSON",
    JSON_TYPE,
    `{${jsonHead},"spec":{"hostNetwork":true,"containers":[{"name":"a","image":"evil"}]}}`,
  ],
  ["plain YAML", YAML, `${head}spec: {hostNetwork: true, containers: [${container}]}\n`],
  ["plain protobuf", PROTOBUF, inEnvelope("Pod", raw)],
  [
    "JSON with spec twice",
    JSON_TYPE,
    `{${jsonHead},"spec":{"hostNetwork":true,"containers":[{"name":"a","image":"evil"}]},"spec":{"hostPID":true}}`,
  ],
  [
    "JSON in another case",
    JSON_TYPE,
    `{${jsonHead},"spec":{"HostNetwork":true,"hostnetwork":true,"containers":[{"name":"a","image":"evil"}]}}`,
  ],
  [
    "JSON with an escaped key",
    JSON_TYPE,
    `{${jsonHead},"spec":{"host\\u004eetwork":true,"containers":[{"name":"a","image":"evil"}]}}`,
  ],
  [
    "JSON without a type",
    "",
    `{${jsonHead},"spec":{"hostNetwork":true,"containers":[{"name":"a","image":"evil"}]}}`,
  ],
  [
    "JSON with a byte order mark",
    JSON_TYPE,
    `\uFEFF{${jsonHead},"spec":{"hostNetwork":true,"containers":[{"name":"a","image":"evil"}]}}`,
  ],
  [
    "JSON with something behind it",
    JSON_TYPE,
    `{${jsonHead},"spec":{"containers":[{"name":"a","image":"good"}]}}{"spec":{"hostNetwork":true}}`,
  ],
  [
    "JSON with bytes that are not UTF-8",
    JSON_TYPE,
    concat([
      utf8(`{${jsonHead},"spec":{"hostNetwork":true,"nodeName":"`),
      Uint8Array.of(0xff),
      utf8('","containers":[{"name":"a","image":"evil"}]}}'),
    ]),
  ],
  [
    "JSON without a kind",
    JSON_TYPE,
    '{"metadata":{"name":"probe"},"spec":{"hostNetwork":true,"containers":[{"name":"a","image":"evil"}]}}',
  ],
  [
    "YAML with yes",
    YAML,
    `${head}spec: {hostNetwork: yes, hostPID: on, hostIPC: y, containers: [${container}]}\n`,
  ],
  ["YAML with an anchor", YAML, `${head}x: &s {hostNetwork: true, containers: [${container}]}\nspec: *s\n`],
  ["YAML with a merge key", YAML, `${head}spec:\n  <<: {hostNetwork: true}\n  containers: [${container}]\n`],
  [
    "YAML with spec twice",
    YAML,
    `${head}spec: {hostNetwork: true, containers: [${container}]}\nspec: {hostPID: true, containers: [${container}]}\n`,
  ],
  [
    "YAML with a second document",
    YAML,
    `${head}spec: {hostNetwork: true, containers: [${container}]}\n---\n${head}spec: {containers: [${container}]}\n`,
  ],
  [
    "YAML with an empty first document",
    YAML,
    `---\n---\n${head}spec: {hostNetwork: true, containers: [${container}]}\n`,
  ],
  [
    "YAML after a document's end",
    YAML,
    `${head}spec: {containers: [${container}]}\n...\nspec: {hostNetwork: true}\n`,
  ],
  ["YAML with a tag", YAML, `${head}spec: {hostNetwork: !!bool "true", containers: [${container}]}\n`],
  [
    "YAML with a binary key",
    YAML,
    `${head}spec: {!!binary aG9zdE5ldHdvcms=: true, containers: [${container}]}\n`,
  ],
  ["YAML behind LS", YAML, `${head}spec:\n  containers: [${container}]\n  # x\u2028  hostNetwork: true\n`],
  ["YAML behind NEL", YAML, `${head}spec:\n  containers: [${container}]\n  # x\u0085  hostNetwork: true\n`],
  [
    "YAML behind a carriage return",
    YAML,
    `${head}spec:\n  containers: [${container}]\n  # x\r  hostNetwork: true\n`,
  ],
  [
    "YAML with a directive",
    YAML,
    `%YAML 1.1\n---\n${head}spec: {hostNetwork: true, containers: [${container}]}\n`,
  ],
  [
    "YAML with quoted escapes",
    YAML,
    `${head}spec: {"host\\x4eetwork": true, "host\\u0050ID": true, containers: [${container}]}\n`,
  ],
  [
    "YAML with a folded key",
    YAML,
    `${head}spec:\n  ? >-\n    hostNetwork\n  : true\n  containers: [${container}]\n`,
  ],
  [
    "YAML with a literal value",
    YAML,
    `${head}spec:\n  serviceAccountName: |-\n    admin\n  containers: [${container}]\n`,
  ],
  [
    "YAML in UTF-16",
    YAML,
    Buffer.from(`\uFEFF${head}spec: {hostNetwork: true, containers: [${container}]}\n`, "utf16le"),
  ],
  ["YAML with tabs", YAML, `${head}spec:\t{hostNetwork:\ttrue, containers: [${container}]}\n`],
  [
    "JSON as YAML with a comment",
    YAML,
    `{${jsonHead},"spec":{"hostNetwork":true, # x\n"containers":[${container}]}}`,
  ],
  ["protobuf with spec twice", PROTOBUF, inEnvelope("Pod", concat([raw, message([2, message([12, true])])]))],
  [
    "protobuf with hostNetwork twice",
    PROTOBUF,
    inEnvelope("Pod", message([1, [[1, "probe"]]], [2, concat([podSpec, message([11, false])])])),
  ],
  [
    "protobuf with unknown fields",
    PROTOBUF,
    inEnvelope("Pod", concat([message([90, "x"]), raw, message([91, 1])])),
  ],
  ["protobuf without a kind", PROTOBUF, inEnvelope("", raw, "")],
  ["protobuf with another kind", PROTOBUF, inEnvelope("ConfigMap", raw)],
  [
    "protobuf with the object twice",
    PROTOBUF,
    concat([
      inEnvelope("Pod", raw),
      message([2, message([1, [[1, "probe"]]], [2, concat([podSpec, message([12, true])])])]),
    ]),
  ],
  [
    "protobuf with a type in the envelope",
    PROTOBUF,
    concat([inEnvelope("Pod", raw), message([4, "application/json"])]),
  ],
  // 2^32 + 11, 2^32 + 2: Go keeps the lower 32 bits of a field's number.
  [
    "protobuf with a tag beyond 32 bits",
    PROTOBUF,
    inEnvelope(
      "Pod",
      message(
        [1, [[1, "probe"]]],
        [
          2,
          concat([
            message([
              2,
              [
                [1, "a"],
                [2, "evil"],
              ],
            ]),
            Uint8Array.of(0xd8, 0x80, 0x80, 0x80, 0x80, 0x01, 1),
          ]),
        ],
      ),
    ),
  ],
  [
    "protobuf with a long tag",
    PROTOBUF,
    inEnvelope(
      "Pod",
      message(
        [1, [[1, "probe"]]],
        [
          2,
          concat([
            message([
              2,
              [
                [1, "a"],
                [2, "evil"],
              ],
            ]),
            Uint8Array.of(0xd8, 0x80, 0x00, 1),
          ]),
        ],
      ),
    ),
  ],
  [
    "protobuf with a long varint",
    PROTOBUF,
    inEnvelope(
      "Pod",
      message(
        [1, [[1, "probe"]]],
        [
          2,
          concat([
            message([
              2,
              [
                [1, "a"],
                [2, "evil"],
              ],
            ]),
            Uint8Array.of(0x58, 0x81, 0x80, 0x00),
          ]),
        ],
      ),
    ),
  ],
  [
    "protobuf with a group",
    PROTOBUF,
    inEnvelope("Pod", concat([raw, Uint8Array.of(0xa3, 0x06, 0x58, 0x01, 0xa4, 0x06)])),
  ],
  [
    "protobuf with an embedded message twice",
    PROTOBUF,
    inEnvelope(
      "Pod",
      message(
        [1, [[1, "probe"]]],
        [
          2,
          [
            [
              2,
              [
                [1, "a"],
                [2, "evil"],
                [15, [[2, true]]],
                [15, [[7, true]]],
              ],
            ],
          ],
        ],
      ),
    ),
  ],
  ["CBOR", CBOR, cbor(CBOR_POD, 3)],
  ["CBOR of byte strings", CBOR, cbor(CBOR_POD, 2)],
  ["CBOR that says twice that it is", CBOR, concat([Uint8Array.of(0xd9, 0xd9, 0xf7), cbor(CBOR_POD, 3)])],
  // The text of tagged bytes is their base64url: another image than the bytes are.
  [
    "CBOR with tagged bytes",
    CBOR,
    concat([cbor(CBOR_POD, 2).slice(0, -5), Uint8Array.of(0xd5, 0x44), utf8("evil")]),
  ],
];

const TOKENS = [
  ..."\n|  | # |\t|\u2028|\u0085|\r|'|\"|&a |*a |<<: |---\n|...\n|? |: |,|{|}|[|]|!!str |\\|\\u0050|\\x4e|~|- |>|| |%|\uFEFF".split(
    "|",
  ),
  ...[
    "hostPID: true",
    "\n  hostIPC: yes\n",
    "hostPID",
    '"hostIPC":true,',
    "spec: ",
    "true",
    "yes",
    "0",
    "null",
  ],
].map((token) => utf8(token));
const CBOR_BYTES = [
  ...[
    [0xa1],
    [0xa3],
    [0x67, ...utf8("hostPID"), 0xf5],
    [0x47, ...utf8("hostPID"), 0xf5],
    [0xf5],
    [0xf4],
    [0xf6],
  ],
  ...[
    [0xbf],
    [0xff],
    [0xc0],
    [0xc2],
    [0xd5],
    [0xd6],
    [0xd7],
    [0x00],
    [0x40],
    [0x60],
    [0x5f],
    [0x7f],
    [0x58, 0x07],
  ],
].map((bytes) => Uint8Array.from(bytes));

const BYTES = [
  [0x58, 0x01],
  [0x60, 0x01],
  [0x80, 0x00],
  [0xff],
  [0x00],
  [0x12, 0x02, 0x60, 0x01],
  [0x0b],
  [0x0c],
].map((bytes) => Uint8Array.from(bytes));

/** Some cuts, repetitions and insertions. */
export const mutation = fc.record({
  at: fc.nat(10_000),
  length: fc.nat(24),
  kind: fc.constantFrom("insert", "insert", "cut", "repeat", "flip"),
  token: fc.nat(1_000),
});
export function mutate(
  bytes: Uint8Array,
  type: string,
  steps: readonly { at: number; length: number; kind: string; token: number }[],
): Uint8Array {
  let changed = bytes;
  for (const { at, length, kind, token } of steps) {
    const from = at % (changed.length + 1);
    const [before, piece, after] = [
      changed.subarray(0, from),
      changed.subarray(from, from + length),
      changed.subarray(from + length),
    ];
    const tokens = type === PROTOBUF ? BYTES : type === CBOR ? CBOR_BYTES : TOKENS;
    const inserted = tokens[token % tokens.length] ?? new Uint8Array();
    if (kind === "insert") changed = concat([before, inserted, piece, after]);
    else if (kind === "cut") changed = concat([before, after]);
    else if (kind === "repeat") changed = concat([before, piece, piece, after]);
    else
      changed = concat([
        before,
        piece.map((byte, index) => (index === 0 ? byte ^ (1 << (token % 8)) : byte)),
        after,
      ]);
  }
  return changed;
}
