/**
 * Containers without a container runtime. A command runs as a child process of this one: with an environment of
 * its own, in a directory of its own, and as `nobody` when this process is root. What an image would start by
 * itself is played (see images.ts). Nothing here isolates a command from the machine.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { PassThrough, Readable, type Writable } from "node:stream";
import { type Image, imageNamed } from "./images.ts";
import type { ContainerSpec } from "./objects.ts";

/** Debian's `nobody` and `nogroup`; only the numbers matter. */
const NOBODY = 65_534;

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Bytes of log that are kept for a container. */
const LOG_BYTES = 4 << 20;

const SCRIPT = ["/usr/bin/script", "/bin/script"].find((path) => existsSync(path));
/** So that nothing outlives this process, however it ends (Linux). */
const SETPRIV = ["/usr/bin/setpriv", "/bin/setpriv"].find((path) => existsSync(path));

export type LogLine = { readonly at: number; readonly text: string };

export type Exit = {
  readonly code: number;
  readonly signal: string | undefined;
  /** Why it could not be started at all. */
  readonly problem?: string;
};

export type Process = {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Undefined under a terminal, which has one output. */
  readonly stderr: Readable | undefined;
  readonly exited: Promise<Exit>;
  resize(columns: number, rows: number): void;
  kill(): void;
};

export type RunOptions = {
  readonly command: readonly string[];
  readonly tty: boolean;
  readonly env?: Readonly<Record<string, string>>;
};

/** `log` (one LogLine), `output` (a chunk of its main process), `exit`. */
type Events = { log: [LogLine]; output: [Buffer, "stdout" | "stderr"]; exit: [Exit] };

export class Container extends EventEmitter<Events> {
  readonly spec: ContainerSpec;
  readonly image: Image;
  readonly directory: string;
  /** Of the process that the container was started for; undefined when an image plays it. */
  main: Process | undefined;
  readonly startedAt = Date.now();
  exit: Exit | undefined;
  #log: LogLine[] = [];
  #logBytes = 0;
  #partial = "";
  readonly #running = new Set<Process>();
  readonly #hostname: string;
  readonly #timers: NodeJS.Timeout[] = [];

  constructor(spec: ContainerSpec, hostname: string, directory: string) {
    super();
    this.setMaxListeners(0);
    this.spec = spec;
    this.image = imageNamed(spec.image);
    this.directory = directory;
    this.#hostname = hostname;
    makeDirectory(directory);
    for (const [name, text] of Object.entries({ "etc/hostname": `${hostname}\n`, ...this.image.files })) {
      mkdirSync(join(directory, name, ".."), { recursive: true });
      writeFileSync(join(directory, name), text);
    }
    for (const name of ["tmp", "etc", "app"]) makeDirectory(join(directory, name));
  }

  start(): void {
    // As with images: `command` stands for the ENTRYPOINT, which only played ones have, `args` for the CMD, and
    // whoever gives the first does without the image's own second.
    const { command = [] } = this.spec;
    const { args = command.length > 0 ? [] : (this.image.command ?? []) } = this.spec;
    if (this.spec.command !== undefined || this.image.command !== undefined)
      return this.#startProcess([...command, ...args]);
    for (const text of this.image.startLines) this.#line(text);
    let at = 0;
    const timer = setInterval(() => {
      this.#line(this.image.line(++at));
    }, this.image.everyMs);
    timer.unref();
    this.#timers.push(timer);
  }

