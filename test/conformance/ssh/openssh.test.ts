/** The real ssh, scp, sftp, rsync and git through the gateway to the real sshd. */
import { randomBytes, randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../../../scripts/lib/ports.ts";
import { sharedStack } from "../../support/stack.ts";
import { SshUser, sha256 } from "./client.ts";

const stack = sharedStack();
const LONG = process.env["SALLY_LONG_TESTS"] !== undefined;
let dba: SshUser;
let directory: string;

const has = (program: string): boolean => spawnSync(program, ["--version"]).error === undefined;

beforeAll(async () => {
  dba = await SshUser.of(stack, "reviewer-a");
  directory = await mkdtemp(join(tmpdir(), "sally-ssh-files-"));
});

afterAll(async () => {
  await dba.dispose();
  await rm(directory, { recursive: true, force: true });
});

describe("ssh with a command", () => {
  it.each([0, 1, 2, 3, 42, 125, 126, 127, 254, 255])("passes exit code %i through", async (code) => {
    expect((await dba.exec(`exit ${code}`)).code).toBe(code);
  });

  it.each(["KILL", "TERM", "SEGV", "HUP"])("ends with 255 when the command dies of %s", async (signal) => {
    expect((await dba.exec(`kill -${signal} $$; sleep 5`)).code).toBe(255);
  });

  it("keeps standard output and standard error apart and in order", async () => {
    const ran = await dba.exec("echo out; echo err >&2; echo out2; echo err2 >&2; exit 9");
    expect([ran.code, ran.text, ran.stderr]).toEqual([9, "out\nout2\n", "err\nerr2\n"]);
  });

  it("passes the environment that is allowed, and nothing else", async () => {
    const ran = await dba.run("ssh", [
      "-o",
      "SendEnv=LC_TEST",
      "-o",
      "SetEnv=LC_PAPER=de_DE PATH=/tmp LD_PRELOAD=/tmp/x.so",
      "web-1",
      "echo $LC_PAPER; echo $LD_PRELOAD; echo $PATH",
    ]);
    const [paper, preload, path] = ran.text.split("\n");
    expect([paper, preload]).toEqual(["de_DE", ""]);
    expect(path).not.toBe("/tmp");
  });

  it("passes every byte and every odd command line", async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
    expect(new Uint8Array((await dba.exec("cat", { input: bytes })).stdout)).toEqual(bytes);
    expect((await dba.exec("printf '%s' \"a  b\" 'c\\n' $'d'")).text).toContain("a  bc\\n");
  });

  it("ends the input where the client ends it", async () => {
    expect((await dba.exec("cat; echo end", { input: "x\n" })).text).toBe("x\nend\n");
  });

  it("carries 200 MB each way with equal hashes", async () => {
    const bytes = randomBytes(200_000_000);
    const file = join(directory, "big");
    await writeFile(file, bytes);
    const up = await dba.exec("sha256sum", { input: bytes, timeout: 120_000 });
    expect(up.text.split(" ")[0]).toBe(sha256(bytes));
    const down = await dba.exec(`cat ${file}`, { timeout: 120_000 });
    expect(sha256(down.stdout)).toBe(sha256(bytes));
    await rm(file);
  }, 300_000);

  it("exchanges keys anew every MiB", async () => {
    const bytes = randomBytes(16 << 20);
    const ran = await dba.run("ssh", ["-v", "-o", "RekeyLimit=1M", "web-1", "sha256sum"], {
      input: bytes,
      timeout: 120_000,
    });
    expect(ran.text.split(" ")[0]).toBe(sha256(bytes));
    expect(ran.stderr.match(/rekeying out/g)?.length ?? 0).toBeGreaterThan(8);
  }, 180_000);

  it("is followed by the next one over a master, a hundred times and more", async () => {
    const master = dba.start("ssh", ["-F", dba.configFile, "-M", "-N", "web-1"]);
    await until(async () => (await dba.run("ssh", ["-O", "check", "web-1"])).code === 0);
    const times = LONG ? 1_000 : 100;
    for (let i = 0; i < times; i++) {
      const { code, text } = await dba.exec(`exit ${i % 100}`);
      expect(code, text).toBe(i % 100);
    }
    await dba.run("ssh", ["-O", "exit", "web-1"]);
    master.kill();
  }, 600_000);

  it("runs beside others over a master, each with its own exit code and output", async () => {
    const control = join(directory, "concurrent");
    const options = ["-S", control];
    const master = dba.start("ssh", ["-F", dba.configFile, ...options, "-M", "-N", "web-1"]);
    await until(async () => (await dba.run("ssh", [...options, "-O", "check", "web-1"])).code === 0);
    const times = LONG ? 1_000 : 60;
    for (let i = 0; i < times; i += 5) {
      const numbers = Array.from({ length: 5 }, (_, offset) => i + offset);
      const ran = await Promise.all(
        numbers.map((n) =>
          dba.run("ssh", [
            ...options,
            "web-1",
            n % 2 === 0 ? `exit ${n % 100}` : `echo ${n}; exit ${n % 100}`,
          ]),
        ),
      );
      const expected = numbers.map((n) => [n % 100, n % 2 === 0 ? "" : `${n}\n`]);
      expect(
        ran.map(({ code, text }) => [code, text]),
        ran.map(({ stderr }) => stderr).join(""),
      ).toEqual(expected);
    }
    await dba.run("ssh", [...options, "-O", "exit", "web-1"]);
    master.kill();
  }, 900_000);

  it("runs in 50 sessions at once", async () => {
    const ran = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        dba.run("ssh", ["-S", "none", "web-1", `echo ${index}`], { timeout: 120_000 }),
      ),
    );
    expect(ran.map(({ text }) => text.trim())).toEqual(
      Array.from({ length: 50 }, (_, index) => String(index)),
    );
  }, 240_000);
});

