import { describe, expect, it } from "vitest";
import { concat, utf8 } from "../../../wire/bytes.ts";
import {
  type RemoteCommandProtocol,
  readClientMessage,
  readServerMessage,
  writeRemoteCommand,
} from "../../../wire/kubernetes/remote-command.ts";

const V5 = "v5.channel.k8s.io";
const V4 = "v4.channel.k8s.io";

function message(channel: number, payload: string | readonly number[] | object = []): Uint8Array {
  const bytes =
    typeof payload === "string"
      ? utf8(payload)
      : Array.isArray(payload)
        ? Uint8Array.from(payload as number[])
        : utf8(JSON.stringify(payload));
  return concat([Uint8Array.of(channel), bytes]);
}

describe("messages of the client", () => {
  it("are input, sizes and the end of the input", () => {
    expect(readClientMessage(message(0, "ls\n"), V5)).toEqual({
      ok: true,
      value: { channel: "stdin", bytes: utf8("ls\n") },
    });
    expect(readClientMessage(message(4, { Width: 80, Height: 24 }), V4)).toEqual({
      ok: true,
      value: { channel: "resize", columns: 80, rows: 24 },
    });
    expect(readClientMessage(message(4, { width: 1, HEIGHT: 2, more: true }), V5)).toMatchObject({
      value: { columns: 1, rows: 2 },
    });
    expect(readClientMessage(message(255, [0]), V5)).toEqual({
      ok: true,
      value: { channel: "close", closes: "stdin" },
    });
    expect(readClientMessage(message(255, [4]), V5)).toMatchObject({ value: { closes: "resize" } });
  });

  it.each<[string, Uint8Array, RemoteCommandProtocol]>([
    ["nothing", new Uint8Array(), V5],
    ["output", message(1, "x"), V5],
    ["errors", message(2, "x"), V5],
    ["an end of its own", message(3, { status: "Success" }), V5],
    ["an unknown channel", message(5, "x"), V5],
    ["a close that version 4 does not have", message(255, [0]), V4],
    ["a close of nothing", message(255), V5],
    ["a close of an unknown channel", message(255, [9]), V5],
    ["a close of two channels", message(255, [0, 1]), V5],
    ["a size that is no JSON", message(4, "80x24"), V5],
    ["a size without a height", message(4, { Width: 80 }), V5],
    ["a size with two widths", message(4, { Width: 80, width: 81, Height: 2 }), V5],
    ["a size beyond 16 bits", message(4, { Width: 65_536, Height: 2 }), V5],
    ["a negative size", message(4, { Width: -1, Height: 2 }), V5],
    ["half a column", message(4, { Width: 1.5, Height: 2 }), V5],
    ["a list of sizes", message(4, "[80,24]"), V5],
  ])("are not %s", (_, bytes, protocol) => {
    expect(readClientMessage(bytes, protocol)).toEqual({ ok: false, error: "malformed" });
  });
});

describe("messages of the server", () => {
  it("are output and errors", () => {
    expect(readServerMessage(message(1, "out"))).toEqual({
      ok: true,
      value: { channel: "stdout", bytes: utf8("out") },
    });
    expect(readServerMessage(message(2, [0xff]))).toMatchObject({ value: { channel: "stderr" } });
    expect(readServerMessage(message(0))).toMatchObject({ value: { channel: "stdin" } });
  });

  it.each([
    [
      { status: "Success", metadata: {} },
      { exitCode: 0, message: "" },
    ],
    [
      {
        status: "Failure",
        reason: "NonZeroExitCode",
        message: "command terminated with non-zero exit code",
        details: { causes: [{ reason: "ExitCode", message: "42" }] },
      },
      { exitCode: 42, message: "command terminated with non-zero exit code" },
    ],
    [
      { status: "Failure", reason: "InternalError", message: "no such container" },
      { message: "no such container" },
    ],
    [
      {
        status: "Failure",
        reason: "NonZeroExitCode",
        details: { causes: [{ reason: "ExitCode", message: "x" }] },
      },
      { message: "" },
    ],
    [{ status: "Failure", message: "m", details: null }, { message: "m" }],
    ["plain words of an old server", { message: "plain words of an old server" }],
    ["", { message: "" }],
  ])("end with %j", (status, expected) => {
    expect(readServerMessage(message(3, status))).toEqual({
      ok: true,
      value: { channel: "error", status: expected },
    });
  });

  it.each([
    ["nothing", new Uint8Array()],
    ["input", message(0, "x")],
    ["sizes", message(4, { Width: 1, Height: 1 })],
    ["closes", message(255, [0])],
    ["an unknown channel", message(7)],
  ])("are not %s", (_, bytes) => {
    expect(readServerMessage(bytes)).toEqual({ ok: false, error: "malformed" });
  });

  it("can be written", () => {
    expect(writeRemoteCommand("stderr", utf8("no"))).toEqual(message(2, "no"));
    expect(writeRemoteCommand("error", utf8("{}"))).toEqual(message(3, "{}"));
  });
});
