import { describe, expect, it } from "vitest";
import { concat, displayUtf8, utf8 } from "../../../../wire/bytes.ts";
import { readEnvelope } from "../../../../wire/kubernetes/protobuf.ts";
import {
  BASE64,
  ONE,
  PROTOBUF,
  SECRET,
  SECRETS,
  SECRET_OBJECT,
  answer,
  seen,
} from "../../../support/kubernetes-answer.ts";
import { inEnvelope, message } from "../../../support/protobuf.ts";

const protobufSecret = message(
  [
    1,
    [
      [1, "db"],
      [
        12,
        [
          [1, "kubectl.kubernetes.io/last-applied-configuration"],
          [2, JSON.stringify(SECRET_OBJECT)],
        ],
      ],
      [
        12,
        [
          [1, "plain"],
          [2, "x"],
        ],
      ],
    ],
  ],
  [
    2,
    [
      [1, "password"],
      [2, SECRET],
    ],
  ],
  [
    2,
    [
      [1, "bytes"],
      [2, concat([Uint8Array.of(0xff, 0xfe), utf8(SECRET)])],
    ],
  ],
  [3, "Opaque"],
  [
    4,
    [
      [1, "token"],
      [2, SECRET],
    ],
  ],
  [99, "from the future"],
);

describe("a Secret in protobuf", () => {
  it("is shown without its data, and with everything else byte for byte", () => {
    const { bytes, text } = seen(ONE, inEnvelope("Secret", protobufSecret), { type: PROTOBUF });
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain(BASE64);
    const envelope = readEnvelope(bytes);
    if (!envelope.ok) throw new Error(envelope.error);
    expect(envelope.value.kind).toBe("Secret");
    expect(displayUtf8(envelope.value.raw)).toContain("from the future");
    const expected = message(
      [
        2,
        [
          [1, "password"],
          [2, "****"],
        ],
      ],
      [
        2,
        [
          [1, "bytes"],
          [2, "****"],
        ],
      ],
      [3, "Opaque"],
      [
        4,
        [
          [1, "token"],
          [2, "****"],
        ],
      ],
      [99, "from the future"],
    );
    expect(envelope.value.raw.slice(-expected.length)).toEqual(expected);
  });

  const frame = (object: Uint8Array, type = "ADDED"): Uint8Array => {
    const event = message([1, type], [2, [[1, object]]]);
    return concat([Uint8Array.of(0, 0, event.length >> 8, event.length & 255), event]);
  };
  const list = inEnvelope("SecretList", message([1, [[2, "7"]]], [2, protobufSecret], [2, protobufSecret]));
  it.each<[string, string, Uint8Array]>([
    ["a list", SECRETS, list],
    [
      "metadata alone",
      SECRETS,
      inEnvelope(
        "PartialObjectMetadataList",
        message([
          2,
          [
            [
              1,
              [
                [
                  12,
                  [
                    [1, "a"],
                    [2, JSON.stringify(SECRET_OBJECT)],
                  ],
                ],
              ],
            ],
          ],
        ]),
        "meta.k8s.io/v1",
      ),
    ],
    [
      "a watch",
      `${SECRETS}?watch=1`,
      concat([
        frame(inEnvelope("Secret", protobufSecret)),
        frame(inEnvelope("Secret", protobufSecret), "DELETED"),
      ]),
    ],
    [
      "an entry with its value before its key",
      ONE,
      inEnvelope(
        "Secret",
        message([
          2,
          [
            [2, SECRET],
            [1, "password"],
          ],
        ]),
      ),
    ],
    [
      "an entry with its value twice",
      ONE,
      inEnvelope(
        "Secret",
        message([
          2,
          [
            [1, "a"],
            [2, SECRET],
            [2, SECRET],
          ],
        ]),
      ),
    ],
    [
      "an entry with more than a key and a value",
      ONE,
      inEnvelope(
        "Secret",
        message([
          2,
          [
            [1, "a"],
            [2, SECRET],
            [3, SECRET],
          ],
        ]),
      ),
    ],
    ["an entry without a key", ONE, inEnvelope("Secret", message([2, [[2, SECRET]]]))],
    [
      "metadata twice",
      ONE,
      inEnvelope(
        "Secret",
        message(
          [
            1,
            [
              [
                12,
                [
                  [1, "a"],
                  [2, JSON.stringify(SECRET_OBJECT)],
                ],
              ],
            ],
          ],
          [
            1,
            [
              [
                12,
                [
                  [1, "b"],
                  [2, JSON.stringify(SECRET_OBJECT)],
                ],
              ],
            ],
          ],
        ),
      ),
    ],
  ])("is masked in %s, however it is cut", (_, request, bytes) => {
    for (const pieces of [1, 13, 1_000_000]) {
      const { text, masked } = seen(request, bytes, { type: PROTOBUF, pieces });
      expect(text).not.toContain(SECRET);
      expect(text).not.toContain(BASE64);
      expect(masked.length).toBeGreaterThan(0);
    }
  });

  it("has a Status that passes", () => {
    const status = inEnvelope("Status", message([2, "Failure"], [3, "no"]));
    expect(seen(ONE, status, { type: PROTOBUF, status: 404 }).bytes).toEqual(status);
    expect(seen(`${SECRETS}?watch=1`, status, { type: PROTOBUF, status: 403 }).bytes).toEqual(status);
  });

  it.each<[string, string, Uint8Array, string]>([
    ["another kind", ONE, inEnvelope("Widget", protobufSecret), "mask_value_withheld"],
    ["no envelope", ONE, protobufSecret, "mask_value_withheld"],
    [
      "an envelope that names a type",
      ONE,
      concat([
        Uint8Array.of(0x6b, 0x38, 0x73, 0),
        message([1, [[2, "Secret"]]], [2, protobufSecret], [4, "application/json"]),
      ]),
      "mask_value_withheld",
    ],
    [
      "a length that lies",
      ONE,
      inEnvelope("Secret", concat([protobufSecret, Uint8Array.of(0x12, 0x70)])),
      "mask_value_withheld",
    ],
    ["data that is a number", ONE, inEnvelope("Secret", message([2, 5])), "mask_value_withheld"],
    [
      "a key that is not UTF-8",
      ONE,
      inEnvelope(
        "Secret",
        message([
          2,
          [
            [1, Uint8Array.of(0xff)],
            [2, SECRET],
          ],
        ]),
      ),
      "mask_value_withheld",
    ],
    [
      "a frame without an end",
      `${SECRETS}?watch=1`,
      frame(inEnvelope("Secret", protobufSecret)).subarray(0, 80),
      "mask_value_withheld",
    ],
    [
      "a frame longer than an object",
      `${SECRETS}?watch=1`,
      Uint8Array.of(0x7f, 0xff, 0xff, 0xff, 1),
      "over_limit",
    ],
    ["an event without an envelope", `${SECRETS}?watch=1`, frame(protobufSecret), "mask_value_withheld"],
  ])("with %s is not delivered", (_, request, bytes, code) => {
    for (const pieces of [1, 1_000_000])
      expect(answer(request, bytes, { type: PROTOBUF, pieces })).toBe(code);
  });
});
