/**
 * Builds the gateway: `worker/index.ts` → `dist/worker/index.js`, with each WebAssembly module beside it as a
 * module of its own, because a Worker may not compile WebAssembly from bytes. Used by `wrangler deploy`, by the
 * demo, by the tests and by the benchmarks, so that all of them run the same bytes.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { type Plugin, build, stop } from "esbuild";
import { patchedWasm } from "./libpg-query.ts";
import { ssh2Transport } from "./ssh2.ts";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** The bundle may not pass this, compressed: it is what the free plan of Cloudflare Workers takes. */
export const BUNDLE_LIMIT_GZIP = 3 * 1024 * 1024;

export type BuiltWorker = {
  /** Directory that holds `index.js` and its `.wasm` modules. */
  readonly directory: string;
  /** Names of the modules, `index.js` first. */
  readonly modules: readonly string[];
  /** Size of all modules together, compressed, in bytes. */
  readonly gzip: number;
  /** Directory of the console's files, where they were built too (`buildGateway`). */
  readonly console?: string;
};

export type BuildOptions = {
  /** Where the modules go; default `dist/worker`. Emptied first. */
  readonly directory?: string;
  /** The module to bundle; default `worker/index.ts`. The benchmark's bare byte pipe is another one. */
  readonly entry?: string;
};

/** Bundles the Worker. Fails with esbuild's own errors, which name file and line. */
export async function buildWorker(options: BuildOptions = {}): Promise<BuiltWorker> {
  const directory = options.directory ?? join(ROOT, "dist/worker");
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  await build({
    entryPoints: [options.entry ?? join(ROOT, "worker/index.ts")],
    outfile: join(directory, "index.js"),
    bundle: true,
    format: "esm",
    platform: "neutral",
    target: "es2024",
    mainFields: ["module", "main"],
    conditions: ["workerd", "worker", "browser"],
    external: ["node:*", "cloudflare:*"],
    // libpg-query's loader is CommonJS for Node; it looks at these two only to find the file we hand it anyway.
    define: { __filename: '"/pg.js"', __dirname: '"/"', "process.env.NODE_ENV": '"production"' },
    // CommonJS dependencies ask for Node's modules with `require`, which a module Worker does not have.
    banner: { js: 'import{createRequire}from"node:module";const require=createRequire("file:///");' },
    minifySyntax: true,
    minifyWhitespace: true,
    sourcemap: "linked",
    sourcesContent: false,
    legalComments: "none",
    logLevel: "warning",
    absWorkingDir: ROOT,
    plugins: [webAssemblyModules(directory), ssh2Transport(), bareNodeModules()],
  });
  // esbuild's own process would stay for as long as ours.
  await stop();
  const files = await readdir(directory);
  const modules = ["index.js", ...files.filter((name) => name.endsWith(".wasm")).sort()];
  let gzip = 0;
  for (const name of modules) gzip += gzipSync(await readFile(join(directory, name))).byteLength;
  return { directory, modules, gzip };
}

/** Copies imported `.wasm` files next to the bundle and leaves the import in place for workerd to resolve. */
function webAssemblyModules(directory: string): Plugin {
  return {
    name: "webassembly-modules",
    setup(builder) {
      builder.onResolve({ filter: /\.wasm$/ }, async ({ path, resolveDir }) => {
        const source = path.startsWith(".") ? resolve(resolveDir, path) : inPackage(path);
        const file = basename(source);
        // The published parser asks for a whole isolate's memory; ours is a checked copy that does not.
        const patched = file === "libpg-query.wasm";
        if (!patched && !existsSync(source))
          return { errors: [{ text: `no such WebAssembly module: ${path}` }] };
        const bytes = patched ? patchedWasm() : await readFile(source);
        const name = `${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}-${file}`;
        await writeFile(join(directory, name), bytes);
        return { path: `./${name}`, external: true };
      });
    },
  };
}

/** `package/file.wasm` without asking the package's `exports`, which know nothing of WebAssembly modules. */
function inPackage(specifier: string): string {
  return join(ROOT, "node_modules", specifier);
}

/** Dependencies written for Node say `crypto`, workerd knows `node:crypto` only. */
function bareNodeModules(): Plugin {
  const names = "assert|buffer|crypto|events|fs|module|path|process|stream|string_decoder|url|util|zlib";
  return {
    name: "bare-node-modules",
    setup(builder) {
      builder.onResolve({ filter: new RegExp(`^(${names})$`) }, ({ path }) => ({
        path: `node:${path}`,
        external: true,
      }));
    },
  };
}

/** Says how large the bundle is, and fails the process when it is too large. */
export function reportBundle({ modules, gzip }: BuiltWorker): void {
  const kib = (bytes: number): string => `${(bytes / 1024).toFixed(0)} KiB`;
  console.log(`built ${modules.length} modules, ${kib(gzip)} gzip, limit ${kib(BUNDLE_LIMIT_GZIP)}`);
  if (gzip > BUNDLE_LIMIT_GZIP) {
    console.error("the bundle is over its limit");
    process.exitCode = 1;
  }
}

if (import.meta.main) reportBundle(await buildWorker());
