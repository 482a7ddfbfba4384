/** WebAssembly modules and untyped scripts that the bundle imports (scripts/build/worker.ts). */
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}

declare module "*/libpg-query.js" {
  const factory: unknown;
  export default factory;
}
