/** Running `sally` in tests: in this process for what needs no child, as the real command for what does. */
import { execFile, spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { sally } from "../../../connectors/cli/sally.ts";

export type Ran = { readonly code: number; readonly out: string; readonly err: string };

export const LAUNCHER = fileURLToPath(new URL("../../../bin/sally", import.meta.url));

const CACHE = join(tmpdir(), "sally-test-cache");

/** One command line in this process. */
export async function run(
  words: readonly string[],
  environment: Record<string, string | undefined> = {},
): Promise<Ran> {
  let out = "";
  let err = "";
  const terminal = { out: (text: string) => void (out += text), err: (text: string) => void (err += text) };
  const code = await sally(words, { HOME: "/nonexistent", ...environment }, terminal, "0.0.0-test");
  return { code, out, err };
}

/** Starts the real command; `input` goes to its stdin, which is then closed. */
export function start(
  words: readonly string[],
  environment: Record<string, string | undefined> = {},
  input?: string | Buffer,
) {
  const child = spawn(LAUNCHER, words, {
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", XDG_CACHE_HOME: CACHE, ...environment },
  });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  child.stdin.on("error", () => undefined);
  child.stdin.end(input ?? "");
  const done = new Promise<Ran>((resolve) => {
    child.once("close", (code, signal) => resolve({ code: code ?? (signal === null ? -1 : 128), out, err }));
  });
  return { child, done, seen: () => ({ out, err }) };
}

export async function until(what: () => boolean, patience = 10_000): Promise<void> {
  const end = Date.now() + patience;
  while (!what()) {
    if (Date.now() > end) throw new Error("it did not happen in time");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Runs a program; rejects with its stderr in the message when it fails. */
export async function execute(
  program: string,
  words: readonly string[],
  environment: Record<string, string | undefined> = {},
): Promise<string> {
  const { stdout } = await promisify(execFile)(program, [...words], {
    env: { PATH: process.env["PATH"], ...environment },
  });
  return stdout;
}
