import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { concat, utf8 } from "../../../wire/bytes.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { refusal } from "../../../wire/refusals.ts";
import { Reader, byte, string, uint32, uint64 } from "../../../wire/ssh/reader.ts";
import type { SftpAsk, SftpEffect, SftpInput } from "../../../wire/ssh/sftp-machine-types.ts";
import { heldFromClient, newSftpMachine, normalise, stepSftp } from "../../../wire/ssh/sftp-machine.ts";
import {
  Fx,
  Fxp,
  OpenFlag,
  encodeName,
  encodeStatus,
  encodeVersion,
  frame,
  newFramer,
  packetId,
  withLength,
} from "../../../wire/ssh/sftp.ts";

const DENIED = refusal("denied_by_policy", "not yours", { hint: "ask" });
const NO_ATTRIBUTES = uint32(0);

/** A server of a few files: `/home/u` is where it starts, `/home/u/link` points at /srv/data. */
class Server {
  readonly links: Readonly<Record<string, string>> = {
    "/home/u/link": "/srv/data",
    "/home/u/loop": "/home/u/loop",
  };
  readonly missing: readonly string[] = ["/nowhere"];

  answer(packet: Uint8Array): Uint8Array {
    const reader = new Reader(packet);
    const type = reader.byte();
    const id = reader.uint32();
    switch (type) {
      case Fxp.INIT:
        return encodeVersion(3, [
          ["posix-rename@openssh.com", utf8("1")],
          ["evil@example.com", utf8("1")],
          ["limits@openssh.com", utf8("1")],
        ]);
      case Fxp.REALPATH: {
        const path = reader.text();
        const absolute = normalise(path.startsWith("/") ? path : `/home/u/${path}`);
        if (this.missing.some((prefix) => absolute.startsWith(prefix)))
          return encodeStatus(id, Fx.NO_SUCH_FILE, "No such file");
        const link = Object.keys(this.links).find(
          (from) => absolute === from || absolute.startsWith(`${from}/`),
        );
        return encodeName(id, link === undefined ? absolute : absolute.replace(link, this.links[link] ?? ""));
      }
      case Fxp.OPEN:
      case Fxp.OPENDIR:
        return concat([byte(Fxp.HANDLE), uint32(id), string(new Uint8Array([0, id & 255]))]);
      case Fxp.READ:
        return concat([byte(Fxp.DATA), uint32(id), string("content")]);
      default:
        return encodeStatus(id, Fx.OK, "Success");
    }
  }
}

class Run {
  readonly machine = newSftpMachine();
  readonly server = new Server();
  readonly asks: { readonly ask: number; readonly request: SftpAsk }[] = [];
  readonly toServer: Uint8Array[] = [];
  readonly toClient: Uint8Array[] = [];
  violation: string | undefined;
  /** Decides every ask at once; undefined leaves it open. */
  decide: ((request: SftpAsk) => boolean) | undefined = () => true;
  readonly #fromServer = newFramer();
  readonly #fromMachine = newFramer();

  constructor() {
    this.client(concat([byte(Fxp.INIT), uint32(3)]));
  }

  client(packet: Uint8Array): this {
    return this.bytes(withLength(packet));
  }

  bytes(bytes: Uint8Array): this {
    this.#work([{ kind: "clientBytes", bytes }]);
    return this;
  }

  verdict(ask: number, allowed: boolean): this {
    this.#work([{ kind: "verdict", ask, refusal: allowed ? undefined : DENIED }]);
    return this;
  }

  serverBytes(bytes: Uint8Array): this {
    this.#work([{ kind: "serverBytes", bytes }]);
    return this;
  }

  /** The last packet for the client, as type, id and what follows. */
  get last(): { type: number; id: number; reader: Reader } {
    const packet = this.toClient.at(-1) ?? new Uint8Array(5);
    return { type: packet[0] ?? 0, id: packetId(packet), reader: new Reader(packet, 5) };
  }

  get types(): number[] {
    return this.toServer.map((packet) => packet[0] ?? 0);
  }

