/** A native client that runs: what it says as it says it, and how it ends. */
import { spawn } from "node:child_process";

export type NativeCall = {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Standard input of a client that is waited for; default: none. */
  readonly input?: string | Uint8Array;
  /** Milliseconds after which it is killed; default 60,000. */
  readonly timeout?: number;
  /** At a terminal of its own (script(1)). */
  readonly terminal?: true;
};

export type NativeResult = { readonly code: number; readonly stdout: string; readonly stderr: string };

export type RunningNative = {
  readonly result: Promise<NativeResult>;
  /** Resolves when what it has written to that stream so far matches; rejects when it ends before that. */
  waitFor(stream: "stdout" | "stderr", pattern: RegExp, withinMs?: number): Promise<RegExpExecArray>;
  write(input: string | Uint8Array): void;
  endInput(): void;
  kill(signal?: NodeJS.Signals): void;
};

export function startNative(program: string, args: readonly string[], options: NativeCall): RunningNative {
  const typed = `exec ${[program, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ")}`;
  const [command, words] =
    options.terminal === true ? ["script", ["-qec", typed, "/dev/null"]] : [program, args];
  const child = spawn(command, words, {
    stdio: "pipe",
    detached: true,
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const chunks: Record<"stdout" | "stderr", string> = { stdout: "", stderr: "" };
  const watching = new Set<() => void>();
  let ended = false;
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8");
    child[name].on("data", (chunk: string) => {
      chunks[name] += chunk;
      for (const look of [...watching]) look();
    });
  }
  child.stdin.on("error", () => undefined);
  const kill = (signal: NodeJS.Signals = "SIGINT"): void => {
    try {
      process.kill(-(child.pid ?? 0), signal);
    } catch {
      // It has ended.
    }
  };
  const timer = setTimeout(() => kill("SIGKILL"), options.timeout ?? 60_000);
  const result = new Promise<NativeResult>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      ended = true;
      for (const look of [...watching]) look();
      resolve({ code: code ?? 128, ...chunks });
    });
  });
  return {
    result,
    kill,
    write: (input) => void child.stdin.write(input),
    endInput: () => void child.stdin.end(),
    waitFor: (stream, pattern, withinMs = 30_000) =>
      new Promise((resolve, reject) => {
        const fail = (why: string): void => {
          watching.delete(look);
          clearTimeout(late);
          reject(new Error(`no ${String(pattern)} on ${stream} ${why}:\n${chunks.stdout}${chunks.stderr}`));
        };
        const late = setTimeout(() => fail(`within ${withinMs} ms`), withinMs);
        const look = (): void => {
          const match = pattern.exec(chunks[stream]);
          if (match !== null) {
            watching.delete(look);
            clearTimeout(late);
            resolve(match);
          } else if (ended) fail("before it ended");
        };
        watching.add(look);
        look();
      }),
  };
}
