/** What an SSH request means for policy: its actions with their facts, and the text that people are shown. */
import { displayUtf8, fromUtf8 } from "../../../wire/bytes.ts";
import { parseCommandLine } from "../../../wire/ssh/command-line.ts";
import type { SshAsk } from "../../../wire/ssh/machine-types.ts";
import type { SftpAsk } from "../../../wire/ssh/sftp-machine-types.ts";
import type { Action, Operation, SshExecFacts, SshSftpFacts } from "../types.ts";

/**
 * The operation that an ask stands for.
 *
 * @param login the login name that the server will see, "" where the connector alone chooses
 */
export function sshOperation(ask: SshAsk, login: string): Operation {
  switch (ask.kind) {
    case "exec":
      return {
        actions: [{ action: "ssh:exec", facts: execFacts(ask.command, ask.terminal, login) }],
        text: showCommand(ask.command),
      };
    case "shell":
      return { actions: [{ action: "ssh:shell", facts: { login, terminal: ask.terminal } }], text: "shell" };
    case "sftp":
      return { actions: sftpActions(ask.request, login), text: showSftp(ask.request) };
    case "forward":
    case "remoteForward": {
      const forward = ask.kind === "forward";
      const host = ask.host.toLowerCase();
      return {
        actions: [
          { action: forward ? "ssh:forward" : "ssh:remote_forward", facts: { login, host, port: ask.port } },
        ],
        text: `${forward ? "forward to" : "remote forward from"} ${showText(ask.host)}:${ask.port}`,
      };
    }
  }
}

/**
 * Whether a command is the server's end of scp, rsync or git, as their clients start it. What it writes is a
 * protocol with files in it, as that of sftp is, and no text to be looked at or overwritten.
 */
export function isFileTransfer(command: Uint8Array): boolean {
  const parsed = parseCommandLine(command);
  if (!parsed.plain) return false;
  const [program = "", ...rest] = parsed.argv;
  switch (program) {
    case "scp":
      return rest.includes("-t") || rest.includes("-f");
    case "rsync":
      return rest[0] === "--server";
    case "git-upload-pack":
    case "git-receive-pack":
    case "git-upload-archive":
      return true;
    default:
      return false;
  }
}

function execFacts(command: Uint8Array, terminal: boolean, login: string): SshExecFacts {
  const parsed = parseCommandLine(command);
  if (!parsed.plain) {
    const { construct } = parsed;
    // A wrapper too: `unless { context.wrapper }` then needs no second condition to be safe.
    return {
      login,
      terminal,
      plain: false,
      construct,
      command: "",
      program: "",
      arguments: [],
      argumentCount: 0,
      wrapper: true,
    };
  }
  const [program = "", ...rest] = parsed.argv;
  return {
    login,
    terminal,
    plain: true,
    construct: "none",
    command: parsed.canonical,
    program,
    arguments: [...new Set(rest)],
    argumentCount: rest.length,
    wrapper: parsed.wrapper,
  };
}

/** One action for each path and each thing that is done to it; all have to be allowed. */
function sftpActions(request: SftpAsk, login: string): readonly Action[] {
  const { operation, path, target } = request;
  const read = (at: string): Action => ({ action: "ssh:sftp_read", facts: facts(at) });
  const write = (at: string): Action => ({ action: "ssh:sftp_write", facts: facts(at) });
  const facts = (at: string): SshSftpFacts => ({ login, operation, path: at });
  switch (operation) {
    case "rename":
      return [write(path), write(target)];
    case "hardlink":
      // The new name gives the old file's content, for reading and for writing.
      return [write(path), read(target), write(target)];
    case "symlink":
      return [write(path), read(target)];
    case "copy_data":
      return [read(path), write(target)];
    default: {
      const actions = [...(request.reads ? [read(path)] : []), ...(request.writes ? [write(path)] : [])];
      // What neither reads nor writes does not come here; should it, it counts as a change.
      return actions.length > 0 ? actions : [write(path)];
    }
  }
}

function showSftp(request: SftpAsk): string {
  const parts = [`sftp ${request.operation.replaceAll("_", " ")}`];
  if (request.operation === "open")
    parts.push(request.writes ? (request.reads ? "for reading and writing" : "for writing") : "for reading");
  if (request.path !== "") parts.push(showText(request.path));
  if (request.target !== "")
    parts.push(request.operation === "symlink" ? "pointing at" : "and", showText(request.target));
  return parts.join(" ");
}

/** A command as a reviewer may see it: nothing in it can move a cursor, hide, or read backwards. */
export function showCommand(command: Uint8Array): string {
  const text = fromUtf8(command);
  return text === undefined ? `(not UTF-8) ${showText(displayUtf8(command))}` : showText(text);
}

function showText(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/gu, (character) => {
    if (character === "\n") return "\\n";
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
}
