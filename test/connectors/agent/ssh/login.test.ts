/** The connector's logins, against the real sshd and, for passwords, against ssh2's server. */
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ssh2 from "ssh2";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SshConfig } from "../../../../connectors/agent/ssh/config.ts";
import type { SshClient } from "../../../../connectors/agent/ssh/client.ts";
import { type LoginFailure, logIn } from "../../../../connectors/agent/ssh/login.ts";
import { makeKey } from "../../../../scripts/lib/ssh-keys.ts";
import { type Sshd, startSshd } from "../../../../scripts/lib/sshd.ts";
import type { Result } from "../../../../wire/result.ts";
import { string } from "../../../../wire/ssh/reader.ts";

let directory: string;
let sshd: Sshd;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sally-login-"));
  sshd = await startSshd({ directory: join(directory, "sshd"), logFile: join(directory, "sshd.log") });
});

afterAll(async () => {
  await sshd.stop();
  await rm(directory, { recursive: true, force: true });
});

type Settings = Record<string, unknown>;

function config(settings: Settings): SshConfig {
  const base = { protocol: "ssh", address: `127.0.0.1:${sshd.port}`, user: sshd.user, hostKey: sshd.hostKey };
  return SshConfig.parse({ ...base, ...settings });
}

async function login(settings: Settings, user?: string): Promise<Result<SshClient, LoginFailure>> {
  const parsed = config(settings);
  return logIn(parsed, {
    user: user ?? parsed.user,
    session: "ses_test",
    signal: AbortSignal.timeout(15_000),
    onLost: () => undefined,
  });
}

/** Logs in and runs a command there. */
async function says(settings: Settings, command: string): Promise<string> {
  const client = await login(settings);
  if (!client.ok) throw new Error(`${client.error.step}: ${client.error.detail}`);
  let output = "";
  const ended = Promise.withResolvers<void>();
  const opened = await client.value.open("session", new Uint8Array(), {
    data: (_stream, bytes, taken) => {
      output += Buffer.from(bytes).toString();
      taken();
    },
    end: () => undefined,
    request: () => undefined,
    closed: () => ended.resolve(),
  });
  if (!opened.ok) throw new Error(opened.error);
  expect(await opened.value.request("exec", string(command), true)).toBe(true);
  await ended.promise;
  client.value.close();
  return output;
}

async function failure(settings: Settings, user?: string): Promise<string> {
  const client = await login(settings, user);
  if (client.ok) {
    client.value.close();
    return "logged in";
  }
  return client.error.step;
}

describe("a login", () => {
  it("with a key", async () => {
    expect(await says({ key: `file:${sshd.keyFile}` }, "echo in")).toBe("in\n");
  });

  it.each(["rsa", "ecdsa"])("with a key of type %s and one with a passphrase", async (type) => {
    const file = join(directory, `key-${type}`);
    execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "secret", "-f", file]);
    const line = await readFile(`${file}.pub`, "utf8");
    await writeFile(join(directory, "sshd/authorized_keys"), line, { flag: "a" });
    await writeFile(`${file}.pass`, "secret");
    expect(await says({ key: `file:${file}`, passphrase: `file:${file}.pass` }, "echo in")).toBe("in\n");
    expect(await failure({ key: `file:${file}` })).toBe("credential");
  });

  it("with a certificate that somebody else signed", async () => {
    const file = join(directory, "certified");
    await makeKey(file);
    execFileSync("ssh-keygen", [
      "-q",
      "-s",
      sshd.authorityFile,
      "-I",
      "test",
      "-n",
      sshd.user,
      "-V",
      "+5m",
      `${file}.pub`,
    ]);
    expect(await says({ key: `file:${file}`, certificate: `file:${file}-cert.pub` }, "echo in")).toBe("in\n");
  });

  it("with a certificate of the connector's own authority, whose id stands in the server's log", async () => {
    expect(await says({ certificateAuthority: `file:${sshd.authorityFile}` }, "echo in")).toBe("in\n");
    expect(await readFile(join(directory, "sshd.log"), "utf8")).toContain("sallyport session ses_test");
  });

  it.each(["rsa", "ecdsa"])("with an authority of type %s", async (type) => {
    const file = join(directory, `authority-${type}`);
    execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "", "-f", file]);
    await writeFile(join(directory, "sshd/trusted_authorities"), await readFile(`${file}.pub`, "utf8"), {
      flag: "a",
    });
    expect(await says({ certificateAuthority: `file:${file}` }, "echo in")).toBe("in\n");
  });

  it("by a certificate is for its login name alone", async () => {
    // A principal list such as "root,other" must not come about.
    await expect(login({ certificateAuthority: `file:${sshd.authorityFile}` }, "root,other")).rejects.toThrow(
      "login name",
    );
    expect(await failure({ certificateAuthority: `file:${sshd.authorityFile}` }, "nobody-here")).toBe(
      "login",
    );
  });

  it("through another host", async () => {
    const jump = {
      address: `127.0.0.1:${sshd.port}`,
      user: sshd.user,
      hostKey: sshd.hostKey,
      key: `file:${sshd.keyFile}`,
    };
    expect(await says({ key: `file:${sshd.keyFile}`, jump }, "echo $SSH_CONNECTION")).toContain("127.0.0.1");
    const wrong = { ...jump, hostKey: `SHA256:${"A".repeat(43)}` };
    expect(await failure({ key: `file:${sshd.keyFile}`, jump: wrong })).toBe("host_key");
  });

  it.each(["AAAA", "nobody"])("that the server refuses is a failed login (%s)", async (name) => {
    const file = join(directory, `stranger-${name}`);
    await makeKey(file);
    expect(await failure({ key: `file:${file}` })).toBe("login");
  });

  it("to where nobody listens, or nobody speaks SSH, fails at the right step", async () => {
    expect(await failure({ address: "127.0.0.1:1", key: `file:${sshd.keyFile}` })).toBe("network");
  });
});

