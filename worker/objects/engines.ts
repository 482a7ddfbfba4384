/**
 * The two engines of an isolate: PostgreSQL's grammar and Cedar. They hold no identity: what they keep
 * between requests are policies by version and cached decisions by facts.
 */
import cedarModule from "@cedar-policy/cedar-wasm/web/cedar_wasm_bg.wasm";
import parserModule from "libpg-query/libpg-query.wasm";
import parserFactory from "../../node_modules/libpg-query/wasm/libpg-query.js";
import { createPolicyEngine } from "../policy/cedar/engine.ts";
import { openCedar } from "../policy/cedar/module.ts";
import { type EmscriptenFactory, type Instantiate, createSqlParser } from "../policy/sql/parser.ts";

export const sqlParser = await createSqlParser(
  // The package has no types for its loader; `EmscriptenFactory` says what is used of it.
  parserFactory as EmscriptenFactory,
  ((imports: WebAssembly.Imports) => new WebAssembly.Instance(parserModule, imports)) as Instantiate,
);

export const policyEngine = createPolicyEngine(openCedar(cedarModule));
