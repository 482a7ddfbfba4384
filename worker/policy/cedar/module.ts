/**
 * One Cedar instance per isolate, which can be replaced.
 *
 * The package's own entry points instantiate once and for good, yet a trap inside WebAssembly (a stack
 * overflow, out of memory) leaves an instance that must not be asked again. So this file binds the
 * package's glue code to an instance itself and can bind it to a fresh one. The glue is a module of its
 * own, so there is one instance per isolate however often `openCedar` is called: `slot` says whose
 * policies are loaded in it.
 */
import type * as Cedar from "@cedar-policy/cedar-wasm/web";
import * as untypedGlue from "../../../node_modules/@cedar-policy/cedar-wasm/esm/cedar_wasm_bg.js";

type Functions = Pick<
  typeof Cedar,
  | "checkParsePolicySet"
  | "policyToJson"
  | "validate"
  | "preparsePolicySet"
  | "preparseSchema"
  | "statefulIsAuthorized"
  | "getCedarVersion"
>;

type Memory = { readonly buffer: ArrayBuffer; readonly grow: (pages: number) => number };
type Exports = { readonly memory: Memory; readonly __wbindgen_start: () => void };

// Node's and workerd's global, of which Node's types know only the name.
declare const WebAssembly: {
  readonly Instance: new (module: WebAssembly.Module, imports: object) => { readonly exports: unknown };
};

type Glue = Functions & { readonly __wbg_set_wasm: (exports: Exports) => void };

export type CedarModule = Functions & {
  /** Whose policies the instance holds; anything but one's own means that they have to be loaded again. */
  slot: object | undefined;
  /** The schema that the instance holds: it is the same for everybody, and reading it takes longer than policies do. */
  schema: string | undefined;
  /** Throws the instance away and starts a new, empty one (3 to 10 ms). */
  readonly restart: () => void;
  /** Bytes of linear memory of the current instance. */
  readonly memoryBytes: () => number;
};

// The glue has no types of its own; `Functions` takes them from the package's other entry point.
const glue = untypedGlue as Glue;

/** Starts Cedar from its compiled WebAssembly (`@cedar-policy/cedar-wasm/web/cedar_wasm_bg.wasm`). */
export function openCedar(compiled: WebAssembly.Module): CedarModule {
  let exports: Exports | undefined;
  const start = (): void => {
    const instance = new WebAssembly.Instance(compiled, { "./cedar_wasm_bg.js": glue });
    // The glue caches a view of the old memory and replaces it only when that memory is detached.
    exports?.memory.grow(0);
    exports = instance.exports as Exports;
    glue.__wbg_set_wasm(exports);
    exports.__wbindgen_start();
  };
  start();
  const cedar: CedarModule = {
    checkParsePolicySet: glue.checkParsePolicySet,
    policyToJson: glue.policyToJson,
    validate: glue.validate,
    preparsePolicySet: glue.preparsePolicySet,
    preparseSchema: glue.preparseSchema,
    statefulIsAuthorized: glue.statefulIsAuthorized,
    getCedarVersion: glue.getCedarVersion,
    slot: undefined,
    schema: undefined,
    restart: () => {
      cedar.slot = undefined;
      cedar.schema = undefined;
      start();
    },
    memoryBytes: () => exports?.memory.buffer.byteLength ?? 0,
  };
  return cedar;
}
