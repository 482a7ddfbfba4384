/**
 * The demo's SSH server for machines that have none: it runs real commands as whoever runs the demo, for one
 * key, on 127.0.0.1. A terminal needs `script` of util-linux, file transfer OpenSSH's sftp-server.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import ssh2, { type Connection, type ServerChannel, type Session } from "ssh2";
import { freePort } from "./ports.ts";
import { makeKey } from "./ssh-keys.ts";
import { SFTP_SERVERS, type SshTarget } from "./sshd.ts";

type Terminal = { readonly columns: number; readonly rows: number; readonly term: string };

export async function startSshServer(options: {
  readonly directory: string;
  readonly port?: number;
}): Promise<SshTarget> {
  const { directory } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const hostKey = await makeKey(join(directory, "host_key"));
  const keyFile = join(directory, "client_key");
  const clientKey = await makeKey(keyFile);
  const port = options.port ?? (await freePort());
  const server = new ssh2.Server(
    { hostKeys: [await readFile(join(directory, "host_key"), "utf8")] },
    (connection) => serve(connection, clientKey),
  );
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve());
  });
  return {
    port,
    user: userInfo().username,
    hostKey,
    keyFile,
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function serve(connection: Connection, clientKey: string): void {
  const allowed = ssh2.utils.parseKey(clientKey);
  if (allowed instanceof Error) throw allowed;
  const [key] = Array.isArray(allowed) ? allowed : [allowed];
  connection.on("error", () => undefined);
  connection.on("authentication", (context) => {
    if (context.method !== "publickey" || key === undefined || !context.key.data.equals(key.getPublicSSH())) {
      context.reject(["publickey"]);
      return;
    }
    const { signature, blob } = context;
    if (signature !== undefined && (blob === undefined || key.verify(blob, signature) !== true))
      context.reject();
    else context.accept();
  });
  connection.on("session", (accept) => serveSession(accept()));
}

function serveSession(session: Session): void {
  let terminal: Terminal | undefined;
  const environment: Record<string, string> = {};
  session.on("env", (accept, _reject, { key, val }) => {
    environment[key] = val;
    accept?.();
  });
  session.on("pty", (accept, _reject, { cols: columns, rows, term }) => {
    terminal = { columns, rows, term: term ?? "xterm" };
    accept();
  });
  session.on("exec", (accept, _reject, { command }) =>
    connectTo(accept(), program(command, terminal, environment)),
  );
  session.on("shell", (accept) => connectTo(accept(), program(undefined, terminal, environment)));
  session.on("subsystem", (accept, reject, { name }) => {
    const sftp = SFTP_SERVERS.find((path) => existsSync(path));
    if (name === "sftp" && sftp !== undefined) connectTo(accept(), spawn(sftp, [], { stdio: "pipe" }));
    else reject();
  });
}

function program(
  command: string | undefined,
  terminal: Terminal | undefined,
  environment: Record<string, string>,
): ChildProcessWithoutNullStreams {
  const { shell, homedir, username } = userInfo();
  const env = {
    PATH: process.env["PATH"] ?? "/usr/bin:/bin",
    HOME: homedir,
    USER: username,
    LOGNAME: username,
    ...environment,
  };
  const words = command === undefined ? ["-l"] : ["-c", command];
  const run = shell ?? "/bin/sh";
  const options = { env, cwd: homedir, stdio: "pipe" as const };
  if (terminal === undefined || !existsSync("/usr/bin/script")) return spawn(run, words, options);
  const size = `stty cols ${terminal.columns || 80} rows ${terminal.rows || 24}; exec "$SHELL" "$@"`;
  return spawn(
    "/usr/bin/script",
    ["-qec", `exec sh -c '${size}' sh ${words.map(quote).join(" ")}`, "/dev/null"],
    {
      ...options,
      env: { ...env, TERM: terminal.term, SHELL: run },
    },
  );
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

function connectTo(channel: ServerChannel, child: ChildProcessWithoutNullStreams): void {
  channel.on("error", () => undefined);
  child.stdin.on("error", () => undefined);
  channel.pipe(child.stdin);
  child.stdout.pipe(channel, { end: false });
  child.stderr.pipe(channel.stderr, { end: false });
  child.once("error", () => {
    channel.exit(127);
    channel.end();
  });
  child.once("close", (code, signal) => {
    if (signal === null) channel.exit(code ?? 0);
    else channel.exit(signal.replace(/^SIG/, ""), false, "");
    channel.end();
  });
  channel.once("close", () => child.kill("SIGHUP"));
}
