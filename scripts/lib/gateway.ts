/** Starts the gateway (workerd with the built Worker) on the loopback interface. */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Supervised, supervise, tail } from "./processes.ts";

export type GatewayOptions = {
  /** The built Worker (`buildWorker().directory`). */
  readonly directory: string;
  /** Files of the console (`buildConsole()`); without them there is none. */
  readonly console?: string;
  readonly port: number;
  /** Where Durable Objects keep their SQLite files; without it they vanish with the process. */
  readonly persist?: string;
  /** The token that may apply the first configuration. */
  readonly bootstrapToken: string;
  /** The address clients use; default `http://127.0.0.1:<port>`. */
  readonly publicUrl?: string;
  /** Further variables and secrets of the Worker, for instance `DATABASE_URL`. */
  readonly bindings?: Readonly<Record<string, string>>;
  /** Bind an R2 bucket `RECORDINGS` (simulated on disk). */
  readonly recordings?: boolean;
  readonly logFile?: string;
};

/** What crosses to gateway-process.ts. */
export type GatewayProcessOptions = {
  readonly directory: string;
  readonly console?: string;
  readonly port: number;
  readonly persist?: string;
  readonly bindings: Record<string, string>;
  readonly recordings: boolean;
  readonly logFile?: string;
};

export type Gateway = {
  readonly url: string;
  readonly process: Supervised;
  /** Process ids of workerd itself, for measuring its memory. */
  readonly workerd: readonly number[];
  /** Takes a session out of memory while its sockets stay open, as the platform does when it has been idle. */
  hibernate(session: string): Promise<void>;
  /** The same with the Control object, whose live streams stay open. */
  hibernateControl(): Promise<void>;
  stop(): Promise<void>;
  /** Ends workerd as a crash would, without any farewell to its clients. */
  crash(): Promise<void>;
};

type Answer =
  | { readonly ready: true; readonly url: string; readonly workerd: number[] }
  | { readonly ready: false; readonly error: string };

/** Starts the gateway and resolves when it answers `GET /healthz`. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  if (options.persist !== undefined) await mkdir(options.persist, { recursive: true });
  const child = await supervise({
    name: "the gateway",
    command: process.execPath,
    args: [join(dirname(fileURLToPath(import.meta.url)), "gateway-process.ts")],
    ipc: true,
    // Time to end workerd, which it started.
    orphanSignal: "SIGTERM",
    ...(options.logFile === undefined ? {} : { logFile: options.logFile }),
  });
  const url = `http://127.0.0.1:${options.port}`;
  const message: GatewayProcessOptions = {
    directory: options.directory,
    port: options.port,
    bindings: {
      SALLY_PUBLIC_URL: options.publicUrl ?? url,
      SALLY_BOOTSTRAP_TOKEN: options.bootstrapToken,
      ...options.bindings,
    },
    recordings: options.recordings ?? false,
    ...(options.console === undefined ? {} : { console: options.console }),
    ...(options.persist === undefined ? {} : { persist: options.persist }),
    ...(options.logFile === undefined ? {} : { logFile: options.logFile }),
  };
  const answer = await new Promise<Answer>((resolve) => {
    child.process.once("message", (received) => resolve(received as Answer));
    void child.exited.then(() => resolve({ ready: false, error: tail(child.logFile) }));
    child.process.send(message);
  });
  if (!answer.ready) {
    await child.stop();
    throw new Error(`the gateway did not start: ${answer.error}`);
  }
  await waitForHealth(url, child);
  return {
    url,
    process: child,
    workerd: answer.workerd,
    hibernate: (session) => hibernate(child, { object: "SESSION", name: session }),
    hibernateControl: () => hibernate(child, { object: "CONTROL", name: "control" }),
    stop: () => child.stop(),
    crash: () => child.stop("SIGKILL"),
  };
}

/** What crosses to gateway-process.ts, and comes back with what became of it. */
export type Hibernate = { readonly object: "SESSION" | "CONTROL"; readonly name: string };

async function hibernate(child: Supervised, asked: Hibernate): Promise<void> {
  const error = await new Promise<string | undefined>((resolve) => {
    const listen = (message: unknown): void => {
      const { hibernated, error: failed } = message as { hibernated?: Hibernate; error?: string };
      if (hibernated?.object !== asked.object || hibernated.name !== asked.name) return;
      child.process.off("message", listen);
      resolve(failed);
    };
    child.process.on("message", listen);
    child.process.send({ hibernate: asked });
  });
  if (error !== undefined) throw new Error(`the object could not be put out of memory: ${error}`);
}

async function waitForHealth(url: string, child: Supervised): Promise<void> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const status = await fetch(`${url}/healthz`)
      .then((response) => response.status)
      .catch((error: unknown) => String(error));
    if (status === 200) return;
    if (performance.now() > deadline) {
      await child.stop();
      throw new Error(`the gateway does not answer (GET /healthz: ${status})\n${tail(child.logFile)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
