/** The package's glue code has no declarations of its own; module.ts gives it types. */
declare module "*/cedar_wasm_bg.js" {
  const glue: unknown;
  export = glue;
}
