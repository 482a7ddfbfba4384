import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { concat, displayUtf8, utf8 } from "../../../../wire/bytes.ts";
import type { HeaderField } from "../../../../wire/http/headers.ts";
import type { HttpMethod } from "../../../../wire/http/open.ts";
import { parseTarget } from "../../../../wire/http/target.ts";
import { readEnvelope } from "../../../../wire/kubernetes/protobuf.ts";
import {
  planKubernetesAnswer,
  readableRequest,
  readableTypes,
} from "../../../../worker/policy/kubernetes/answers.ts";
import { parseObjectField } from "../../../../worker/policy/kubernetes/fields.ts";
import { createMaskFilter } from "../../../../worker/policy/kubernetes/mask-filter.ts";
import { type AppliedMask, appliedMasks } from "../../../../worker/policy/kubernetes/masks.ts";
import { type RequestInfo, requestInfo } from "../../../../worker/policy/kubernetes/request-info.ts";
import type { KubernetesMask } from "../../../../worker/policy/types.ts";
import { inEnvelope, message } from "../../../support/protobuf.ts";

const JSON_TYPE = "application/json";
const YAML = "application/yaml";
const PROTOBUF = "application/vnd.kubernetes.protobuf";
/** What must never be seen, as it is and in base64. */
const SECRET = "hunter2-canary";
const BASE64 = btoa(SECRET);
const SECRETS = "GET /api/v1/namespaces/shop/secrets";
const ONE = `${SECRETS}/db`;

function infoOf(request: string): RequestInfo {
  const [method = "", raw = ""] = request.split(" ");
  const target = parseTarget(raw);
  const info = target.ok
    ? requestInfo({ method: method as HttpMethod, target: target.value, upgrade: false })
    : target;
  if (!info.ok) throw new Error(info.error.message);
  return info.value;
}

type Options = {
  readonly masks?: readonly KubernetesMask[];
  readonly reveals?: readonly string[];
  readonly type?: string;
  readonly headers?: readonly HeaderField[];
  readonly status?: number;
  /** Bytes of each piece. */
  readonly pieces?: number;
};

function masksOf(request: string, { masks = [], reveals = [] }: Options = {}): readonly AppliedMask[] {
  return appliedMasks({ masks }, infoOf(request), (relation, column) =>
    reveals.includes(`${relation} ${column}`),
  );
}

type Seen = { readonly bytes: Uint8Array; readonly text: string; readonly masked: readonly string[] };

/** An answer as the client gets it, or the code with which it ends. */
function answer(request: string, body: string | Uint8Array | object, options: Options = {}): Seen | string {
  const bytes =
    body instanceof Uint8Array ? body : utf8(typeof body === "string" ? body : JSON.stringify(body));
  const info = infoOf(request);
  const head = {
    method: info.method,
    status: options.status ?? 200,
    headers: [["content-type", options.type ?? JSON_TYPE] as const, ...(options.headers ?? [])],
  };
  const plan = planKubernetesAnswer(info, head, masksOf(request, options));
  if (!plan.ok) return plan.error.code;
  if (plan.value.kind === "pass") return { bytes, text: displayUtf8(bytes), masked: [] };
  const masked: string[] = [];
  const filter = createMaskFilter(plan.value, {
    hash: (text) => `hash-of-${text.length}`,
    masked: (what) => masked.push(what),
  });
  const out: Uint8Array[] = [new Uint8Array()];
  const step = options.pieces ?? bytes.length;
  for (let at = 0; at < bytes.length; at += Math.max(1, step)) {
    const pushed = filter.push(bytes.subarray(at, at + Math.max(1, step)));
    if (!pushed.ok) return pushed.error.code;
    out.push(pushed.value);
  }
  const ended = filter.end();
  if (!ended.ok) return ended.error.code;
  const whole = concat([...out, ended.value]);
  return { bytes: whole, text: displayUtf8(whole), masked };
}

function seen(...parameters: Parameters<typeof answer>): Seen {
  const result = answer(...parameters);
  if (typeof result === "string") throw new Error(result);
  return result;
}

const json = (...parameters: Parameters<typeof answer>): unknown => JSON.parse(seen(...parameters).text);

