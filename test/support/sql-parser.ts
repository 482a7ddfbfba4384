/** The gateway's SQL parser in Node: the same module and the same patched wasm as in the Worker. */
import { createRequire } from "node:module";
import { patchedWasm } from "../../scripts/build/libpg-query.ts";
import {
  createSqlParser,
  type EmscriptenFactory,
  type Instantiate,
  type SqlParser,
} from "../../worker/policy/sql/parser.ts";

// The wasm API is in every runtime, but its types come with the DOM library only.
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: {
    compile(bytes: Uint8Array): Promise<unknown>;
    Instance: new (module: unknown, imports: unknown) => ReturnType<Instantiate>;
  };
};

let loaded: Promise<SqlParser> | undefined;

/** One parser for the whole process. */
export function loadSqlParser(): Promise<SqlParser> {
  return (loaded ??= newSqlParser());
}

/** A parser with an instance of its own. */
export async function newSqlParser(): Promise<SqlParser> {
  const require = createRequire(import.meta.url);
  // The package gives this file no types and does not export it; createRequire reaches it by path.
  const factory = require("../../node_modules/libpg-query/wasm/libpg-query.js") as EmscriptenFactory;
  const module = await WebAssembly.compile(patchedWasm());
  return createSqlParser(factory, (imports) => new WebAssembly.Instance(module, imports));
}