  #work(inputs: SftpInput[]): void {
    for (let next = inputs.shift(); next !== undefined; next = inputs.shift()) {
      for (const effect of stepSftp(this.machine, next)) this.#do(effect, inputs);
    }
  }

  #do(effect: SftpEffect, inputs: SftpInput[]): void {
    switch (effect.kind) {
      case "toServer": {
        const packets = frame(this.#fromMachine, effect.bytes);
        if (!packets.ok) throw new Error(packets.error);
        for (const packet of packets.value) {
          this.toServer.push(packet);
          inputs.push({ kind: "serverBytes", bytes: withLength(this.server.answer(packet)) });
        }
        return;
      }
      case "toClient": {
        const packets = frame(this.#fromServer, effect.bytes);
        if (!packets.ok) throw new Error(packets.error);
        this.toClient.push(...packets.value);
        return;
      }
      case "ask": {
        this.asks.push(effect);
        const allowed = this.decide?.(effect.request);
        if (allowed !== undefined)
          inputs.push({ kind: "verdict", ask: effect.ask, refusal: allowed ? undefined : DENIED });
        return;
      }
      case "violation":
        this.violation = effect.reason;
    }
  }
}

const open = (id: number, path: string, flags: number = OpenFlag.READ): Uint8Array =>
  concat([byte(Fxp.OPEN), uint32(id), string(path), uint32(flags), NO_ATTRIBUTES]);
const onPath = (type: number, id: number, path: string | Uint8Array, ...rest: Uint8Array[]): Uint8Array =>
  concat([byte(type), uint32(id), string(path), ...rest]);
const extended = (id: number, name: string, ...rest: Uint8Array[]): Uint8Array =>
  concat([byte(Fxp.EXTENDED), uint32(id), string(name), ...rest]);

describe("the start", () => {
  it("speaks version 3 whatever is offered, and hides extensions that it does not know", () => {
    const run = new Run();
    expect(run.toServer).toEqual([concat([byte(Fxp.INIT), uint32(3)])]);
    const { type, id, reader } = run.last;
    expect([type, id]).toEqual([Fxp.VERSION, 3]);
    const names: string[] = [];
    while (reader.remaining > 0) {
      names.push(reader.text());
      reader.bytes();
    }
    expect(names).toEqual(["posix-rename@openssh.com", "limits@openssh.com"]);
  });

  it("ends where a request comes before INIT, or INIT twice", () => {
    const early = newSftpMachine();
    expect(stepSftp(early, { kind: "clientBytes", bytes: withLength(open(1, "x")) })).toEqual([
      { kind: "violation", reason: expect.any(String) as string },
    ]);
    expect(new Run().client(concat([byte(Fxp.INIT), uint32(3)])).violation).toBe("second sftp INIT");
  });
});

