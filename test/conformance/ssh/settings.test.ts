/** What settings change (detectors, login names, policies while a session runs), so a system of its own. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, type Socket, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ssh2 from "ssh2";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";
import { makeKey } from "../../../scripts/lib/ssh-keys.ts";
import { freePort } from "../../../scripts/lib/ports.ts";
import { startSshServer } from "../../../scripts/lib/ssh-server.ts";
import { SshUser, recordedSession, sha256 } from "./client.ts";

const CARD = "4111111111111111";
const STARS = "*".repeat(16);

/** A server at which clients choose among login names. */
const NAMED = "web-named";

/** What the demo has where no sshd is installed. */
const WITHOUT_SSHD = "web-without-sshd";

let fallback: Awaited<ReturnType<typeof startSshServer>>;
let naming: Awaited<ReturnType<typeof startNamingServer>>;
let stack: PrivateStack;
let engineer: SshUser;
let dba: SshUser;
let directory: string;

/** Commands of any kind for engineers, so that only detectors stand between them and the output. */
const MORE = `
@id("test-engineers-run-anything")
permit (principal in Group::"engineers", action in [Action::"ssh:exec", Action::"ssh:shell"], resource);
@id("test-backup-only-looks")
forbid (principal, action == Action::"ssh:exec", resource) when { context.login == "backup" && context.command != "whoami" };
`;

async function configuration(
  settings: string,
  values: { readonly issuer: string },
  policy = "",
): Promise<Record<string, string>> {
  const files = await testConfiguration(values);
  const held = /@id\("engineers-change-with-approval"\)[\s\S]*?;\n/;
  return {
    ...files,
    "sallyport.yaml": (files["sallyport.yaml"] ?? "").replace(
      "  web-1:\n",
      `  ${NAMED}:\n    protocol: ssh\n    connector: demo\n    logins: [deploy, backup, operator]\n  ${WITHOUT_SSHD}:\n    protocol: ssh\n    connector: demo\n  web-1:\n${settings}`,
    ),
    "policies.cedar": `${(files["policies.cedar"] ?? "").replace(held, "")}${MORE}${policy}`,
  };
}

async function apply(settings: string, policy = ""): Promise<void> {
  const files = await configuration(settings, { issuer: stack.issuer }, policy);
  const folder = await mkdtemp(join(directory, "config-"));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const applied = await stack.sally("reviewer-a", ["apply", "-f", folder]);
  expect(applied.code, applied.stderr).toBe(0);
}

