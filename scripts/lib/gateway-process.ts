/**
 * The gateway as a process of its own: Miniflare's library around workerd, without wrangler's development proxy
 * (which costs a millisecond a message). It is a separate process because Miniflare installs signal handlers that
 * end the process they are in, and so that a test can kill it as a crash would.
 *
 * Started by `gateway.ts` with the options as the first IPC message; answers `{ ready, workerd }` or `{ failed }`.
 * Later messages `{ hibernate: { object, name } }` are answered with `{ hibernated, error }`.
 */
import { appendFileSync, readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Log, LogLevel, Miniflare, convertV4MiniflareOptions } from "miniflare";
import { ASSETS, COMPATIBILITY, DURABLE_OBJECTS } from "./deployment.ts";
import type { GatewayProcessOptions, Hibernate } from "./gateway.ts";
import { stopWithParent } from "./processes.ts";

async function start(options: GatewayProcessOptions): Promise<Miniflare> {
  const modules = await Promise.all(
    ["index.js", ...readdirSync(options.directory).filter((name) => name.endsWith(".wasm"))].map(
      async (name) => ({
        type: name.endsWith(".wasm") ? ("CompiledWasm" as const) : ("ESModule" as const),
        path: join(options.directory, name),
        contents: name.endsWith(".wasm")
          ? new Uint8Array(await readFile(join(options.directory, name)))
          : await readFile(join(options.directory, name), "utf8"),
      }),
    ),
  );
  return new Miniflare(
    convertV4MiniflareOptions({
      name: "sallyport",
      modules,
      modulesRoot: options.directory,
      compatibilityDate: COMPATIBILITY.date,
      compatibilityFlags: [...COMPATIBILITY.flags],
      durableObjects: Object.fromEntries(
        Object.entries(DURABLE_OBJECTS).map(([name, className]) => [name, { className, useSQLite: true }]),
      ),
      bindings: options.bindings,
      ...(options.recordings ? { r2Buckets: ["RECORDINGS"] } : {}),
      ...(options.console === undefined
        ? {}
        : {
            assets: {
              directory: options.console,
              binding: ASSETS.binding,
              routerConfig: { has_user_worker: true, invoke_user_worker_ahead_of_assets: true },
              assetConfig: { html_handling: ASSETS.htmlHandling, not_found_handling: "none" as const },
            },
          }),
      // Straight to the Worker: Miniflare's own entry would sit between each frame and us.
      unsafeDirectSockets: [{ host: "127.0.0.1", port: options.port }],
      host: "127.0.0.1",
      port: 0,
      cf: false,
      cacheAPI: false,
      telemetry: { enabled: false },
      ...(options.persist === undefined ? {} : { resourcePersistencePath: options.persist }),
      log: new Log(LogLevel.NONE),
      handleStructuredLogs: ({ timestamp, level, message }) => {
        const line = `${new Date(timestamp).toISOString()} ${level} ${message.trimEnd()}\n`;
        if (options.logFile !== undefined) appendFileSync(options.logFile, line, { mode: 0o600 });
      },
    }),
  );
}

/** Puts one object out of memory at once, as the platform does to one that is idle for long enough. */
async function hibernate(miniflare: Miniflare, { object, name }: Hibernate): Promise<string | undefined> {
  try {
    const options = { name, webSockets: "hibernate" } as const;
    await miniflare.unsafeEvictDurableObject("sallyport", DURABLE_OBJECTS[object], options);
    return undefined;
  } catch (error) {
    return String(error);
  }
}

/** Process ids of the real workerd: children of ours, not the JavaScript wrapper in `.bin`. */
function workerdProcesses(): number[] {
  try {
    return readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(/\s+/).map(Number);
  } catch {
    return [];
  }
}

if (process.send !== undefined) {
  const send = process.send.bind(process);
  process.once("message", (options: GatewayProcessOptions) => {
    void run(options);
  });
  const run = async (options: GatewayProcessOptions): Promise<void> => {
    try {
      const miniflare = await start(options);
      await miniflare.ready;
      const url = await miniflare.unsafeGetDirectURL("sallyport");
      const stop = (): void => {
        void miniflare.dispose().finally(() => process.exit(0));
      };
      process.removeAllListeners("SIGTERM");
      process.removeAllListeners("SIGINT");
      process.on("SIGTERM", stop);
      process.on("SIGINT", stop);
      process.on("disconnect", stop);
      process.on("message", (message: { readonly hibernate: Hibernate }) => {
        void hibernate(miniflare, message.hibernate).then((error) =>
          send({ hibernated: message.hibernate, error }),
        );
      });
      stopWithParent(stop);
      send({ ready: true, url: url.origin, workerd: workerdProcesses() });
    } catch (error) {
      send({ ready: false, error: error instanceof Error ? error.message : String(error) });
      process.exitCode = 1;
      process.disconnect();
    }
  };
}
