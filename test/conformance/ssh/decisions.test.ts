/** What people meet when policy holds or denies: the demo's configuration, the real ssh and sftp. */
import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningSally, sharedStack } from "../../support/stack.ts";
import { type RecordedBody, SshUser, recordedSession } from "./client.ts";

const stack = sharedStack();
let engineer: SshUser;
let agent: SshUser;
let dba: SshUser;
let directory: string;

beforeAll(async () => {
  [engineer, agent, dba] = await Promise.all([
    SshUser.of(stack, "engineer"),
    SshUser.of(stack, "agent"),
    SshUser.of(stack, "reviewer-a"),
  ]);
  directory = await mkdtemp(join(tmpdir(), "sally-ssh-decisions-"));
});

afterAll(async () => {
  for (const user of [engineer, agent, dba]) await user.dispose();
  await rm(directory, { recursive: true, force: true });
});

/** A path that no attempt before this one has used. */
const fresh = (name: string): string => join(directory, `${name}-${randomUUID()}`);

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** The program's channel is over: everything of it is recorded. */
const ended = (bodies: readonly RecordedBody[]): boolean => bodies.some(({ type }) => type === "channel");

/** Starts a command that is held and gives the approval's id. */
async function held(command: string): Promise<{ running: RunningSally; approval: string }> {
  const running = stack.startSally("engineer", ["ssh", "web-1", "--", command]);
  const [, approval = ""] = await running.waitFor("stderr", /\(approval (apr_[a-z0-9]+)\)/);
  return { running, approval };
}

const decide = (
  verdict: "approve" | "deny",
  approval: string,
  ...more: string[]
): Promise<{ code: number; stderr: string }> =>
  stack.sally("reviewer-a", ["approvals", verdict, approval, ...more]);

async function statusOf(approval: string): Promise<unknown> {
  const shown = await stack.sally("reviewer-a", ["approvals", "show", approval, "--json"]);
  return (JSON.parse(shown.stdout) as { status: unknown }).status;
}

describe("a command", () => {
  it("that is allowed just runs", async () => {
    const ran = await engineer.exec("echo 'a  b' c");
    expect([ran.code, ran.text, ran.stderr]).toEqual([0, "a  b c\n", ""]);
  });

  it("that is held waits, says so, and runs when it is approved", async () => {
    const file = fresh("approved");
    const { running, approval } = await held(`touch ${file}; echo done; exit 5`);
    expect(await exists(file)).toBe(false);
    expect((await decide("approve", approval)).code).toBe(0);
    const ran = await running.result;
    expect([ran.code, ran.stdout]).toEqual([5, "done\n"]);
    expect(ran.stderr).toContain("sally: held for approval by dba: what is more than looking around");
    expect(await exists(file)).toBe(true);
    expect(await statusOf(approval)).toBe("used");
  });

  it("that is denied by a reviewer exits with the reason and has not run", async () => {
    const file = fresh("denied");
    const { running, approval } = await held(`touch ${file}`);
    await decide("deny", approval, "--comment", "not today");
    const ran = await running.result;
    expect(ran.code).toBe(3);
    expect(ran.stderr).toContain("not today");
    expect(await exists(file)).toBe(false);
  });

  it("that its requester gives up is withdrawn", async () => {
    const file = fresh("withdrawn");
    const { running, approval } = await held(`touch ${file}`);
    running.kill("SIGINT");
    await running.result;
    await expect.poll(() => statusOf(approval), { timeout: 10_000 }).toBe("withdrawn");
    expect((await decide("approve", approval)).code).not.toBe(0);
    expect(await exists(file)).toBe(false);
  });

  it("with --no-wait fails at once with 4, and passes once when it has been approved", async () => {
    const call = (command: string): ReturnType<typeof stack.sally> =>
      stack.sally("engineer", ["ssh", "web-1", "--no-wait", "--", command]);
    const file = fresh("no-wait");
    const first = await call(`touch ${file}`);
    expect(first.code).toBe(4);
    const [approval = ""] = /apr_[a-z0-9]+/.exec(first.stderr) ?? [];
    await decide("approve", approval);
    // Another command, or the same on a terminal, is another operation.
    expect((await call(`touch  ${file}`)).code).toBe(4);
    expect(
      (await stack.sally("engineer", ["ssh", "web-1", "--no-wait", "--", "-tt", `touch ${file}`])).code,
    ).toBe(4);
    expect((await call(`touch ${file}`)).code).toBe(0);
    expect((await call(`touch ${file}`)).code).toBe(4);
  });

  it("that is denied exits with 126 from ssh and 3 from sally, with the reason", async () => {
    const ran = await agent.exec("id");
    expect([ran.code, ran.text]).toEqual([126, ""]);
    expect(ran.stderr).toContain("sally: the command id (web-1) is denied");
    const sally = await stack.sally("agent", ["ssh", "web-1", "--", "uptime; id"]);
    expect([sally.code, sally.stdout]).toEqual([3, ""]);
    expect(sally.stderr).toContain("not plain (separator)");
    expect((await agent.exec("uptime")).code).toBe(0);
  });
});