describe("paths are decided as the server will see them", () => {
  it.each([
    ["notes.txt", "/home/u/notes.txt"],
    ["/srv/x", "/srv/x"],
    ["/srv/../etc/shadow", "/etc/shadow"],
    ["a/../../../etc/shadow", "/etc/shadow"],
    ["//etc///shadow", "/etc/shadow"],
    ["/srv/./x/.", "/srv/x"],
    ["link/secret", "/srv/data/secret"],
    ["link", "/srv/data"],
    ["/home/u/link/../x", "/home/u/x"],
  ])("open %j is %j", (path, canonical) => {
    const run = new Run().client(open(1, path));
    expect(run.asks.map(({ request }) => request.path)).toEqual([canonical]);
    // What is sent is what was decided, so that a link that changes now is not followed.
    expect(run.toServer.at(-1)).toEqual(open(1, canonical));
    expect(run.last.type).toBe(Fxp.HANDLE);
  });

  it.each([
    ["remove", Fxp.REMOVE],
    ["lstat", Fxp.LSTAT],
    ["readlink", Fxp.READLINK],
    ["rmdir", Fxp.RMDIR],
  ])("%s acts on a link itself, and follows those before it", (operation, type) => {
    const run = new Run().client(onPath(type, 1, "link")).client(onPath(type, 2, "link/secret"));
    expect(run.asks.map(({ request }) => [request.operation, request.path])).toEqual([
      [operation, "/home/u/link"],
      [operation, "/srv/data/secret"],
    ]);
  });

  it.each([".", "..", "link/..", "/"])("remove of %j is decided under a real name", (path) => {
    const run = new Run().client(onPath(Fxp.REMOVE, 1, path));
    expect(run.asks[0]?.request.path).toMatch(/^\/([^.]|$)/);
    expect(run.asks[0]?.request.path).not.toContain("..");
  });

  it("names both paths of a rename", () => {
    const run = new Run().client(onPath(Fxp.RENAME, 1, "link/a", string("../x")));
    expect(run.asks[0]?.request).toMatchObject({
      operation: "rename",
      path: "/srv/data/a",
      target: "/home/x",
      reads: false,
      writes: true,
    });
    expect(run.toServer.at(-1)).toEqual(onPath(Fxp.RENAME, 1, "/srv/data/a", string("/home/x")));
  });

  it("names the new name and the old of links, hard and symbolic", () => {
    const run = new Run()
      .client(extended(1, "hardlink@openssh.com", string("link/a"), string("b")))
      .client(onPath(Fxp.SYMLINK, 2, "../../etc/shadow", string("link/s")));
    expect(run.asks.map(({ request: { operation, path, target } }) => [operation, path, target])).toEqual([
      ["hardlink", "/home/u/b", "/srv/data/a"],
      ["symlink", "/srv/data/s", "/etc/shadow"],
    ]);
    expect(run.toServer.at(-1)).toEqual(onPath(Fxp.SYMLINK, 2, "../../etc/shadow", string("/srv/data/s")));
  });

  it("decides what the server cannot resolve under its text, and never sends it", () => {
    const run = new Run().client(open(1, "/nowhere/../nowhere/x"));
    expect(run.asks[0]?.request.path).toBe("/nowhere/x");
    expect(run.types.filter((type) => type === Fxp.OPEN)).toEqual([]);
    expect(run.last.type).toBe(Fxp.STATUS);
    expect(run.last.reader.uint32()).toBe(Fx.NO_SUCH_FILE);
  });

  it("does not tell whether it exists to whom may not know", () => {
    const run = new Run();
    run.decide = () => false;
    const existing = run.client(open(1, "/srv/x")).last.reader.rest();
    const missing = run.client(open(2, "/nowhere/x")).last.reader.rest();
    expect(missing).toEqual(existing);
  });

  it("refuses paths that are not UTF-8 or hold NUL without asking anybody", () => {
    const run = new Run()
      .client(onPath(Fxp.STAT, 1, new Uint8Array([0xff, 0x41])))
      .client(onPath(Fxp.STAT, 2, "a\0b"));
    expect(run.asks).toEqual([]);
    expect(run.toClient.slice(1).map((packet) => [packet[0], new Reader(packet, 5).uint32()])).toEqual([
      [Fxp.STATUS, Fx.PERMISSION_DENIED],
      [Fxp.STATUS, Fx.PERMISSION_DENIED],
    ]);
  });

  it("tells where the session starts without asking, and answers other REALPATHs from the decision", () => {
    const run = new Run().client(onPath(Fxp.REALPATH, 1, "."));
    expect(run.asks).toEqual([]);
    run.last.reader.uint32();
    run.client(onPath(Fxp.REALPATH, 2, "link"));
    expect(run.asks[0]?.request).toMatchObject({
      operation: "realpath",
      path: "/srv/data",
      reads: true,
      writes: false,
    });
    const { reader } = run.last;
    expect([reader.uint32(), reader.text()]).toEqual([1, "/srv/data"]);
  });
});

