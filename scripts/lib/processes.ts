/**
 * Child processes that cannot outlive us. Each child gets a process group of its own, so that Ctrl-C in the
 * terminal reaches only the process that knows the order in which to stop things. On Linux the kernel ends a
 * child when this process dies without a chance to say goodbye (`setpriv --pdeathsig`).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";

export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

export type Supervised = {
  readonly name: string;
  readonly pid: number;
  readonly process: ChildProcess;
  readonly logFile: string | undefined;
  /** Resolves once the process has ended, for whatever reason. Never rejects. */
  readonly exited: Promise<Exit>;
  /** Sends `signal`, waits, and kills the whole group when it is still there after `graceMs`. */
  stop(signal?: NodeJS.Signals, graceMs?: number): Promise<void>;
};

export type SuperviseOptions = {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Standard output and error go here (appended). Without it they are dropped. */
  readonly logFile?: string;
  /** Run as this user (only as root). */
  readonly uid?: number;
  readonly gid?: number;
  /** Open an IPC channel; the child sees `process.send`. */
  readonly ipc?: boolean;
  /** What the kernel sends it when this process dies without stopping it (Linux); default SIGKILL. */
  readonly orphanSignal?: "SIGKILL" | "SIGTERM" | "SIGINT";
};

const alive = new Set<Supervised>();
let exitHookInstalled = false;

const SETPRIV = ["/usr/bin/setpriv", "/bin/setpriv"].find((path) => existsSync(path));

/** Starts a child. Fails when the command cannot be started at all. */
export async function supervise(options: SuperviseOptions): Promise<Supervised> {
  installExitHook();
  const log = options.logFile === undefined ? "ignore" : openSync(options.logFile, "a", 0o600);
  const dieWithParent = process.platform === "linux" && SETPRIV !== undefined;
  const command = dieWithParent ? SETPRIV : options.command;
  const args = dieWithParent
    ? ["--pdeathsig", (options.orphanSignal ?? "SIGKILL").slice(3), options.command, ...options.args]
    : [...options.args];
  let child: ChildProcess;
  try {
    child = spawn(command, args, {
      stdio: ["ignore", log, log, ...(options.ipc === true ? ["ipc" as const] : [])],
      detached: true,
      env: options.env ?? process.env,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.uid === undefined ? {} : { uid: options.uid }),
      ...(options.gid === undefined ? {} : { gid: options.gid }),
    });
  } finally {
    if (typeof log === "number") closeSync(log);
  }
  const exited = new Promise<Exit>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
    child.once("error", () => resolve({ code: 127, signal: null }));
  });
  const started = new Promise<number>((resolve, reject) => {
    child.once("spawn", () => resolve(child.pid ?? 0));
    child.once("error", (error) =>
      reject(new Error(`${options.name} could not be started: ${error.message}`)),
    );
  });
  const pid = await started;
  const supervised: Supervised = {
    name: options.name,
    pid,
    process: child,
    logFile: options.logFile,
    exited,
    stop: async (signal = "SIGTERM", graceMs = 10_000) => {
      // Its number may belong to another process by now.
      if (!alive.has(supervised)) return;
      signalGroup(pid, signal, false);
      const timer = setTimeout(() => signalGroup(pid, "SIGKILL", true), graceMs);
      await exited;
      clearTimeout(timer);
    },
  };
  alive.add(supervised);
  void exited.then(() => {
    alive.delete(supervised);
    // Whatever it left behind in its group goes with it.
    signalGroup(pid, "SIGKILL", true);
  });
  return supervised;
}

function signalGroup(pid: number, signal: NodeJS.Signals, group: boolean): void {
  try {
    process.kill(group ? -pid : pid, signal);
  } catch {
    // It has ended in the meantime, which is what we want.
  }
}

function installExitHook(): void {
  if (exitHookInstalled) return;
  exitHookInstalled = true;
  process.on("exit", () => {
    for (const child of alive) signalGroup(child.pid, "SIGKILL", true);
  });
}

/** Calls `stop` when the process that started this one is gone (checked each second). */
export function stopWithParent(stop: () => void): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    stop();
  }, 1000);
  timer.unref();
}

/** The last lines of a log file, to show beside "it did not start". */
export function tail(file: string | undefined, lines = 12): string {
  if (file === undefined || !existsSync(file)) return "";
  return readFileSync(file, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
}

/**
 * Runs `probe` every `everyMs` until it resolves to true. Fails with a sentence when `child` ends before that
 * or `withinMs` pass.
 */
export async function waitUntilReady(
  child: Supervised,
  probe: () => Promise<boolean>,
  { withinMs = 30_000, everyMs = 50 }: { withinMs?: number; everyMs?: number } = {},
): Promise<void> {
  const deadline = performance.now() + withinMs;
  let ended: Exit | undefined;
  void child.exited.then((exit) => (ended = exit));
  for (;;) {
    if (await probe().catch(() => false)) return;
    if (ended !== undefined) {
      throw new Error(`${child.name} ended before it was ready (${describe(ended)})\n${tail(child.logFile)}`);
    }
    if (performance.now() > deadline) {
      await child.stop("SIGKILL");
      throw new Error(`${child.name} was not ready within ${withinMs / 1000} s\n${tail(child.logFile)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

export function describe(exit: Exit): string {
  return exit.signal === null ? `exit code ${exit.code}` : `signal ${exit.signal}`;
}
