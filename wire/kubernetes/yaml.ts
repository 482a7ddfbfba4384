/**
 * YAML as the API server takes it: one document, read by a YAML 1.1 parser written in Go and turned into JSON. Two
 * parsers never agree on all of YAML, so only the part is read that leaves no room: no anchors, aliases, merge keys,
 * tags or directives, no key twice, no second document, and no character that YAML 1.1 takes for a line break and
 * 1.2 does not.
 */
import { type Node, isMap, isScalar, isSeq, parseDocument } from "yaml";
import { LIMITS } from "../limits.ts";
import { type Result, err, ok } from "../result.ts";
import type { Unreadable, Value } from "./value.ts";

/** NEL, LS and PS break lines in YAML 1.1; so does a carriage return alone. */
const AMBIGUOUS = /[\u0085\u2028\u2029\uFEFF]|\r(?!\n)|[^\t\n\r\u0020-\uFFFF]|^%/mu;

/** @param text decoded from valid UTF-8 */
export function readYaml(text: string): Result<Value, Unreadable> {
  if (text.length > LIMITS.kubernetes.yaml) return err("over_limit");
  if (AMBIGUOUS.test(text.replaceAll(/[\u{10000}-\u{10FFFF}]/gu, ""))) return err("unsupported");
  try {
    const document = parseDocument(text, {
      version: "1.1",
      prettyErrors: false,
      uniqueKeys: true,
      logLevel: "error",
    });
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) return err(problem.code === "DUPLICATE_KEY" ? "duplicate" : "malformed");
    return toValue(document.contents, 0);
  } catch {
    // The parser recurses, so text nested thousands deep overflows the stack.
    return err("over_limit");
  }
}

function toValue(node: Node | null, depth: number): Result<Value, Unreadable> {
  if (node === null) return ok(null);
  if (depth > LIMITS.kubernetes.depth) return err("over_limit");
  if (isSeq(node)) {
    if (!isPlain(node)) return err("unsupported");
    const list: Value[] = [];
    for (const item of node.items) {
      const value = toValue(item as Node | null, depth + 1);
      if (!value.ok) return value;
      list.push(value.value);
    }
    return ok(list);
  }
  if (isMap(node)) {
    if (!isPlain(node)) return err("unsupported");
    const map = new Map<string, Value>();
    for (const { key, value: item } of node.items) {
      if (!isScalar(key) || !isPlain(key) || key.source === "<<" || key.value === "<<")
        return err("unsupported");
      const name = typeof key.value === "string" ? key.value : (key.source ?? "");
      const value = toValue(item as Node | null, depth + 1);
      if (!value.ok) return value;
      if (map.has(name)) return err("duplicate");
      map.set(name, value.value);
    }
    return ok(map);
  }
  if (!isScalar(node) || !isPlain(node)) return err("unsupported");
  const { value, source } = node;
  if (value === null || typeof value === "boolean" || typeof value === "string") return ok(value);
  if (typeof value === "number") return ok(value);
  // A timestamp, for example, is text for the API server.
  return ok(source ?? "");
}

function isPlain(node: { anchor?: string; tag?: string }): boolean {
  return node.anchor === undefined && node.tag === undefined;
}