/** A server that lets in whoever has a key, and answers every command with the name that it was logged in with. */
async function startNamingServer(): Promise<{ port: number; hostKey: string; stop: () => void }> {
  const hostKey = await makeKey(join(directory, "naming_host_key"));
  const key = await readFile(join(directory, "naming_host_key"), "utf8");
  const server = new ssh2.Server({ hostKeys: [key] }, (connection) => {
    let name = "";
    connection.on("error", () => undefined);
    connection.on("authentication", (context) => {
      name = context.username;
      if (context.method === "publickey") context.accept();
      else context.reject(["publickey"]);
    });
    connection.on("session", (accept) => {
      accept().on("exec", (acceptExec) => {
        const stream = acceptExec();
        stream.write(`${name}\n`);
        stream.exit(0);
        stream.end();
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  return { port: (server.address() as AddressInfo).port, hostKey, stop: () => server.close() };
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sally-ssh-output-"));
  naming = await startNamingServer();
  await makeKey(join(directory, "client_key"));
  fallback = await startSshServer({ directory: join(directory, "fallback") });
  stack = await startPrivateStack({
    configuration: (values) => configuration("    detectors: mask\n", values),
    resources: () => ({
      [NAMED]: {
        protocol: "ssh",
        address: `127.0.0.1:${naming.port}`,
        user: "deploy",
        users: ["backup"],
        hostKey: naming.hostKey,
        key: `file:${join(directory, "client_key")}`,
      },
      [WITHOUT_SSHD]: {
        protocol: "ssh",
        address: `127.0.0.1:${fallback.port}`,
        user: fallback.user,
        hostKey: fallback.hostKey,
        key: `file:${fallback.keyFile}`,
      },
    }),
  });
  await stack.system.waitUntilOnline("web-1");
  [engineer, dba] = await Promise.all([SshUser.of(stack, "engineer"), SshUser.of(stack, "reviewer-a")]);
});

afterAll(async () => {
  for (const user of [engineer, dba]) await user?.dispose();
  await stack?.stop();
  naming?.stop();
  await fallback?.stop();
  await rm(directory, { recursive: true, force: true });
});

describe("detectors that mask", () => {
  it("overwrite a card number on standard output and standard error, and the recording has it so", async () => {
    const marker = `marker-${Date.now()}`;
    const ran = await engineer.exec(`echo out ${CARD} ${marker}; echo err ${CARD} >&2; exit 3`);
    expect([ran.code, ran.text, ran.stderr]).toEqual([3, `out ${STARS} ${marker}\n`, `err ${STARS}\n`]);
    const { bodies } = await recordedSession(stack, "reviewer-a", marker, (all) =>
      all.some(({ type }) => type === "channel"),
    );
    const output = bodies.filter(({ type }) => type === "output").map(({ text }) => String(text));
    expect(output.join("")).not.toContain(CARD);
    expect(output.join("")).toContain(STARS);
    expect(bodies.filter(({ type }) => type === "detected")).toEqual(
      [0, 1].map((stream) => expect.objectContaining({ stream, kinds: ["card"], action: "mask" }) as unknown),
    );
  });

  it("overwrite it when it comes in two pieces, and what is incomplete is not kept back for long", async () => {
    // Printed without line end, and the second half soon after it.
    const ran = await engineer.exec(
      `printf 'n 41111111'; printf '11111111 '; printf 'half 4111 '; sleep 1; echo end`,
    );
    // On a machine that is busy enough the second piece comes too late, and only it is overwritten.
    expect(ran.text).toMatch(/^n (\*{16}|41111111\*{8}) half 4111 end\n$/);
  });

  it("leave a terminal as quick as it was, and look at it as well", async () => {
    const child = engineer.start("ssh", ["-F", engineer.configFile, "-tt", "web-1", "cat"]);
    let shown = "";
    child.stdout?.on("data", (chunk: Buffer) => (shown += chunk.toString()));
    const echoed = async (text: string, expected: string): Promise<number> => {
      const started = performance.now();
      child.stdin?.write(text);
      await expect.poll(() => shown, { timeout: 20_000, interval: 1 }).toContain(expected);
      return performance.now() - started;
    };
    await echoed("ready\n", "ready\r\nready\r\n");
    for (const [index, letter] of [..."abcdefgh"].entries())
      await echoed(letter, "abcdefgh".slice(0, index + 1));
    await echoed(`\n${CARD}\n`, `${STARS}\r\n`);
    expect(shown).not.toContain(CARD);
    child.stdin?.end("\u0004");
    await new Promise((resolve) => child.once("close", resolve));
  });

  it("leave binary data and file transfers as they are", async () => {
    const bytes = Buffer.concat([
      Buffer.from([0x1f, 0x8b, 0, 1, 0xff, 0xfe, 2, 0x90, 0x91]),
      Buffer.from("a@b.io"),
      Buffer.from([0xc1, 3, 4, 0xf8, 0x81, 5, 6, 0xff, 0x80]),
    ]);
    const file = join(directory, "binary");
    await writeFile(file, bytes);
    expect(sha256((await engineer.exec(`cat ${file}`)).stdout)).toBe(sha256(bytes));
    const cards = join(directory, "cards");
    await writeFile(cards, `card ${CARD}\n`);
    const copy = join(directory, "copy");
    expect((await dba.run("scp", ["-O", `web-1:${cards}`, copy])).code).toBe(0);
  });

  it("show it to whom may reveal", async () => {
    expect((await dba.exec(`echo ${CARD}`)).text).toBe(`${CARD}\n`);
  });

  it("keep up with a long output, whatever its pieces", async () => {
    const lines = 200_000;
    const ran = await engineer.exec(`seq 1 ${lines} | sed 's/^/line /'; echo ${CARD}; seq 1 10`, {
      timeout: 120_000,
    });
    const expected = `${Array.from({ length: lines }, (_, index) => `line ${index + 1}\n`).join("")}${STARS}\n${Array.from({ length: 10 }, (_, index) => `${index + 1}\n`).join("")}`;
    expect(ran.stdout.equals(Buffer.from(expected))).toBe(true);
  });
});

describe("detectors that block", () => {
  it("end the command before it has shown anything of it, with the reason", async () => {
    await apply("    detectors: block\n");
    await expect
      .poll(
        async () => (await engineer.exec(`echo before; sleep 0.2; echo ${CARD}; echo after; exit 0`)).stderr,
        {
          timeout: 20_000,
        },
      )
      .toContain("must not leave web-1: card");
    const ran = await engineer.exec(`echo before; sleep 0.2; echo ${CARD}; echo after; exit 0`);
    expect([ran.code, ran.text]).toEqual([255, "before\n"]);
  });
});

describe("login names", () => {
  const as = (name: string, command: string): ReturnType<SshUser["run"]> =>
    engineer.run("ssh", [`${name}@${NAMED}`, command]);

  it("are the client's choice among those that the configuration lists, the first where it chooses none", async () => {
    await stack.system.waitUntilOnline(NAMED);
    expect((await as("deploy", "whoami")).text).toBe("deploy\n");
    expect((await as("backup", "whoami")).text).toBe("backup\n");
    expect((await as("somebody", "whoami")).text).toBe("deploy\n");
    expect((await engineer.run("ssh", [NAMED, "whoami"])).text).toBe("deploy\n");
  });

  it("are what policies see", async () => {
    expect((await as("deploy", "id")).code).toBe(0);
    const marker = `marker-${Date.now()}`;
    const denied = await as("backup", `id ${marker}`);
    expect([denied.code, denied.text]).toEqual([126, ""]);
    const { bodies } = await recordedSession(stack, "reviewer-a", marker, (all) =>
      all.some(({ type }) => type === "refusal"),
    );
    expect(bodies.find(({ type }) => type === "refusal")).toMatchObject({
      facts: [{ login: "backup", command: `id ${marker}` }],
    });
  });

  it("that the connector's own configuration does not list are refused by it", async () => {
    const ran = await as("operator", "whoami");
    expect([ran.code, ran.text]).toEqual([255, ""]);
    expect(ran.stderr).toContain(`the connector does not log in to ${NAMED} as operator`);
  });
});

describe("a remote forward whose policy changes", () => {
  it("takes no further connections, and what is open goes on", async () => {
    const echo = createServer((socket) => socket.pipe(socket));
    await new Promise<void>((resolve) => echo.listen(0, "127.0.0.1", () => resolve()));
    const { port: local } = echo.address() as AddressInfo;
    const port = await freePort();
    const marker = `marker-${Date.now()}`;
    const child = dba.start("ssh", [
      ...["-F", dba.configFile, "-o", "ExitOnForwardFailure=yes"],
      ...["-R", `127.0.0.1:${port}:127.0.0.1:${local}`, "web-1", `echo ${marker}; cat`],
    ]);
    let said = "";
    child.stdout?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const say = async (socket: Socket, text: string): Promise<string> => {
      const answer = new Promise<string>((resolve) => {
        socket.once("data", (data: Buffer) => resolve(data.toString()));
        socket.once("close", () => resolve("closed"));
      });
      socket.write(text);
      return answer;
    };
    const sockets: Socket[] = [];
    const dial = (): Socket => {
      const socket = connect({ port, host: "127.0.0.1" });
      socket.on("error", () => undefined);
      sockets.push(socket);
      return socket;
    };
    try {
      await expect.poll(() => said, { timeout: 30_000 }).toContain(marker);
      const before = dial();
      expect(await say(before, "one")).toBe("one");
      await apply(
        "",
        `@id("test-no-ports-back")\nforbid (principal, action == Action::"ssh:remote_forward", resource);\n`,
      );
      await expect.poll(() => say(dial(), "two"), { timeout: 20_000 }).toBe("closed");
      expect(await say(before, "three")).toBe("three");
      const { bodies } = await recordedSession(stack, "reviewer-a", marker, (all) =>
        all.some(({ type }) => type === "connection_refused"),
      );
      expect(bodies.find(({ type }) => type === "connection_refused")).toMatchObject({
        code: "denied_by_policy",
      });
    } finally {
      for (const socket of sockets) socket.destroy();
      child.kill();
      echo.close();
      await apply("");
    }
  });
});

describe("the demo's own server, for machines without sshd", () => {
  const on = (...args: string[]): ReturnType<SshUser["run"]> => dba.run("ssh", args);

  it("runs commands with their exit codes, input and both outputs", async () => {
    await stack.system.waitUntilOnline(WITHOUT_SSHD);
    const ran = await on(WITHOUT_SSHD, "echo out; echo err >&2; exit 7");
    expect([ran.code, ran.text, ran.stderr]).toEqual([7, "out\n", "err\n"]);
    const input = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 256));
    const back = await dba.run("ssh", [WITHOUT_SSHD, "cat"], { input });
    expect(sha256(back.stdout)).toBe(sha256(input));
  });

  it("has a terminal", async () => {
    const ran = await on("-tt", WITHOUT_SSHD, "test -t 0 && echo on-a-terminal; exit 5");
    expect(ran.text).toContain("on-a-terminal");
    expect(ran.code).toBe(5);
  });

  it("transfers files", async () => {
    const source = join(directory, "fallback-source");
    await writeFile(source, "over the demo's server\n");
    const copy = join(directory, "fallback-copy");
    const copied = await dba.run("scp", [`${WITHOUT_SSHD}:${source}`, copy]);
    expect(copied.code, copied.stderr).toBe(0);
    expect(await readFile(copy, "utf8")).toBe("over the demo's server\n");
  });
});
