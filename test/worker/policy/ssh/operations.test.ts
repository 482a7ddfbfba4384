import { describe, expect, it } from "vitest";
import type { SshAsk } from "../../../../wire/ssh/machine-types.ts";
import type { SftpAsk } from "../../../../wire/ssh/sftp-machine-types.ts";
import { isFileTransfer, sshOperation } from "../../../../worker/policy/ssh/operations.ts";

function exec(command: string | Uint8Array, terminal = false): SshAsk {
  const bytes = typeof command === "string" ? new TextEncoder().encode(command) : command;
  return { kind: "exec", id: 1, channel: 1, command: bytes, terminal, environment: [] };
}

function sftp(request: Partial<SftpAsk> & Pick<SftpAsk, "operation">): SshAsk {
  const none = { reads: false, writes: false, path: "/a", target: "", openedBy: undefined, length: 0 };
  return { kind: "sftp", id: 1, channel: 1, request: { ...none, ...request } };
}

/** `action path` of each action. */
const named = (ask: SshAsk): string[] =>
  sshOperation(ask, "").actions.map(({ action, facts }) =>
    `${action} ${"path" in facts ? facts.path : ""}`.trim(),
  );

describe("a command's facts", () => {
  it("are its words when it is plain", () => {
    expect(sshOperation(exec("tail  -n 5 'a b' 5", true), "deploy")).toEqual({
      actions: [
        {
          action: "ssh:exec",
          facts: {
            login: "deploy",
            terminal: true,
            plain: true,
            construct: "none",
            command: "tail -n 5 'a b' 5",
            program: "tail",
            arguments: ["-n", "5", "a b"],
            argumentCount: 4,
            wrapper: false,
          },
        },
      ],
      text: "tail  -n 5 'a b' 5",
    });
  });

  it("hold nothing to match when it is not plain, and count as a wrapper", () => {
    const [action] = sshOperation(exec("uptime; id"), "").actions;
    expect(action?.facts).toMatchObject({
      plain: false,
      construct: "separator",
      command: "",
      program: "",
      arguments: [],
      wrapper: true,
    });
  });

  it("are shown to reviewers without anything that hides or moves", () => {
    expect(sshOperation(exec("echo \u202e\u001b[2K\nid"), "").text).toBe("echo \\u{202e}\\u{1b}[2K\\nid");
    expect(sshOperation(exec(new Uint8Array([0x69, 0xff])), "").text).toBe("(not UTF-8) i\ufffd");
  });
});

describe("a file transfer's actions", () => {
  it.each<[string, SshAsk, string[]]>([
    ["an open for reading", sftp({ operation: "open", reads: true }), ["ssh:sftp_read /a"]],
    [
      "an open for both",
      sftp({ operation: "open", reads: true, writes: true }),
      ["ssh:sftp_read /a", "ssh:sftp_write /a"],
    ],
    [
      "a rename",
      sftp({ operation: "rename", writes: true, target: "/b" }),
      ["ssh:sftp_write /a", "ssh:sftp_write /b"],
    ],
    [
      "a hard link",
      sftp({ operation: "hardlink", writes: true, target: "/old" }),
      ["ssh:sftp_write /a", "ssh:sftp_read /old", "ssh:sftp_write /old"],
    ],
    [
      "a symbolic link",
      sftp({ operation: "symlink", writes: true, target: "/etc/shadow" }),
      ["ssh:sftp_write /a", "ssh:sftp_read /etc/shadow"],
    ],
    [
      "a copy",
      sftp({ operation: "copy_data", reads: true, writes: true, target: "/b" }),
      ["ssh:sftp_read /a", "ssh:sftp_write /b"],
    ],
    ["what says neither", sftp({ operation: "fsync" }), ["ssh:sftp_write /a"]],
  ])("of %s", (_, ask, actions) => {
    expect(named(ask)).toEqual(actions);
  });
});

describe("forwards and shells", () => {
  it("have their target in lower case, and their login", () => {
    const ask: SshAsk = { kind: "forward", id: 1, channel: 1, host: "Metrics.Internal", port: 9090 };
    expect(sshOperation(ask, "deploy")).toEqual({
      actions: [{ action: "ssh:forward", facts: { login: "deploy", host: "metrics.internal", port: 9090 } }],
      text: "forward to Metrics.Internal:9090",
    });
    expect(sshOperation({ ...ask, kind: "remoteForward" }, "").actions[0]?.action).toBe("ssh:remote_forward");
    expect(sshOperation({ kind: "shell", id: 1, channel: 1, terminal: true, environment: [] }, "").text).toBe(
      "shell",
    );
  });
});

describe("a command that is the server's end of a file transfer", () => {
  const bytes = (command: string): Uint8Array => new TextEncoder().encode(command);

  it.each([
    "scp -t /srv",
    "scp -r -f '/srv/a b'",
    "rsync --server -logDtpre.iLsfxC . /srv",
    "git-upload-pack '/srv/shop.git'",
    "git-receive-pack /srv/shop.git",
  ])("is one: %s", (command) => expect(isFileTransfer(bytes(command))).toBe(true));

  it.each([
    "scp a b",
    "rsync -a a b",
    "rsync a --server",
    "cat scp -f",
    "scp -f /etc/passwd; cat cards",
    "scp -f $(cat cards)",
    "./scp -f x",
    "git-upload-pack x | cat",
    "",
  ])("is none: %s", (command) => expect(isFileTransfer(bytes(command))).toBe(false));
});