describe("what a request does", () => {
  it.each([
    ["reading", OpenFlag.READ, true, false],
    ["writing", OpenFlag.WRITE | OpenFlag.CREAT | OpenFlag.TRUNC, false, true],
    ["both", OpenFlag.READ | OpenFlag.WRITE, true, true],
    ["reading while creating", OpenFlag.READ | OpenFlag.CREAT, true, true],
    ["reading while truncating", OpenFlag.READ | OpenFlag.TRUNC, true, true],
    ["reading with a flag of some server's own", OpenFlag.READ | 0x40000000, true, true],
  ])("open for %s", (_, flags, reads, writes) => {
    expect(new Run().client(open(1, "x", flags)).asks[0]?.request).toMatchObject({ reads, writes });
  });

  it("a handle stands for the path it was opened with, and for the ask that opened it", () => {
    const run = new Run()
      .client(open(7, "link/a"))
      .client(onPath(Fxp.READ, 8, new Uint8Array([0, 7]), uint64(0), uint32(1000)));
    expect(run.asks[1]?.request).toEqual({
      operation: "read",
      reads: true,
      writes: false,
      path: "/srv/data/a",
      target: "",
      openedBy: run.asks[0]?.ask,
      length: 1000,
    });
    expect(run.last.type).toBe(Fxp.DATA);
    run.client(onPath(Fxp.WRITE, 9, new Uint8Array([0, 7]), uint64(0), string("abc")));
    expect(run.asks[2]?.request).toMatchObject({ operation: "write", writes: true, length: 3 });
    run.client(onPath(Fxp.FSETSTAT, 10, new Uint8Array([0, 7]), NO_ATTRIBUTES));
    expect(run.asks[3]?.request).toMatchObject({ operation: "fsetstat", writes: true, path: "/srv/data/a" });
  });

  it("closing needs no decision and ends the handle", () => {
    const run = new Run().client(open(7, "a")).client(onPath(Fxp.CLOSE, 8, new Uint8Array([0, 7])));
    expect(run.asks).toHaveLength(1);
    run.client(onPath(Fxp.READ, 9, new Uint8Array([0, 7]), uint64(0), uint32(1)));
    expect(run.last.type).toBe(Fxp.STATUS);
    expect(run.types.filter((type) => type === Fxp.READ)).toEqual([]);
  });

  it("a handle that nobody opened is refused here", () => {
    const run = new Run().client(onPath(Fxp.READ, 1, new Uint8Array([9, 9]), uint64(0), uint32(1)));
    expect(run.asks).toEqual([]);
    expect(run.last.reader.uint32()).toBe(Fx.FAILURE);
  });

  it("copy-data reads one handle and writes another", () => {
    const run = new Run().client(open(1, "a")).client(open(2, "b", OpenFlag.WRITE));
    run.client(
      extended(
        3,
        "copy-data",
        string(new Uint8Array([0, 1])),
        uint64(0),
        uint64(0),
        string(new Uint8Array([0, 2])),
        uint64(0),
      ),
    );
    expect(run.asks[2]?.request).toMatchObject({
      operation: "copy_data",
      reads: true,
      writes: true,
      path: "/home/u/a",
      target: "/home/u/b",
    });
  });

  it("a denied request is a STATUS with the reason and its own id, and is not sent", () => {
    const run = new Run();
    run.decide = () => false;
    run.client(onPath(Fxp.REMOVE, 41, "a"));
    const { type, id, reader } = run.last;
    expect([type, id, reader.uint32(), reader.text()]).toEqual([
      Fxp.STATUS,
      41,
      Fx.PERMISSION_DENIED,
      "sally: not yours (ask)",
    ]);
    expect(run.types.filter((each) => each === Fxp.REMOVE)).toEqual([]);
  });

  it.each(["evil@example.com", "copy-file", "vendor-id", "__proto__", "constructor"])(
    "the extension %s is not supported and not sent",
    (name) => {
      const run = new Run().client(extended(1, name, string("/etc/shadow")));
      expect(run.last.reader.uint32()).toBe(Fx.OP_UNSUPPORTED);
      expect(run.types).not.toContain(Fxp.EXTENDED);
    },
  );

  it("unknown requests, those of newer versions among them, are not supported and not sent", () => {
    for (const type of [21, 22, 23, 99, 150, 255]) {
      const run = new Run().client(onPath(type, 1, "x"));
      expect(run.last.reader.uint32()).toBe(Fx.OP_UNSUPPORTED);
      expect(run.types).toEqual([Fxp.INIT]);
    }
  });
});

