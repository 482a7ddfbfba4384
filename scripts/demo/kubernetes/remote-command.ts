/** exec and attach: the streams of `v5.channel.k8s.io` and `v4.channel.k8s.io`, over a WebSocket or over SPDY. */
import { once } from "node:events";
import { type Duplex, PassThrough, type Readable, type Writable } from "node:stream";
import type { WebSocket } from "ws";
import type { Container, Exit, Process } from "./containers.ts";
import { type Fields, isFields } from "./objects.ts";
import { SpdyConnection, type SpdyStream } from "./spdy.ts";

/** Best first. */
export const PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;
/** v5: the channel named in the next byte is closed. */
const CLOSE = 255;

export type CommandOptions = {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
  readonly command: readonly string[];
};

export type RemoteStreams = {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Sends the status and closes. */
  finish(status: Fields): void;
  onResize(listener: (columns: number, rows: number) => void): void;
  onClose(listener: () => void): void;
};

export function commandOptions(query: URLSearchParams): CommandOptions {
  const flag = (name: string): boolean => ["true", "1"].includes(query.get(name) ?? "");
  return {
    stdin: flag("stdin"),
    stdout: flag("stdout"),
    stderr: flag("stderr") && !flag("tty"),
    tty: flag("tty"),
    command: query.getAll("command"),
  };
}

/** Streams on an accepted WebSocket. */
export function webSocketStreams(
  socket: WebSocket,
  protocol: string,
  options: CommandOptions,
): RemoteStreams {
  const stdin = new PassThrough();
  const resized: ((columns: number, rows: number) => void)[] = [];
  const channel = (number: number): Writable => {
    const stream = new PassThrough({ highWaterMark: 256 << 10 });
    stream.on("data", (chunk: Buffer) => {
      if (socket.readyState !== socket.OPEN) return;
      stream.pause();
      socket.send(Buffer.concat([Buffer.from([number]), chunk]), { binary: true }, () => stream.resume());
    });
    return stream;
  };
  const stdout = channel(STDOUT);
  const stderr = channel(STDERR);
  // As the real one does, to say that the connection stands.
  const open = [...(options.stdout ? [STDOUT] : []), ...(options.stderr ? [STDERR] : []), ERROR];
  for (const number of open) socket.send(Buffer.from([number]), { binary: true });
  socket.on("message", (data) => {
    const message = data as Buffer;
    if (message.length === 0) return;
    const [number, closed] = message;
    if (number === STDIN) {
      if (message.length > 1 && !stdin.writableEnded && !stdin.write(message.subarray(1))) {
        socket.pause();
        stdin.once("drain", () => socket.resume());
      }
    } else if (number === RESIZE) resize(message.toString("utf8", 1), resized);
    else if (number === CLOSE && protocol.startsWith("v5.") && closed === STDIN) stdin.end();
  });
  socket.on("error", () => undefined);
  return {
    stdin,
    stdout,
    stderr,
    finish: (status) => {
      // What was written is sent by the time both have ended.
      void Promise.all([ended(stdout), ended(stderr)]).then(() => {
        if (socket.readyState !== socket.OPEN) return;
        socket.send(Buffer.concat([Buffer.from([ERROR]), Buffer.from(JSON.stringify(status))]), {
          binary: true,
        });
        socket.close(1000);
      });
    },
    onResize: (listener) => void resized.push(listener),
    onClose: (listener) => void socket.once("close", listener),
  };
}

/** Resolves once all that was written to it has been passed on. */
async function ended(stream: Writable): Promise<void> {
  const { readableEnded } = stream as PassThrough;
  stream.end();
  if (!readableEnded) await once(stream, "end");
}

/** Streams that the client opens on a connection that speaks SPDY from now on; resolves when all are there. */
export function spdyStreams(socket: Duplex, options: CommandOptions): Promise<RemoteStreams> {
  const expected = ["error", ...(["stdin", "stdout", "stderr"] as const).filter((each) => options[each])];
  if (options.tty) expected.push("resize");
  const streams = new Map<string, SpdyStream>();
  const resized: ((columns: number, rows: number) => void)[] = [];
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error("the client did not open its streams"));
    }, 30_000);
    const connection = new SpdyConnection(socket, (stream) => {
      streams.set(stream.headers["streamtype"] ?? "", stream);
      if (!expected.every((each) => streams.has(each))) return;
      clearTimeout(timer);
      streams.get("resize")?.on("data", (chunk: Buffer) => {
        for (const line of chunk.toString("utf8").split("\n")) if (line !== "") resize(line, resized);
      });
      const none = (): PassThrough => new PassThrough().resume();
      resolve({
        stdin: streams.get("stdin") ?? none(),
        stdout: streams.get("stdout") ?? none(),
        stderr: streams.get("stderr") ?? none(),
        finish: (status) => {
          for (const each of ["stdout", "stderr"]) streams.get(each)?.end();
          streams.get("error")?.end(JSON.stringify(status));
          setTimeout(() => connection.close(), 50);
        },
        onResize: (listener) => void resized.push(listener),
        onClose: (listener) => void socket.once("close", listener),
      });
    });
  });
}

function resize(json: string, listeners: readonly ((columns: number, rows: number) => void)[]): void {
  let size: unknown;
  try {
    size = JSON.parse(json);
  } catch {
    return;
  }
  if (!isFields(size)) return;
  for (const listener of listeners) listener(Number(size["Width"]), Number(size["Height"]));
}

/** Runs a command in a container and connects it to the client's streams. */
export function execute(container: Container, options: CommandOptions, streams: RemoteStreams): void {
  const running = container.run({ command: options.command, tty: options.tty });
  connect(running, options, streams);
  running.stdout.pipe(streams.stdout);
  running.stderr?.pipe(streams.stderr);
  streams.onClose(() => running.kill());
  void running.exited.then((exit) => streams.finish(statusOf(exit)));
}

/** Connects the client to what runs in the container already. */
export function attach(container: Container, options: CommandOptions, streams: RemoteStreams): void {
  const forward = (chunk: Buffer, from: "stdout" | "stderr"): void => void streams[from].write(chunk);
  const done = (exit: Exit): void => streams.finish(statusOf(exit));
  container.on("output", forward);
  streams.onClose(() => container.off("output", forward).off("exit", done));
  if (container.main !== undefined) connect(container.main, options, streams);
  if (container.exit === undefined) container.once("exit", done);
  else done(container.exit);
}

function connect(running: Process, options: CommandOptions, streams: RemoteStreams): void {
  if (options.stdin) streams.stdin.pipe(running.stdin);
  else if (options.command.length > 0) running.stdin.end();
  streams.onResize((columns, rows) => running.resize(columns, rows));
}

function statusOf({ code, problem }: Exit): Fields {
  if (problem !== undefined) {
    const message = `error executing command in container: failed to exec in container: failed to start exec: OCI runtime exec failed: exec failed: unable to start container process: ${problem}`;
    return {
      metadata: {},
      status: "Failure",
      message: `Internal error occurred: ${message}`,
      reason: "InternalError",
      details: { causes: [{ message }] },
      code: 500,
    };
  }
  if (code === 0) return { metadata: {}, status: "Success" };
  return {
    metadata: {},
    status: "Failure",
    message: `command terminated with non-zero exit code: exit status ${code}`,
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: String(code) }] },
  };
}
