/** Cedar for tests in Node: the same WebAssembly that the Worker imports as a module. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { type CedarModule, openCedar } from "../../worker/policy/cedar/module.ts";

// Node's types know only the name of this global.
declare const WebAssembly: { readonly Module: new (bytes: Uint8Array) => WebAssembly.Module };

let cedar: CedarModule | undefined;

export function testCedar(): CedarModule {
  if (cedar === undefined) {
    const folder = dirname(createRequire(import.meta.url).resolve("@cedar-policy/cedar-wasm/nodejs"));
    cedar = openCedar(new WebAssembly.Module(readFileSync(join(folder, "cedar_wasm_bg.wasm"))));
  }
  return cedar;
}