describe("ssh with a terminal", () => {
  it("has the size, follows changes of it, and passes Ctrl-C", async () => {
    const remote =
      "stty size; trap 'stty size' WINCH; trap 'echo interrupted; exit 7' INT; echo ready; while :; do sleep 0.1; done";
    // `script` gives ssh a terminal of its own to follow, and passes on what is written to it.
    const local = `stty cols 100 rows 30; (sleep 3; stty cols 120 rows 40 < /dev/tty) & exec ssh -F ${dba.configFile} -S none -tt web-1 "${remote}"`;
    const child = dba.start("script", ["-qec", local, "/dev/null"]);
    let shown = "";
    child.stdout?.on("data", (chunk: Buffer) => (shown += chunk.toString()));
    const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
    await until(() => Promise.resolve(shown.includes("30 100") && shown.includes("ready")));
    await until(() => Promise.resolve(shown.includes("40 120")));
    child.stdin?.write("\u0003");
    expect(await closed).toBe(7);
    expect(shown).toContain("interrupted");
  }, 60_000);

  it("is a login shell", async () => {
    const ran = await dba.run("ssh", ["-tt", "web-1"], { input: "echo shell-$((40+2)); exit 3\n" });
    expect(ran.text).toContain("shell-42");
    expect(ran.code).toBe(3);
  });
});

describe("file transfer", () => {
  it.each([
    ["sftp", []],
    ["the old protocol", ["-O"]],
  ])("scp by %s keeps content and modes", async (_, options) => {
    const bytes = randomBytes(3_000_000);
    const [local, remote, back] = ["local", "remote", "back"].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    await writeFile(local, bytes, { mode: 0o640 });
    const up = await dba.run("scp", ["-p", ...options, local, `web-1:${remote}`]);
    expect([up.code, up.stderr]).toEqual([0, ""]);
    expect((await dba.run("scp", [...options, `web-1:${remote}`, back])).code).toBe(0);
    expect(sha256(await readFile(back))).toBe(sha256(bytes));
    for (const file of [local, remote, back]) await rm(file);
  });

  it("sftp does all that a batch asks, through links", async () => {
    const root = join(directory, `sftp-${randomUUID()}`);
    await mkdir(join(root, "real"), { recursive: true });
    await symlink(join(root, "real"), join(root, "link"));
    await writeFile(join(directory, "source"), "content\n");
    const batch = [
      `cd ${root}/link`,
      "pwd",
      `put ${directory}/source a`,
      "mkdir d",
      "rename a d/b",
      "ln -s b d/s",
      "ln d/b d/h",
      "chmod 600 d/b",
      "ls -la d",
      "df",
      `get d/s ${directory}/got`,
      "!true",
      "rm d/s",
      "rm d/h",
      "rm d/b",
      "rmdir d",
      "-rm missing",
      "bye",
    ];
    const ran = await dba.run("sftp", ["-b", "-", "web-1"], { input: `${batch.join("\n")}\n` });
    expect(ran.code, ran.stderr).toBe(0);
    expect(ran.text).toContain(`${root}/real`);
    expect(await readFile(join(directory, "got"), "utf8")).toBe("content\n");
    expect(await readdir(join(root, "real"))).toEqual([]);
  });

  it.runIf(has("rsync"))(
    "rsync brings 5,000 small files over, and finds nothing to do after that",
    async () => {
      const source = join(directory, `rsync-source-${randomUUID()}`);
      const target = join(directory, `rsync-target-${randomUUID()}`);
      await mkdir(source);
      await Promise.all(
        Array.from({ length: 5_000 }, (_, index) => writeFile(join(source, `f${index}`), `${index}\n`)),
      );
      const args = ["-a", "--stats", "-e", `ssh -F ${dba.configFile}`, `${source}/`, `web-1:${target}/`];
      const first = await dba.any("rsync", args, { timeout: 120_000 });
      expect(first.code, first.stderr).toBe(0);
      expect((await readdir(target)).length).toBe(5_000);
      const second = await dba.any("rsync", args, { timeout: 120_000 });
      expect(second.text).toMatch(/files transferred: 0/);
    },
    300_000,
  );

  it("git clones and pushes", async () => {
    const root = await mkdtemp(join(directory, "git-"));
    const git = (
      args: readonly string[],
      cwd = root,
    ): Promise<{ code: number; text: string; stderr: string }> =>
      dba.any("git", ["-c", "user.name=T", "-c", "user.email=t@example.com", ...args], {
        cwd,
        env: { GIT_SSH_COMMAND: `ssh -F ${dba.configFile}` },
      });
    await git(["init", "-q", "--bare", "-b", "main", "it's a repository.git"]);
    expect((await git(["clone", "-q", `web-1:${root}/it's a repository.git`, "clone"])).code).toBe(0);
    await writeFile(join(root, "clone", "file"), "x");
    await git(["add", "."], join(root, "clone"));
    await git(["commit", "-q", "-m", "first"], join(root, "clone"));
    const pushed = await git(["push", "-q", "origin", "HEAD:main"], join(root, "clone"));
    expect(pushed.code, pushed.stderr).toBe(0);
    expect((await git(["log", "--oneline", "main"], join(root, "it's a repository.git"))).text).toContain(
      "first",
    );
  });
});

