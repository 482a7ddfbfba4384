/**
 * Where a secret comes from. A config names the source, never the secret:
 *
 *   env:NAME        an environment variable
 *   file:PATH       a file's content without its last line break (mounted Kubernetes secrets, systemd credentials)
 *   exec:COMMAND    what `/bin/sh -c COMMAND` prints, without its last line break
 */
import { spawn } from "node:child_process";
import { open } from "node:fs/promises";
import { type Result, err, ok } from "../../wire/result.ts";

export type SecretSource =
  | { readonly kind: "env"; readonly name: string }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "exec"; readonly command: string };

const MAX_SECRET_BYTES = 64 << 10;
const EXEC_TIMEOUT = 10_000;

/** Reads `env:`, `file:` or `exec:`. The error never echoes the text: it may be a secret put there by mistake. */
export function parseSecretSource(text: string): Result<SecretSource, string> {
  const colon = text.indexOf(":");
  const rest = text.slice(colon + 1).trim();
  const kind = colon < 0 ? "" : text.slice(0, colon);
  if (kind !== "env" && kind !== "file" && kind !== "exec") {
    return err("a secret does not stand here itself: name its source as env:NAME, file:PATH or exec:COMMAND");
  }
  if (rest === "") return err(`nothing follows ${kind}:`);
  switch (kind) {
    case "env":
      return /^[A-Za-z_][A-Za-z0-9_]*$/.test(rest)
        ? ok({ kind, name: rest })
        : err("what follows env: is not the name of an environment variable");
    case "file":
      return ok({ kind, path: rest });
    case "exec":
      return ok({ kind, command: rest });
  }
}

/** Resolves a secret now. The error says which source failed and how, without any of its output. */
export async function resolveSecret(
  source: SecretSource,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Result<string, string>> {
  switch (source.kind) {
    case "env": {
      const value = environment[source.name];
      return value === undefined || value === ""
        ? err(`environment variable ${source.name} is not set`)
        : ok(value);
    }
    case "file":
      return resolveFile(source.path);
    case "exec":
      return resolveExec(source.command, environment);
  }
}

async function resolveFile(path: string): Promise<Result<string, string>> {
  try {
    const file = await open(path, "r");
    try {
      const buffer = Buffer.alloc(MAX_SECRET_BYTES + 1);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      return secretText(buffer.subarray(0, bytesRead), `file ${path}`);
    } finally {
      await file.close();
    }
  } catch (error) {
    return err(`file ${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`);
  }
}

function resolveExec(
  command: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Result<string, string>> {
  const what = `command "${command.split(/\s/)[0] ?? ""}"`;
  return new Promise((resolve) => {
    // Its own process group, so that a time-out ends what the shell started as well.
    const child = spawn("/bin/sh", ["-c", command], {
      env: { ...environment },
      stdio: ["ignore", "pipe", "ignore"],
      detached: true,
    });
    const chunks: Buffer[] = [];
    let length = 0;
    let failure: string | undefined;
    const stop = (why: string) => {
      failure ??= why;
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // It has ended meanwhile.
      }
    };
    const timer = setTimeout(() => stop(`${what} took longer than ${EXEC_TIMEOUT / 1000} s`), EXEC_TIMEOUT);
    child.stdout.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > MAX_SECRET_BYTES) stop(`${what} printed more than ${MAX_SECRET_BYTES} bytes`);
      else chunks.push(chunk);
    });
    child.once("error", (error) => {
      clearTimeout(timer);
      resolve(
        err(`${what} could not be started (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`),
      );
    });
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      if (failure !== undefined) resolve(err(failure));
      else if (code !== 0)
        resolve(err(`${what} ended with ${code === null ? `signal ${signal}` : `exit code ${code}`}`));
      else resolve(secretText(Buffer.concat(chunks), what));
    });
  });
}

function secretText(bytes: Buffer, what: string): Result<string, string> {
  if (bytes.length > MAX_SECRET_BYTES) return err(`${what} holds more than ${MAX_SECRET_BYTES} bytes`);
  const text = bytes.toString("utf8").replace(/\r?\n$/, "");
  return text === "" ? err(`${what} gave nothing`) : ok(text);
}
