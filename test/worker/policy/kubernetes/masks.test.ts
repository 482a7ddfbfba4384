import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { utf8 } from "../../../../wire/bytes.ts";
import {
  BASE64,
  ONE,
  SECRET,
  SECRETS,
  SECRET_OBJECT,
  YAML,
  json,
  seen,
} from "../../../support/kubernetes-answer.ts";

describe("a Secret", () => {
  it("is shown without its data, and stays one that clients can read", () => {
    const shown = json(ONE, SECRET_OBJECT) as typeof SECRET_OBJECT;
    expect(shown.data).toEqual({ password: btoa("****"), "tls.crt": btoa("****") });
    expect(shown.metadata.managedFields).toEqual(SECRET_OBJECT.metadata.managedFields);
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
    expect(seen(ONE, SECRET_OBJECT).masked.toSorted()).toEqual(
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
    rows: [{ cells: ["db", "Opaque", 2], object: SECRET_OBJECT }],
  };
  const watch = ["ADDED", "MODIFIED", "DELETED"]
    .map((type) => `${JSON.stringify({ type, object: SECRET_OBJECT })}\n`)
    .join("");
  const bookmark = `${JSON.stringify({ type: "BOOKMARK", object: { kind: "Secret", metadata: { resourceVersion: "5" } } })}\n`;
  it.each<[string, string, string | object]>([
    ["a list", SECRETS, { kind: "SecretList", items: [SECRET_OBJECT, SECRET_OBJECT] }],
    ["a list over all namespaces", "GET /api/v1/secrets", { kind: "SecretList", items: [SECRET_OBJECT] }],
    ["a table", SECRETS, table],
    ["a watch", `${SECRETS}?watch=1`, watch + bookmark],
    ["a watch of tables", `${SECRETS}?watch=1`, `${JSON.stringify({ type: "ADDED", object: table })}\n`],
    ["a watch by the legacy path", "GET /api/v1/watch/namespaces/shop/secrets", watch],
    ["what a create gives back", "POST /api/v1/namespaces/shop/secrets", SECRET_OBJECT],
    ["what an update gives back", "PUT /api/v1/namespaces/shop/secrets/db", SECRET_OBJECT],
    ["what a patch gives back", "PATCH /api/v1/namespaces/shop/secrets/db", SECRET_OBJECT],
    ["what a delete gives back", "DELETE /api/v1/namespaces/shop/secrets/db", SECRET_OBJECT],
    [
      "what a deletecollection gives back",
      "DELETE /api/v1/namespaces/shop/secrets",
      { kind: "SecretList", items: [SECRET_OBJECT] },
    ],
    [
      "metadata alone",
      SECRETS,
      { kind: "PartialObjectMetadataList", items: [{ metadata: SECRET_OBJECT.metadata }] },
    ],
    ["pretty JSON", `${ONE}?pretty=true`, JSON.stringify(SECRET_OBJECT, null, 2)],
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
      a: JSON.stringify(SECRET_OBJECT),
      b: `[${JSON.stringify(SECRET_OBJECT)}]`,
      packed: `H4sIAAAAAAAA${BASE64}`,
      yaml: `data:\n  password: ${BASE64}`,
      broken: `{"data": {"password": "${BASE64}"`,
      long: `{"data":{"password":"${BASE64}"},"x":"${"y".repeat(70_000)}"}`,
      nested: JSON.stringify({
        metadata: {
          annotations: {
            x: JSON.stringify({ metadata: { annotations: { y: JSON.stringify(SECRET_OBJECT) } } }),
          },
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

function toBase64(text: string): string {
  return btoa(String.fromCharCode(...utf8(text)));
}