describe("forwards", () => {
  it("reach an HTTP server behind the server, many requests at once", async () => {
    const body = randomBytes(500_000);
    const server = createServer((_, response) => response.end(body));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
    const { port } = server.address() as AddressInfo;
    const local = await freePort();
    const forward = dba.start("ssh", [
      "-F",
      dba.configFile,
      "-S",
      "none",
      "-N",
      "-o",
      "ExitOnForwardFailure=yes",
      "-L",
      `127.0.0.1:${local}:127.0.0.1:${port}`,
      "web-1",
    ]);
    try {
      await until(async () => (await fetch(`http://127.0.0.1:${local}/`)).ok);
      const answers = await Promise.all(
        Array.from({ length: 20 }, async () =>
          sha256(new Uint8Array(await (await fetch(`http://127.0.0.1:${local}/`)).arrayBuffer())),
        ),
      );
      expect(new Set(answers)).toEqual(new Set([sha256(body)]));
    } finally {
      forward.kill();
      server.closeAllConnections();
      server.close();
    }
  });

  it("-D carries what an editor fetches, beside the long script that it feeds to a shell", async () => {
    const server = createServer((request, response) => response.end(`hello ${request.url}`));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
    const { port } = server.address() as AddressInfo;
    const proxy = await freePort();
    const child = dba.start("ssh", [
      ...["-F", dba.configFile, "-S", "none", "-T", "-o", "ExitOnForwardFailure=yes"],
      ...["-D", `127.0.0.1:${proxy}`, "web-1", "bash"],
    ]);
    let out = "";
    child.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
    const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
    try {
      const lines = Array.from({ length: 3_000 }, (_, index) => `value_${index}='${"x".repeat(60)}'`);
      child.stdin?.write(`${lines.join("\n")}\necho "listening on=\${#value_2999}="\n`);
      await until(() => Promise.resolve(out.includes("listening on=60=")));
      const answers = await Promise.all(
        Array.from({ length: 5 }, (_, index) => throughSocks(proxy, port, `/${index}`)),
      );
      for (const [index, answer] of answers.entries()) expect(answer).toContain(`hello /${index}`);
      child.stdin?.end("exit 9\n");
      expect(await closed).toBe(9);
    } finally {
      child.kill();
      server.closeAllConnections();
      server.close();
    }
  }, 60_000);

  it("-W joins standard input and output to a port", async () => {
    const server = createServer((_, response) => response.end("hello"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
    const { port } = server.address() as AddressInfo;
    const ran = await dba.run("ssh", ["-W", `127.0.0.1:${port}`, "web-1"], {
      input: "GET / HTTP/1.0\r\n\r\n",
    });
    server.close();
    expect(ran.text).toContain("hello");
  });

  it("to where nothing listens fail, and the connection goes on", async () => {
    const nowhere = await freePort();
    const ran = await dba.run("ssh", ["-W", `127.0.0.1:${nowhere}`, "web-1"], { input: "x" });
    expect(ran.code).not.toBe(0);
    expect(ran.stderr).toContain("could not connect");
  });
});

/** An HTTP request through a SOCKS proxy (RFC 1928), without authentication. */
function throughSocks(proxy: number, port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: proxy, host: "127.0.0.1" });
    let answer = Buffer.alloc(0);
    let asked = 0;
    socket.once("error", reject);
    socket.once("connect", () => socket.write(Uint8Array.of(5, 1, 0)));
    socket.on("data", (data: Buffer) => {
      answer = Buffer.concat([answer, data]);
      if (asked === 0 && answer.length >= 2) {
        asked = 1;
        socket.write(Uint8Array.of(5, 1, 0, 1, 127, 0, 0, 1, port >> 8, port & 255));
      } else if (asked === 1 && answer.length >= 12) {
        asked = 2;
        socket.write(`GET ${path} HTTP/1.0\r\n\r\n`);
      }
    });
    socket.once("close", () => resolve(answer.toString("latin1")));
  });
}

async function until(done: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    if (await done().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("it did not come about");
}
