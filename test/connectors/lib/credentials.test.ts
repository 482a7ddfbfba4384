import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseSecretSource, resolveSecret } from "../../../connectors/lib/credentials.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "secrets-"));
});
afterAll(() => rm(directory, { recursive: true }));

async function resolve(
  text: string,
  environment: Record<string, string> = { PATH: process.env["PATH"] ?? "" },
) {
  const source = parseSecretSource(text);
  if (!source.ok) throw new Error(source.error);
  return resolveSecret(source.value, environment);
}

describe("secrets", () => {
  it("come from the environment", async () => {
    expect(await resolve("env:A_SECRET", { A_SECRET: "s3cret" })).toEqual({ ok: true, value: "s3cret" });
    expect(await resolve("env:A_SECRET", {})).toEqual({
      ok: false,
      error: "environment variable A_SECRET is not set",
    });
    expect(await resolve("env:A_SECRET", { A_SECRET: "" })).toEqual({
      ok: false,
      error: "environment variable A_SECRET is not set",
    });
  });

  it("come from a file, without its last line break and with all others", async () => {
    const path = join(directory, "secret");
    await writeFile(path, " two\nlines \n");
    expect(await resolve(`file:${path}`)).toEqual({ ok: true, value: " two\nlines " });
    await writeFile(path, "\n");
    expect(await resolve(`file:${path}`)).toEqual({ ok: false, error: `file ${path} gave nothing` });
    await writeFile(path, "x".repeat(70_000));
    expect(await resolve(`file:${path}`)).toEqual({
      ok: false,
      error: `file ${path} holds more than 65536 bytes`,
    });
    expect(await resolve(`file:${directory}/absent`)).toEqual({
      ok: false,
      error: `file ${directory}/absent cannot be read (ENOENT)`,
    });
    expect(await resolve(`file:${directory}`)).toEqual({
      ok: false,
      error: `file ${directory} cannot be read (EISDIR)`,
    });
  });

  it("come from a command", async () => {
    expect(await resolve("exec:printf 'a b\\n'")).toEqual({ ok: true, value: "a b" });
    expect(await resolve("exec:echo $FROM_US", { FROM_US: "us", PATH: process.env["PATH"] ?? "" })).toEqual({
      ok: true,
      value: "us",
    });
    const script = join(directory, "script");
    await writeFile(script, "#!/bin/sh\necho leaked-secret >&2\necho leaked-secret\nexit 3\n");
    await chmod(script, 0o755);
    expect(await resolve(`exec:${script} --secret hunter2`)).toEqual({
      ok: false,
      error: `command "${script}" ended with exit code 3`,
    });
    expect(await resolve("exec:true")).toEqual({ ok: false, error: 'command "true" gave nothing' });
    expect(await resolve("exec:yes")).toEqual({
      ok: false,
      error: 'command "yes" printed more than 65536 bytes',
    });
    expect(await resolve("exec:kill -9 $$")).toEqual({
      ok: false,
      error: 'command "kill" ended with signal SIGKILL',
    });
  });

  it("never stand in the config themselves, and what stands there is not repeated", () => {
    for (const text of [
      "hunter2",
      "hunter2:x",
      "ENV:A",
      "",
      ":",
      "plain:hunter2",
      "env:",
      "env:hunter2 x",
      "env:1A",
      "file: ",
      "exec:",
    ]) {
      const source = parseSecretSource(text);
      expect(source).toEqual({ ok: false, error: expect.not.stringContaining("hunter2") });
    }
  });
});
