/** Builds all that a gateway serves: the Worker and the console's files. `npm run build` is this. */
import { join, resolve } from "node:path";
import { buildConsole } from "./console.ts";
import { type BuiltWorker, buildWorker, reportBundle } from "./worker.ts";

/** Builds into `worker` and `console` below `directory`. */
export async function buildGateway(directory: string): Promise<BuiltWorker & { readonly console: string }> {
  const [worker, files] = await Promise.all([
    buildWorker({ directory: join(directory, "worker") }),
    buildConsole({ directory: join(directory, "console") }),
  ]);
  return { ...worker, console: files };
}

if (import.meta.main) reportBundle(await buildGateway(resolve(import.meta.dirname, "../../dist")));
