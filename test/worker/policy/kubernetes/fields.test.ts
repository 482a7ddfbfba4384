import { describe, expect, it } from "vitest";
import { parseObjectField } from "../../../../worker/policy/kubernetes/fields.ts";

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
