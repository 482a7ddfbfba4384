/** Runs `bin/sally` as a user of a clone would, and collects what it says. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { ROOT } from "./run.ts";

export const SALLY = join(ROOT, "bin/sally");

export type SallyOptions = {
  readonly gateway: string;
  /** File with an ID token; without it `sally` uses what `sally login` left. */
  readonly tokenFile?: string;
  /** Home of its own configuration; a directory that does not exist keeps runs apart from the user's. */
  readonly configHome: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Standard input; default: none. */
  readonly input?: string | Uint8Array;
  /** Milliseconds after which it is killed; default 60,000. */
  readonly timeout?: number;
  readonly cwd?: string;
  /** At a terminal of its own (script(1)): what is written is typed there, so that `\u0003` is Ctrl-C. */
  readonly terminal?: true;
};

export type SallyResult = {
  /** 128 when it was killed. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
};

/** A `sally` that runs: for tests that watch it wait. */
export type RunningSally = {
  readonly pid: number;
  readonly result: Promise<SallyResult>;
  /** Resolves when what it has written to that stream so far matches; rejects when it ends before that. */
  waitFor(stream: "stdout" | "stderr", pattern: RegExp, withinMs?: number): Promise<RegExpExecArray>;
  /** Signals `sally` and the client that it runs, as Ctrl-C in a terminal does. */
  kill(signal?: NodeJS.Signals): void;
  write(text: string): void;
  endInput(): void;
};

export function runSally(args: readonly string[], options: SallyOptions): Promise<SallyResult> {
  const running = startSally(args, options);
  if (options.input !== undefined) running.write(String(options.input));
  running.endInput();
  return running.result;
}

export function startSally(args: readonly string[], options: SallyOptions): RunningSally {
  const environment: NodeJS.ProcessEnv = {
    ...process.env,
    SALLY_GATEWAY: options.gateway,
    XDG_CONFIG_HOME: options.configHome,
    PSQLRC: "/dev/null",
    PAGER: "cat",
    LC_ALL: "C.UTF-8",
    ...(options.tokenFile === undefined ? {} : { SALLY_TOKEN_FILE: options.tokenFile }),
    ...options.env,
  };
  // With `exec`: a shell that waits in between would itself end of the Ctrl-C, with 130 (dash does).
  const typed = `exec ${[SALLY, ...args].map(quote).join(" ")}`;
  const [program, words] = options.terminal ? ["script", ["-qec", typed, "/dev/null"]] : [SALLY, args];
  const child = spawn(program, words, {
    env: environment,
    cwd: options.cwd ?? ROOT,
    stdio: "pipe",
    detached: true,
  });
  const pid = child.pid ?? 0;
  const output = { stdout: "", stderr: "" };
  let changed = (): void => undefined;
  let ended = false;
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8");
    child[name].on("data", (chunk: string) => {
      output[name] += chunk;
      changed();
    });
  }
  // A command that ends early closes its input; that is not this side's failure.
  child.stdin.on("error", () => undefined);
  const kill = (signal: NodeJS.Signals = "SIGINT"): void => {
    try {
      process.kill(-pid, signal);
    } catch {
      // It has ended.
    }
  };
  const timer = setTimeout(() => kill("SIGKILL"), options.timeout ?? 60_000);
  const result = new Promise<SallyResult>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      ended = true;
      changed();
      resolve({ code: code ?? 128, ...output });
    });
  });
  return {
    pid,
    result,
    kill,
    write: (text) => void child.stdin.write(text),
    endInput: () => void child.stdin.end(),
    waitFor: (stream, pattern, withinMs = 20_000) =>
      new Promise((resolve, reject) => {
        const late = setTimeout(
          () =>
            reject(
              new Error(
                `no ${String(pattern)} on ${stream} within ${withinMs} ms:\n${output.stdout}${output.stderr}`,
              ),
            ),
          withinMs,
        );
        const before = changed;
        changed = () => {
          before();
          const match = pattern.exec(output[stream]);
          if (match !== null) {
            clearTimeout(late);
            resolve(match);
          } else if (ended) {
            clearTimeout(late);
            reject(
              new Error(
                `it ended without ${String(pattern)} on ${stream}:\n${output.stdout}${output.stderr}`,
              ),
            );
          }
        };
        changed();
      }),
  };
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