const secret = {
  kind: "Secret",
  apiVersion: "v1",
  metadata: {
    name: "db",
    namespace: "shop",
    annotations: {
      "kubectl.kubernetes.io/last-applied-configuration": `${JSON.stringify({
        apiVersion: "v1",
        data: { password: BASE64 },
        kind: "Secret",
        metadata: { annotations: {}, name: "db" },
        stringData: { token: SECRET },
      })}\n`,
      "example.com/owner": "team-a",
    },
    managedFields: [{ manager: "kubectl", fieldsV1: { "f:data": { ".": {}, "f:password": {} } } }],
  },
  data: { password: BASE64, "tls.crt": BASE64 },
  type: "Opaque",
};

describe("a Secret", () => {
  it("is shown without its data, and stays one that clients can read", () => {
    const shown = json(ONE, secret) as typeof secret;
    expect(shown.data).toEqual({ password: btoa("****"), "tls.crt": btoa("****") });
    expect(shown.metadata.managedFields).toEqual(secret.metadata.managedFields);
    expect(shown.type).toBe("Opaque");
    expect(shown.metadata.annotations["example.com/owner"]).toBe("team-a");
    const applied = JSON.parse(
      shown.metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"],
    ) as object;
    expect(applied).toEqual({
      apiVersion: "v1",
      data: { password: btoa("****") },
      kind: "Secret",
      metadata: { annotations: {}, name: "db" },
      stringData: { token: "****" },
    });
  });

  it("says what was hidden, for the recording", () => {
    expect(seen(ONE, secret).masked.toSorted()).toEqual(
      ["secrets data.*", "secrets data.*", "secrets data.*", "secrets stringData.*"].toSorted(),
    );
  });

  const table = {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    columnDefinitions: [
      { name: "Name", type: "string", format: "name" },
      { name: "Type", type: "string" },
      { name: "Data", type: "string" },
    ],
    rows: [{ cells: ["db", "Opaque", 2], object: secret }],
  };
  const watch = ["ADDED", "MODIFIED", "DELETED"]
    .map((type) => `${JSON.stringify({ type, object: secret })}\n`)
    .join("");
  const bookmark = `${JSON.stringify({ type: "BOOKMARK", object: { kind: "Secret", metadata: { resourceVersion: "5" } } })}\n`;
  it.each<[string, string, string | object]>([
    ["a list", SECRETS, { kind: "SecretList", items: [secret, secret] }],
    ["a list over all namespaces", "GET /api/v1/secrets", { kind: "SecretList", items: [secret] }],
    ["a table", SECRETS, table],
    ["a watch", `${SECRETS}?watch=1`, watch + bookmark],
    ["a watch of tables", `${SECRETS}?watch=1`, `${JSON.stringify({ type: "ADDED", object: table })}\n`],
    ["a watch by the legacy path", "GET /api/v1/watch/namespaces/shop/secrets", watch],
    ["what a create gives back", "POST /api/v1/namespaces/shop/secrets", secret],
    ["what an update gives back", "PUT /api/v1/namespaces/shop/secrets/db", secret],
    ["what a patch gives back", "PATCH /api/v1/namespaces/shop/secrets/db", secret],
    ["what a delete gives back", "DELETE /api/v1/namespaces/shop/secrets/db", secret],
    [
      "what a deletecollection gives back",
      "DELETE /api/v1/namespaces/shop/secrets",
      { kind: "SecretList", items: [secret] },
    ],
    [
      "metadata alone",
      SECRETS,
      { kind: "PartialObjectMetadataList", items: [{ metadata: secret.metadata }] },
    ],
    ["pretty JSON", `${ONE}?pretty=true`, JSON.stringify(secret, null, 2)],
    ["escaped keys", ONE, `{"d\\u0061ta":{"password":"${BASE64}"}}`],
    ["keys in another case", ONE, { Data: { password: BASE64 }, STRINGDATA: { x: SECRET } }],
    [
      "data that is no map of texts",
      ONE,
      { data: { a: { b: SECRET }, c: [SECRET, { d: SECRET }], e: SECRET } },
    ],
  ])("is masked in %s, however it is cut", (_, request, body) => {
    for (const pieces of [1, 7, 1_000_000]) {
      const { text } = seen(request, body, { pieces });
      expect(text).not.toContain(SECRET);
      expect(text).not.toContain(BASE64);
      // Still what it was: a client reads it.
      for (const line of request.includes("watch") ? text.trim().split("\n") : [text]) JSON.parse(line);
    }
  });

  it("keeps a table's columns, which show how many keys there are", () => {
    expect((json(SECRETS, table) as typeof table).rows[0]?.cells).toEqual(["db", "Opaque", 2]);
  });

  it("is masked in YAML", () => {
    const yaml = `kind: Secret\ndata:\n  password: ${BASE64}\n  tls.crt: ${BASE64}\nmetadata:\n  name: db\n  labels: {on: "yes"}\n`;
    const { text } = seen(ONE, yaml, { type: YAML });
    expect(text).toBe(
      `kind: Secret\ndata:\n  password: ${btoa("****")}\n  tls.crt: ${btoa("****")}\nmetadata:\n  name: db\n  labels:\n    "on": "yes"\n`,
    );
  });

  it("is masked in annotations that repeat it in other ways", () => {
    const annotations = {
      a: JSON.stringify(secret),
      b: `[${JSON.stringify(secret)}]`,
      packed: `H4sIAAAAAAAA${BASE64}`,
      yaml: `data:\n  password: ${BASE64}`,
      broken: `{"data": {"password": "${BASE64}"`,
      long: `{"data":{"password":"${BASE64}"},"x":"${"y".repeat(70_000)}"}`,
      nested: JSON.stringify({
        metadata: {
          annotations: { x: JSON.stringify({ metadata: { annotations: { y: JSON.stringify(secret) } } }) },
        },
      }),
    };
    const { text } = seen(ONE, { metadata: { annotations } });
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain(BASE64);
    const shown = JSON.parse(text) as { metadata: { annotations: Record<string, string> } };
    expect(shown.metadata.annotations["broken"]).toBe("{}");
    expect(shown.metadata.annotations["packed"]).toBe("****");
    expect(shown.metadata.annotations["long"]).toBe("{}");
  });

  it("keeps its keys secret to nobody, and nothing else either", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ maxLength: 12 }), fc.string({ maxLength: 20 })),
        fc.integer({ min: 1, max: 40 }),
        (values, pieces) => {
          const data = Object.fromEntries(
            Object.entries(values).map(([key, value]) => [key, toBase64(`${SECRET}${value}`)]),
          );
          const shown = json(SECRETS, { items: [{ data, metadata: { labels: values } }] }, { pieces });
          const expected = Object.fromEntries(Object.keys(data).map((key) => [key, btoa("****")]));
          expect(shown).toEqual({ items: [{ data: expected, metadata: { labels: values } }] });
        },
      ),
      { numRuns: 200 },
    );
  });
});