describe("order", () => {
  it("keeps later requests waiting while one is decided, each with its own id", () => {
    const run = new Run();
    run.decide = undefined;
    run
      .client(open(1, "a"))
      .client(open(2, "b"))
      .client(onPath(Fxp.REMOVE, 3, "c"));
    expect(run.asks).toHaveLength(1);
    expect(heldFromClient(run.machine)).toBeGreaterThan(0);
    run.verdict(run.asks[0]?.ask ?? 0, true);
    run.verdict(run.asks[1]?.ask ?? 0, false);
    run.verdict(run.asks[2]?.ask ?? 0, true);
    expect(run.toClient.slice(1).map((packet) => [packet[0], packetId(packet)])).toEqual([
      [Fxp.HANDLE, 1],
      [Fxp.STATUS, 2],
      [Fxp.STATUS, 3],
    ]);
    expect(heldFromClient(run.machine)).toBe(0);
  });

  it("is the same however the bytes arrive", () => {
    const script = concat(
      [
        open(1, "link/a"),
        open(2, "/nowhere/x"),
        onPath(Fxp.READ, 3, new Uint8Array([0, 1]), uint64(0), uint32(9)),
        onPath(Fxp.RENAME, 4, "a", string("b")),
      ].map(withLength),
    );
    const whole = new Run().bytes(script);
    for (let cut = 1; cut < script.length; cut++) {
      const run = new Run().bytes(script.subarray(0, cut)).bytes(script.subarray(cut));
      expect(run.toClient).toEqual(whole.toClient);
      expect(run.toServer).toEqual(whole.toServer);
    }
    const single = new Run();
    for (const value of script) single.bytes(new Uint8Array([value]));
    expect(single.toServer).toEqual(whole.toServer);
  });

  it("ends where the client uses an id twice at a time", () => {
    const run = new Run();
    run.server.answer = () => new Uint8Array([0]);
    const machine = newSftpMachine();
    stepSftp(machine, { kind: "clientBytes", bytes: withLength(concat([byte(Fxp.INIT), uint32(3)])) });
    stepSftp(machine, { kind: "serverBytes", bytes: withLength(encodeVersion(3, [])) });
    stepSftp(machine, { kind: "clientBytes", bytes: withLength(extended(5, "limits@openssh.com")) });
    expect(
      stepSftp(machine, { kind: "clientBytes", bytes: withLength(extended(5, "limits@openssh.com")) }),
    ).toEqual([{ kind: "violation", reason: "sftp request id in use" }]);
  });
});

describe("lengths and hostile bytes", () => {
  it.each<[string, Uint8Array]>([
    ["a length over the limit", uint32(LIMITS.sftp.packet + 1)],
    ["a length of nothing", concat([uint32(0), byte(1)])],
    ["a length of 2^32 - 1", uint32(0xffffffff)],
    [
      "a path longer than the packet",
      withLength(concat([byte(Fxp.STAT), uint32(1), uint32(5000), utf8("x")])),
    ],
    ["a path over the limit", withLength(onPath(Fxp.STAT, 1, "x".repeat(LIMITS.sftp.path + 1)))],
    ["trailing bytes", withLength(onPath(Fxp.STAT, 1, "x", utf8("y")))],
    ["an open without flags", withLength(open(1, "x", 0))],
    ["attributes of an unknown kind", withLength(onPath(Fxp.SETSTAT, 1, "x", uint32(0x10)))],
  ])("%s ends the channel", (_, bytes) => {
    const run = new Run().bytes(bytes);
    expect(run.violation).toBeDefined();
    expect(run.asks).toEqual([]);
  });

  it.each<[string, Uint8Array]>([
    ["answers what was not asked", withLength(encodeStatus(77, Fx.OK, ""))],
    ["gives a handle unasked", withLength(concat([byte(Fxp.HANDLE), uint32(77), string("h")]))],
    ["sends a request", withLength(open(1, "x"))],
    ["sends too much", uint32(LIMITS.sftp.packet + 1)],
  ])("a server that %s ends the channel", (_, bytes) => {
    expect(new Run().serverBytes(bytes).violation).toBeDefined();
  });

  it("nothing throws, and no request reaches the server without a decision", () => {
    const request = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc
        .tuple(
          fc.integer({ min: 3, max: 21 }),
          fc.nat(5),
          fc.constantFrom("a", "..", "/etc/shadow", "link/x", "", "\0"),
          fc.uint8Array({ maxLength: 12 }),
        )
        .map(([type, id, path, rest]) => withLength(onPath(type, id, path, rest))),
      fc
        .tuple(
          fc.nat(5),
          fc.constantFrom("posix-rename@openssh.com", "statvfs@openssh.com", "copy-data", "x"),
          fc.uint8Array({ maxLength: 20 }),
        )
        .map(([id, name, rest]) => withLength(extended(id, name, rest))),
    );
    fc.assert(
      fc.property(fc.array(request, { maxLength: 20 }), (requests) => {
        const run = new Run();
        run.decide = () => false;
        for (const bytes of requests) run.bytes(bytes);
        // Only our own look-ups and what needs no decision.
        expect(
          run.types.every((type) => type === Fxp.INIT || type === Fxp.REALPATH || type === Fxp.EXTENDED),
        ).toBe(true);
      }),
      { numRuns: 3_000 },
    );
  });
});
