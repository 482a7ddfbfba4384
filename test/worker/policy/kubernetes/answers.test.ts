import { describe, expect, it } from "vitest";
import type { HeaderField } from "../../../../wire/http/headers.ts";
import { readableRequest, readableTypes } from "../../../../worker/policy/kubernetes/answers.ts";
import type { KubernetesMask } from "../../../../worker/policy/types.ts";
import {
  BASE64,
  ONE,
  type Options,
  PROTOBUF,
  SECRET,
  SECRETS,
  SECRET_OBJECT,
  YAML,
  answer,
  infoOf,
  json,
  masksOf,
  seen,
} from "../../../support/kubernetes-answer.ts";
import { inEnvelope, message } from "../../../support/protobuf.ts";

describe("an answer that cannot be read", () => {
  it.each<[string, Options]>([
    ["CBOR", { type: "application/cbor" }],
    ["no type", { type: "" }],
    ["text", { type: "text/plain" }],
    ["JSON in an encoding that is not opened here", { headers: [["content-encoding", "br"]] }],
    ["a part", { status: 206 }],
    ["a watch in YAML", { type: YAML }],
  ])("%s is not delivered", (what, options) => {
    expect(answer(what.includes("watch") ? `${SECRETS}?watch=1` : ONE, SECRET_OBJECT, options)).toBe(
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
    expect(json(ONE, SECRET_OBJECT, { reveals: all })).toEqual(SECRET_OBJECT);
    expect(seen(ONE, SECRET_OBJECT, { reveals: all, type: "application/cbor" }).text).toContain(BASE64);
  });

  it.each<[string, string, boolean]>([
    ["shop/secrets", ONE, true],
    ["shop/secrets", SECRETS, true],
    ["shop/secrets", `${SECRETS}?watch=1`, true],
    ["shop/secrets", "GET /api/v1/secrets", false],
    ["shop/secrets", "GET /api/v1/namespaces/other/secrets/db", false],
    ["shop/secrets", "GET /api/v1/secrets?fieldSelector=metadata.namespace%3Dshop", false],
    ["shop/secrets/db", ONE, true],
    ["shop/secrets/db", `${SECRETS}?fieldSelector=metadata.name%3Ddb`, true],
    ["shop/secrets/db", SECRETS, false],
    ["shop/secrets/db", `${SECRETS}/other`, false],
    ["shop/secrets/db", "GET /api/v1/secrets?fieldSelector=metadata.name%3Ddb", false],
    ["shop/secrets/db", `${SECRETS}?fieldSelector=metadata.name%21%3Ddb`, false],
    ["shop/secrets/db", "DELETE /api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3Ddb", false],
  ])("%s sees what %s gives: %s", (relation, request, reveals) => {
    const revealed = ["data.*", "stringData.*"].map((field) => `${relation} ${field}`);
    expect(masksOf(request, { reveals: revealed })).toHaveLength(reveals ? 0 : 2);
  });

  it("one field sees that one only", () => {
    const masks: KubernetesMask[] = [{ resource: "secrets", field: 'data["tls.crt"]', mask: "full" }];
    const shown = json(ONE, SECRET_OBJECT, {
      masks,
      reveals: ['secrets data["tls.crt"]'],
    }) as typeof SECRET_OBJECT;
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