const protobufSecret = message(
  [
    1,
    [
      [1, "db"],
      [
        12,
        [
          [1, "kubectl.kubernetes.io/last-applied-configuration"],
          [2, JSON.stringify(secret)],
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
                    [2, JSON.stringify(secret)],
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
                  [2, JSON.stringify(secret)],
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
                  [2, JSON.stringify(secret)],
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

describe("an answer that cannot be read", () => {
  it.each<[string, Options]>([
    ["CBOR", { type: "application/cbor" }],
    ["no type", { type: "" }],
    ["text", { type: "text/plain" }],
    ["JSON in an encoding that is not opened here", { headers: [["content-encoding", "br"]] }],
    ["a part", { status: 206 }],
    ["a watch in YAML", { type: YAML }],
  ])("%s is not delivered", (what, options) => {
    expect(answer(what.includes("watch") ? `${SECRETS}?watch=1` : ONE, secret, options)).toBe(
      "mask_value_withheld",
    );
  });

  it("that is not the JSON it says it is breaks off", () => {
    expect(answer(ONE, `{"data": {"password": '${BASE64}'}}`)).toBe("mask_value_withheld");
    expect(answer(ONE, `{"data": {"password": "${BASE64}"`)).toBe("mask_value_withheld");
  });

  it("in YAML that leaves room for doubt is not delivered", () => {
    expect(answer(ONE, `x: &a ${BASE64}\ndata: {password: *a}\n`, { type: YAML })).toBe(
      "mask_value_withheld",
    );
    expect(answer(ONE, `kind: Secret\n---\ndata: {password: ${BASE64}}\n`, { type: YAML })).toBe(
      "mask_value_withheld",
    );
  });

  it("is the API server's own words, or nothing at all, passes", () => {
    expect(seen(ONE, "404 page not found\n", { type: "text/plain", status: 404 }).text).toBe(
      "404 page not found\n",
    );
    expect(seen("HEAD /api/v1/namespaces/shop/secrets", "", { type: "application/cbor" }).text).toBe("");
  });
});

describe("who may reveal", () => {
  const all = ["secrets data.*", "secrets stringData.*"];

  it("sees a Secret as it is, in any encoding", () => {
    expect(masksOf(ONE, { reveals: all })).toEqual([]);
    expect(json(ONE, secret, { reveals: all })).toEqual(secret);
    expect(seen(ONE, secret, { reveals: all, type: "application/cbor" }).text).toContain(BASE64);
  });

  it("one field sees that one only", () => {
    const masks: KubernetesMask[] = [{ resource: "secrets", field: 'data["tls.crt"]', mask: "full" }];
    const shown = json(ONE, secret, { masks, reveals: ['secrets data["tls.crt"]'] }) as typeof secret;
    expect(shown.data).toEqual({ password: btoa("****"), "tls.crt": BASE64 });
  });

  it("one field that is too long to be told apart gets a clear end, not another value", () => {
    const masks: KubernetesMask[] = [{ resource: "secrets", field: "data.big", mask: "full" }];
    const body = { data: { big: btoa("x".repeat(100_000)), password: BASE64 } };
    expect(answer(ONE, body, { masks, reveals: ["secrets data.big"] })).toBe("over_limit");
  });
});

describe("masks that the configuration adds", () => {
  it("come before those of Secrets, and keep to base64", () => {
    const masks: KubernetesMask[] = [
      { resource: "secrets", field: "data.card", mask: "last4" },
      { resource: "secrets", field: "data.mail", mask: "email" },
      { resource: "secrets", field: "data.id", mask: "hash" },
      { resource: "secrets", field: "data.gone", mask: "null" },
    ];
    const data = {
      card: btoa("4111111111111111"),
      mail: btoa("ann@example.com"),
      id: btoa("12345"),
      gone: BASE64,
      other: BASE64,
    };
    const shown = json(ONE, { data }, { masks }) as { data: Record<string, string> };
    expect(Object.fromEntries(Object.entries(shown.data).map(([key, value]) => [key, atob(value)]))).toEqual({
      card: "****1111",
      mail: "a***@example.com",
      id: "hash-of-5",
      gone: "",
      other: "****",
    });
  });

  it("apply to resources of a group, their lists, subresources and annotations, and to no others", () => {
    const masks: KubernetesMask[] = [{ resource: "widgets.example.com", field: "spec.token", mask: "full" }];
    const widget = {
      spec: { token: SECRET, size: 1 },
      metadata: { annotations: { a: JSON.stringify({ spec: { token: SECRET } }) } },
    };
    const path = "GET /apis/example.com/v1/namespaces/a/widgets";
    for (const request of [path, `${path}/b`, `${path}/b/status`, `${path}?watch=1`])
      expect(seen(request, { items: [widget], ...widget }, { masks }).text).not.toContain(SECRET);
    for (const request of [
      "GET /apis/other.com/v1/namespaces/a/widgets",
      "GET /api/v1/namespaces/a/configmaps",
    ])
      expect(seen(request, widget, { masks }).text).toContain(SECRET);
  });

  it("hide what a table's columns could show", () => {
    const masks: KubernetesMask[] = [{ resource: "widgets.example.com", field: "spec.token", mask: "full" }];
    const path = "GET /apis/example.com/v1/namespaces/a/widgets";
    const table = { kind: "Table", rows: [{ cells: ["b", SECRET, 3, [SECRET], { a: SECRET }] }] };
    expect(seen(path, table, { masks }).text).not.toContain(SECRET);
    expect(seen(`${path}?watch=1`, { type: "ADDED", object: table }, { masks }).text).not.toContain(SECRET);
  });

  it("apply everywhere with *", () => {
    const masks: KubernetesMask[] = [{ resource: "*", field: "env.value", mask: "full" }];
    const pod = { spec: { containers: [{ env: [{ name: "P", value: SECRET }] }] } };
    expect(json("GET /api/v1/namespaces/a/pods/b", pod, { masks })).toEqual({
      spec: { containers: [{ env: [{ name: "P", value: "****" }] }] },
    });
  });

  it("leave logs to the detectors", () => {
    const masks: KubernetesMask[] = [{ resource: "pods", field: "spec.x", mask: "full" }];
    expect(masksOf("GET /api/v1/namespaces/a/pods/b/log", { masks })).toEqual([]);
    expect(masksOf("GET /api/v1/namespaces/a/pods/b", { masks })).toHaveLength(1);
  });
});

it("a token that the API server makes is masked", () => {
  const request = "POST /api/v1/namespaces/a/serviceaccounts/b/token";
  expect(
    json(request, { kind: "TokenRequest", status: { token: SECRET, expirationTimestamp: "x" } }),
  ).toEqual({
    kind: "TokenRequest",
    status: { token: "****", expirationTimestamp: "x" },
  });
  const raw = message(
    [2, [[4, 3600]]],
    [
      3,
      [
        [1, SECRET],
        [2, [[1, 5]]],
      ],
    ],
  );
  const shown = seen(request, inEnvelope("TokenRequest", raw, "authentication.k8s.io/v1"), {
    type: PROTOBUF,
  });
  expect(shown.text).not.toContain(SECRET);
  expect(shown.masked).toEqual(["serviceaccounts/token status.token"]);
});

describe("what is asked of the cluster", () => {
  it.each([
    ["application/json", true, "application/json"],
    ["", true, "application/json"],
    ["*/*", true, "application/json"],
    ["application/vnd.kubernetes.protobuf,application/json", true, "application/json"],
    ["application/vnd.kubernetes.protobuf, */*", true, "application/json"],
    ["application/cbor, application/json;q=0.5", true, "application/json;q=0.5"],
    [
      "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
      true,
      "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    ],
    ["application/json;as=Table;v=v1;g=meta.k8s.io,application/json", false, "application/json"],
    ['application/json; AS="Table" ,application/yaml', false, "application/yaml"],
    [
      "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
      false,
      "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    ],
    ["application/vnd.kubernetes.protobuf", true, "application/vnd.kubernetes.protobuf"],
    ["application/vnd.kubernetes.protobuf", false, "application/json"],
    [
      "application/vnd.kubernetes.protobuf;stream=watch",
      true,
      "application/vnd.kubernetes.protobuf;stream=watch",
    ],
    ["application/yaml", true, "application/yaml"],
    ["application/cbor", true, "application/json"],
    ["text/html", true, "application/json"],
  ])("Accept: %s (data only: %s) becomes %s", (accept, dataOnly, expected) => {
    expect(readableTypes(accept, dataOnly)).toBe(expected);
  });

  it("is whole, plain and fresh where something is masked, and left alone elsewhere", () => {
    const headers: HeaderField[] = [
      ["accept", "application/vnd.kubernetes.protobuf,*/*"],
      ["accept-encoding", "gzip"],
      ["if-none-match", '"x"'],
      ["user-agent", "kubectl"],
    ];
    expect(readableRequest(headers, masksOf(ONE), infoOf(ONE))).toEqual([
      ["user-agent", "kubectl"],
      ["accept", "application/json"],
      ["accept-encoding", "identity"],
    ]);
    expect(readableRequest(headers, [], infoOf(ONE))).toBe(headers);
  });
});

describe("a field's name", () => {
  it.each([
    ["data.*", ["data", "*"]],
    ['data["tls.crt"]', ["data", "tls.crt"]],
    ['metadata.annotations["a.b/c"]', ["metadata", "annotations", "a.b/c"]],
    ["spec.containers[].env[].value", ["spec", "containers", "env", "value"]],
    ["Token", ["token"]],
    ['a["x\\"y\\\\z"]', ["a", 'x"y\\z']],
  ])("%s", (text, steps) => {
    expect(parseObjectField(text)).toMatchObject({ ok: true, value: { steps: { anywhere: true, steps } } });
  });

  it.each([
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "*",
    "*.*",
    "$.data",
    "a[0]",
    "a[",
    'a["',
    'a["x"',
    "a]b",
    'a["x"]b',
    Array.from({ length: 40 }, () => "a").join("."),
  ])("%j is none", (text) => {
    expect(parseObjectField(text).ok).toBe(false);
  });
});

function toBase64(text: string): string {
  return btoa(String.fromCharCode(...utf8(text)));
}