  #startProcess(command: readonly string[]): void {
    const { stdin = false, tty = false } = this.spec;
    this.main = this.run({ command, tty: tty && stdin });
    this.main.stdout.on("data", (chunk: Buffer) => this.#output(chunk, "stdout"));
    this.main.stderr?.on("data", (chunk: Buffer) => this.#output(chunk, "stderr"));
    if (!stdin) this.main.stdin.end();
    void this.main.exited.then((exit) => {
      if (this.#partial !== "") this.#line(this.#partial);
      this.exit = exit;
      this.emit("exit", exit);
    });
  }

  /** Starts another process in the container. Never fails: what cannot be started exits with 127. */
  run({ command, tty, env = {} }: RunOptions): Process {
    const started = startChild(command, {
      tty,
      directory: this.directory,
      env: {
        PATH,
        HOME: this.directory,
        TMPDIR: join(this.directory, "tmp"),
        HOSTNAME: this.#hostname,
        TERM: "xterm",
        LANG: "C.UTF-8",
        KUBERNETES_SERVICE_HOST: "10.96.0.1",
        KUBERNETES_SERVICE_PORT: "443",
        ...Object.fromEntries((this.spec.env ?? []).map(({ name, value = "" }) => [name, value])),
        ...env,
      },
    });
    this.#running.add(started);
    void started.exited.then(() => this.#running.delete(started));
    return started;
  }

  /** Lines of its log, the newest last. */
  log(): readonly LogLine[] {
    return this.#log;
  }

  /** Ends every process in it and removes its files. */
  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const each of this.#running) each.kill();
    if (this.exit === undefined && this.main === undefined) {
      this.exit = { code: 0, signal: undefined };
      this.emit("exit", this.exit);
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  #output(chunk: Buffer, from: "stdout" | "stderr"): void {
    this.emit("output", chunk, from);
    const lines = (this.#partial + chunk.toString("utf8")).split("\n");
    this.#partial = lines.pop() ?? "";
    for (const text of lines) this.#line(text);
  }

  #line(text: string): void {
    const line = { at: Date.now(), text };
    this.#log.push(line);
    this.#logBytes += text.length + 1;
    while (this.#logBytes > LOG_BYTES) this.#logBytes -= (this.#log.shift()?.text.length ?? 0) + 1;
    this.emit("log", line);
    if (this.main === undefined) this.emit("output", Buffer.from(`${text}\n`), "stdout");
  }
}

function makeDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  chmodSync(path, 0o700);
  if (isRoot()) chownSync(path, NOBODY, NOBODY);
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

type ChildOptions = {
  readonly tty: boolean;
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
};

/** Under a terminal: says which one it is, waits for nothing, becomes the command. */
const UNDER_TERMINAL = 'tty > "$SALLY_TTY_FILE"; unset SALLY_TTY_FILE; exec "$@"';

function startChild(command: readonly string[], { tty, directory, env }: ChildOptions): Process {
  const terminal = tty && SCRIPT !== undefined;
  const [program = "", ...args] = command;
  if (!isProgram(program, directory)) return notStarted(program);
  const ttyFile = join(directory, `tmp/.tty-${Math.random().toString(36).slice(2)}`);
  const quoted = ["sh", "-c", UNDER_TERMINAL, "sh", ...command].map(shellQuote).join(" ");
  const run = terminal ? [SCRIPT, "-qefc", quoted, "/dev/null"] : [program, ...args];
  const [first = "", ...others] =
    SETPRIV === undefined ? run : [SETPRIV, "--pdeathsig", "KILL", "--", ...run];
  const child = spawn(first, others, {
    cwd: directory,
    env: terminal ? { ...env, SHELL: "/bin/sh", SALLY_TTY_FILE: ttyFile } : env,
    // A group of its own, so that all that it started ends with it.
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
    ...(isRoot() ? { uid: NOBODY, gid: NOBODY } : {}),
  });
  // Whoever reads a broken pipe's error is told by the exit.
  child.stdin.on("error", () => undefined);
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    stderr: tty ? undefined : child.stderr,
    exited: exitOf(child),
    resize: (columns, rows) => {
      if (!terminal || !Number.isInteger(columns) || !Number.isInteger(rows)) return;
      const resize =
        'for i in 1 2 3 4 5 6 7 8 9 10; do [ -s "$1" ] && break; sleep 0.05; done; stty -F "$(cat "$1")" cols "$2" rows "$3"';
      spawn("sh", ["-c", resize, "sh", ttyFile, String(columns), String(rows)], { stdio: "ignore" }).on(
        "error",
        () => undefined,
      );
    },
    kill: () => killGroup(child),
  };
}

function isProgram(name: string, directory: string): boolean {
  const places = name.includes("/")
    ? [resolve(directory, name)]
    : PATH.split(":").map((each) => join(each, name));
  return name !== "" && places.some((path) => existsSync(path));
}

function notStarted(program: string): Process {
  const problem = `exec: "${program}": executable file not found in $PATH: unknown`;
  return {
    stdin: new PassThrough().resume(),
    stdout: Readable.from([]),
    stderr: undefined,
    exited: Promise.resolve({ code: 127, signal: undefined, problem }),
    resize: () => undefined,
    kill: () => undefined,
  };
}

function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    child.once("error", ({ message }) => resolve({ code: 127, signal: undefined, problem: message }));
    // All that it wrote has been read by then.
    child.once("close", (code, signal) => resolve({ code: code ?? 137, signal: signal ?? undefined }));
  });
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It has ended already.
  }
}

function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