describe("everything else an agent could try", () => {
  it("is denied: a shell, a file, a forward, a port back", async () => {
    expect((await agent.run("ssh", ["-tt", "web-1"])).stderr).toContain("a shell (web-1) is denied");
    const file = await agent.run("scp", [`web-1:/etc/hostname`, join(directory, "stolen")]);
    expect([file.code, await exists(join(directory, "stolen"))]).toEqual([1, false]);
    expect((await agent.run("ssh", ["-W", "127.0.0.1:22", "web-1"])).stderr).toContain(
      "a forward to 127.0.0.1:22",
    );
    const back = await agent.run("ssh", [
      "-o",
      "ExitOnForwardFailure=yes",
      "-R",
      "0:127.0.0.1:1",
      "web-1",
      "uptime",
    ]);
    expect(back.stderr).toContain("remote port forwarding failed");
    const old = await agent.run("scp", ["-O", `web-1:/etc/hostname`, join(directory, "stolen")]);
    expect([old.code === 0, await exists(join(directory, "stolen"))]).toEqual([false, false]);
  });

  it("is told that its agent stays where it is, and no agent is there", async () => {
    // A real agent: without one, ssh asks for nothing.
    const socket = fresh("agent");
    const running = dba.start("ssh-agent", ["-D", "-a", socket]);
    try {
      await expect.poll(() => exists(socket), { timeout: 20_000 }).toBe(true);
      const ran = await dba.run("ssh", ["-A", "web-1", "echo ${SSH_AUTH_SOCK:-none}"], {
        env: { SSH_AUTH_SOCK: socket },
      });
      expect([ran.code, ran.text]).toEqual([0, "none\n"]);
      expect(ran.stderr).toContain("sally: agent forwarding is refused: a key in your agent");
    } finally {
      running.kill();
    }
  });

  it("is told that there is no X11, and the program sees no display", async () => {
    const ran = await dba.run("ssh", ["-Y", "web-1", "echo ${DISPLAY:-none}"], {
      env: { DISPLAY: "127.0.0.1:99" },
    });
    expect([ran.code, ran.text]).toEqual([0, "none\n"]);
    expect(ran.stderr).toContain("sally: X11 forwarding is refused");
  });
});

describe("file transfer", () => {
  it("reads freely, and a write waits once for the whole file", async () => {
    const source = fresh("source");
    const target = fresh("target");
    await writeFile(source, "x".repeat(200_000));
    expect((await engineer.run("scp", [`web-1:${source}`, join(directory, "copy")])).code).toBe(0);
    const upload = engineer.start("scp", ["-F", engineer.configFile, source, `web-1:${target}`]);
    let said = "";
    upload.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const closed = new Promise<number | null>((resolve) => upload.once("close", resolve));
    await expect.poll(() => said, { timeout: 20_000 }).toMatch(/apr_[a-z0-9]+/);
    expect(await exists(target)).toBe(false);
    await decide("approve", /apr_[a-z0-9]+/.exec(said)?.[0] ?? "");
    expect(await closed).toBe(0);
    expect(await readFile(target, "utf8")).toBe("x".repeat(200_000));
  });
});

