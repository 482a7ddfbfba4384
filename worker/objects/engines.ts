/**
 * The two engines of an isolate: PostgreSQL's grammar and Cedar. They hold no identity: what they keep
 * between requests are policies by version and cached decisions by facts.
 */
import cedarModule from "@cedar-policy/cedar-wasm/web/cedar_wasm_bg.wasm";
import parserModule from "libpg-query/libpg-query.wasm";
import parserFactory from "../../node_modules/libpg-query/wasm/libpg-query.js";
import { type PolicyEngine, createPolicyEngine } from "../policy/cedar/engine.ts";
import { openCedar } from "../policy/cedar/module.ts";
import { type EmscriptenFactory, type Instantiate, createSqlParser } from "../policy/sql/parser.ts";

export const sqlParser = await createSqlParser(
  // The package has no types for its loader; `EmscriptenFactory` says what is used of it.
  parserFactory as EmscriptenFactory,
  ((imports: WebAssembly.Imports) => new WebAssembly.Instance(parserModule, imports)) as Instantiate,
);

const cedar = openCedar(cedarModule);

export const policyEngine = createPolicyEngine(cedar);

/** An engine without policies, for some that are not applied. It shares the Cedar instance, not the decisions. */
export function draftEngine(): PolicyEngine {
  return createPolicyEngine(cedar);
}