describe("the host's key", () => {
  it("is compared with the pinned one, by key, by list and by fingerprint", async () => {
    const key = `file:${sshd.keyFile}`;
    const fingerprint =
      execFileSync("ssh-keygen", ["-lf", join(directory, "sshd/host_key.pub")])
        .toString()
        .split(" ")[1] ?? "";
    const other = await makeKey(join(directory, "other-host"));
    expect(await failure({ key, hostKey: [other, sshd.hostKey] })).toBe("logged in");
    expect(await failure({ key, hostKey: fingerprint })).toBe("logged in");
    expect(await failure({ key, hostKey: other })).toBe("host_key");
    expect(await failure({ key, hostKey: `SHA256:${"A".repeat(43)}` })).toBe("host_key");
  });

  it("is remembered from the first time where that is asked for, and insisted on", async () => {
    const key = `file:${sshd.keyFile}`;
    const file = join(directory, "first");
    const first = { key, hostKey: undefined, trustFirstHostKey: file };
    expect(await failure(first)).toBe("logged in");
    expect((await readFile(file, "utf8")).trim()).toBe(sshd.hostKey);
    expect(await failure(first)).toBe("logged in");
    await writeFile(file, `${await makeKey(join(directory, "other-host"))}\n`);
    expect(await failure(first)).toBe("host_key");
    await writeFile(file, "");
    expect(await failure(first)).toBe("host_key");
  });
});

describe("a password", () => {
  /** A server that takes a password by one of two methods. */
  async function server(
    method: "password" | "keyboard-interactive",
    prompts: { prompt: string; echo: boolean }[],
  ): Promise<{ port: number; hostKey: string; close: () => void }> {
    const file = join(directory, `password-host-${method}-${prompts.length}-${String(prompts[0]?.echo)}`);
    const hostKey = await makeKey(file);
    const listening = new ssh2.Server({ hostKeys: [await readFile(file, "utf8")] }, (connection) => {
      connection.on("error", () => undefined);
      connection.on("authentication", (context) => {
        if (context.method === "password" && method === "password" && context.password === "right")
          context.accept();
        else if (context.method === "keyboard-interactive" && method === "keyboard-interactive") {
          context.prompt(prompts, (answers) =>
            answers[0] === "right" ? context.accept() : context.reject(),
          );
        } else context.reject([method]);
      });
    });
    await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", () => resolve()));
    return { port: (listening.address() as AddressInfo).port, hostKey, close: () => void listening.close() };
  }

  const secret = async (text: string): Promise<string> => {
    const file = join(directory, `password-${text}`);
    await writeFile(file, text);
    return `file:${file}`;
  };

  it.each(["password", "keyboard-interactive"] as const)(
    "logs in by %s, and only the right one",
    async (method) => {
      const { port, hostKey, close } = await server(method, [{ prompt: "Password: ", echo: false }]);
      const at = { address: `127.0.0.1:${port}`, hostKey };
      expect(await failure({ ...at, password: await secret("right") })).toBe("logged in");
      expect(await failure({ ...at, password: await secret("wrong") })).toBe("login");
      close();
    },
  );

  it("is not given to a prompt that shows it, or to two prompts", async () => {
    for (const prompts of [
      [{ prompt: "Name: ", echo: true }],
      [
        { prompt: "a", echo: false },
        { prompt: "b", echo: false },
      ],
    ]) {
      const { port, hostKey, close } = await server("keyboard-interactive", prompts);
      expect(await failure({ address: `127.0.0.1:${port}`, hostKey, password: await secret("right") })).toBe(
        "login",
      );
      close();
    }
  });
});

describe("the config", () => {
  it.each<[string, Settings]>([
    ["no host key", { key: "env:K", hostKey: undefined }],
    ["host key and first use", { key: "env:K", trustFirstHostKey: "f" }],
    ["no credential", {}],
    ["two credentials", { key: "env:K", password: "env:P" }],
    ["a secret itself", { password: "hunter2" }],
    ["a certificate without its key", { certificate: "file:c", certificateAuthority: "file:a" }],
    ["a login name with a separator", { key: "env:K", user: "root,admin" }],
    ["a login name with a space", { key: "env:K", user: "root admin" }],
    ["other names that are none", { key: "env:K", users: ["ok", "a\nb"] }],
    ["an address without a host", { key: "env:K", address: ":22" }],
    ["a host key that is none", { key: "env:K", hostKey: "ssh-dss AAAA" }],
    ["an unknown setting", { key: "env:K", strict: false }],
    ["a jump host without a host key", { key: "env:K", jump: { address: "j", user: "u", key: "env:K" } }],
  ])("with %s is refused", (_, settings) => {
    const base = { protocol: "ssh", address: "h", user: "u", hostKey: "ssh-ed25519 AAAA" };
    expect(SshConfig.safeParse({ ...base, ...settings }).success).toBe(false);
  });
});