describe("the recording", () => {
  it("has the command with its decision, both outputs, the exit, and chains", async () => {
    const marker = `marker-${randomUUID()}`;
    await dba.exec(`echo ${marker}; echo err-${marker} >&2; exit 3`);
    const { id, bodies } = await recordedSession(stack, "reviewer-a", marker, ended);
    const types = bodies.map((body) => body["type"]);
    expect(types.slice(0, 2)).toEqual(["session", "operation"]);
    expect(bodies[1]).toMatchObject({
      kind: "exec",
      text: expect.stringContaining(marker) as string,
      decision: { effect: "allow" },
    });
    expect(
      bodies.filter((body) => body["type"] === "output").map((body) => [body["stream"], body["text"]]),
    ).toEqual(
      expect.arrayContaining([
        [0, `${marker}\n`],
        [1, `err-${marker}\n`],
      ]) as unknown[],
    );
    expect(bodies.find((body) => body["type"] === "channel")).toMatchObject({ exit: { status: 3 } });
    expect((await stack.sally("reviewer-a", ["sessions", "verify", id])).code).toBe(0);
  });
});

describe("a recorded terminal", () => {
  it("is shown again, and exports as an asciicast of both versions", async () => {
    const marker = `end-${randomUUID()}`;
    await dba.run("ssh", [
      "-S",
      "none",
      "-tt",
      "web-1",
      `printf '\\033[1mbold\\033[0m\\033]0;title\\007-${marker}\\n'; exit 4`,
    ]);
    const { id } = await recordedSession(stack, "reviewer-b", marker, ended);
    const shown = await stack.sally("reviewer-b", ["sessions", "play", id, "--speed", "100"]);
    expect(shown.code, shown.stderr).toBe(0);
    expect(shown.stdout).toContain(`\u001b[1mbold\u001b[0m-${marker}`);
    const cast = await stack.sally("reviewer-b", ["sessions", "export", id, "--format", "asciicast-v3"]);
    const lines = cast.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown);
    expect(lines[0]).toMatchObject({ version: 3, title: expect.stringContaining("web-1") as string });
    expect(lines.at(-1)).toEqual([expect.any(Number), "x", "4"]);
    const old = await stack.sally("reviewer-b", ["sessions", "export", id, "--format", "asciicast-v2"]);
    expect(JSON.parse(old.stdout.split("\n")[0] ?? "")).toMatchObject({ version: 2 });
    const listing = await stack.sally("reviewer-b", ["sessions", "play", id]);
    expect(listing.stdout).toContain("exit 4");
  });
});

describe("watching a session", () => {
  it("shows what is printed while it is printed, to whom may watch and to nobody else, until it is killed", async () => {
    const marker = `marker-${randomUUID()}`;
    const child = dba.start("ssh", [
      "-F",
      dba.configFile,
      "-S",
      "none",
      "-tt",
      "web-1",
      `echo ${marker}; cat`,
    ]);
    const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
    const { id } = await recordedSession(stack, "reviewer-b", marker);
    const watching = stack.startSally("reviewer-b", ["sessions", "tail", id]);
    await watching.waitFor("stdout", new RegExp(marker));
    const later = `later-${randomUUID()}`;
    child.stdin?.write(`${later}\n`);
    await watching.waitFor("stdout", new RegExp(later));
    expect((await stack.sally("engineer", ["sessions", "tail", id])).code).not.toBe(0);
    await stack.sally("reviewer-b", ["sessions", "kill", id, "--reason", "seen enough"]);
    expect(await closed).toBe(255);
    const watched = await watching.result;
    expect(watched.code, watched.stderr).toBe(0);
    expect(watched.stdout + watched.stderr).toContain("seen enough");
  });
});

describe("killing a session", () => {
  it("ends what runs in it, with the reason", async () => {
    const file = fresh("heartbeat");
    const running = dba.start("ssh", [
      "-F",
      dba.configFile,
      "-S",
      "none",
      "-tt",
      "web-1",
      `while :; do date +%N > ${file}; sleep 0.1; done`,
    ]);
    let said = "";
    running.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const closed = new Promise<number | null>((resolve) => running.once("close", resolve));
    await expect.poll(() => exists(file), { timeout: 20_000 }).toBe(true);
    const { id } = await recordedSession(stack, "reviewer-b", file);
    await stack.sally("reviewer-b", ["sessions", "kill", id, "--reason", "enough"]);
    expect(await closed).toBe(255);
    expect(said).toContain("enough");
    // The server hangs up on the terminal, and so ends what runs in it.
    await expect
      .poll(
        async () => {
          const seen = await readFile(file, "utf8");
          await new Promise((resolve) => setTimeout(resolve, 1000));
          return (await readFile(file, "utf8")) === seen;
        },
        { timeout: 20_000 },
      )
      .toBe(true);
  });
});
