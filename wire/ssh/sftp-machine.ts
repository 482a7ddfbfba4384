/**
 * SftpMachine: one `sftp` channel between a native client and a server. Every request is decided on its own.
 *
 *   client                machine                              server
 *     │ INIT(any) ──────────► INIT(3) ────────────────────────► │
 *     │ ◄── VERSION(3, the extensions we know) ◄── VERSION ──── │
 *     │ OPEN link/../x ─────► REALPATH link/../x ─────────────► │   the server follows links, not we
 *     │                       ◄──────────── NAME /srv/data/x ── │
 *     │                  ask {open /srv/data/x} … verdict       │
 *     │                       OPEN /srv/data/x ───────────────► │   the path that was decided, not the client's
 *     │ ◄── HANDLE h ◄──────── h stands for /srv/data/x ─────── │
 *     │ READ h ─────────────► ask {read /srv/data/x} … ───────► │
 *
 * Requests run in the order they came: while one is being resolved or decided, later ones wait. Refusals are
 * STATUS with PERMISSION_DENIED and the reason. What the server cannot resolve is decided under its lexical
 * path and then answered with the server's own error, without being sent: the path could come into being in
 * between. A link that is swapped between REALPATH and the request can still lead elsewhere; only the server
 * could rule that out (docs/limitations.md).
 */
import { fromUtf8 } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import type { Refusal } from "../refusals.ts";
import type { SftpAsk, SftpEffect, SftpInput } from "./sftp-machine-types.ts";
import {
  Fx,
  Fxp,
  type SftpFramer,
  type SftpReply,
  type SftpRequest,
  decodeReply,
  decodeRequest,
  decodeVersion,
  encodeInit,
  encodeName,
  encodeRealpath,
  encodeStatus,
  encodeVersion,
  frame,
  isKnownExtension,
  newFramer,
  packetId,
  withLength,
  withPaths,
} from "./sftp.ts";

type Handle = { readonly path: string; readonly ask: number };

/** What is being worked on before it is sent; later requests wait for it. */
type Busy =
  | {
      readonly stage: "resolving";
      readonly request: SftpRequest;
      readonly packet: Uint8Array;
      readonly id: number;
      readonly done: readonly string[];
    }
  /** `send` is the packet to forward, or `answer` what the client gets instead. */
  | {
      readonly stage: "asked";
      readonly id: number;
      readonly ask: number;
      readonly path: string;
      readonly opens: boolean;
      readonly send: Uint8Array | undefined;
      readonly answer: Uint8Array | undefined;
    };

type Outstanding = { readonly opens: { readonly path: string; readonly ask: number } | undefined };

export type SftpMachine = {
  phase: "init" | "version" | "ready" | "failed";
  fromClient: SftpFramer;
  fromServer: SftpFramer;
  /** Requests not yet looked at, whole packets. */
  parked: Uint8Array[];
  parkedBytes: number;
  busy: Busy | undefined;
  outstanding: Map<number, Outstanding>;
  handles: Map<string, Handle>;
  /** The directory in which relative paths start, once the server has said. */
  home: string | undefined;
  nextAsk: number;
};

export function newSftpMachine(): SftpMachine {
  return {
    phase: "init",
    fromClient: newFramer(),
    fromServer: newFramer(),
    parked: [],
    parkedBytes: 0,
    busy: undefined,
    outstanding: new Map(),
    handles: new Map(),
    home: undefined,
    nextAsk: 1,
  };
}

/** Bytes of the client that the machine holds and that must still count against the client's window. */
export function heldFromClient(machine: SftpMachine): number {
  return machine.fromClient.held + machine.parkedBytes;
}

/** Takes one input and returns what has to happen, in order. The machine is changed in place. */
export function stepSftp(machine: SftpMachine, input: SftpInput): SftpEffect[] {
  if (machine.phase === "failed") return [];
  const effects: SftpEffect[] = [];
  switch (input.kind) {
    case "clientBytes":
      takeClient(machine, input.bytes, effects);
      break;
    case "serverBytes":
      takeServer(machine, input.bytes, effects);
      break;
    case "verdict":
      takeVerdict(machine, input.ask, input.refusal, effects);
      break;
  }
  return effects;
}

function violation(machine: SftpMachine, reason: string, effects: SftpEffect[]): void {
  machine.phase = "failed";
  machine.parked = [];
  machine.parkedBytes = 0;
  effects.push({ kind: "violation", reason });
}

function takeClient(machine: SftpMachine, bytes: Uint8Array, effects: SftpEffect[]): void {
  const packets = frame(machine.fromClient, bytes);
  if (!packets.ok) return violation(machine, `sftp ${packets.error}`, effects);
  for (const packet of packets.value) {
    if (machine.phase === "init") {
      if (packet[0] !== Fxp.INIT) return violation(machine, "sftp request before INIT", effects);
      machine.phase = "version";
      // Version 3 whatever the client offers: another version has other packets.
      effects.push({ kind: "toServer", bytes: withLength(encodeInit()) });
      continue;
    }
    if (packet[0] === Fxp.INIT) return violation(machine, "second sftp INIT", effects);
    if (machine.parked.length >= LIMITS.sftp.parked)
      return violation(machine, "too many sftp requests wait", effects);
    // A copy: parked packets outlive the buffer they came in.
    machine.parked.push(packet.slice());
    machine.parkedBytes += packet.length + 4;
  }
  pump(machine, effects);
}

function pump(machine: SftpMachine, effects: SftpEffect[]): void {
  while (machine.phase === "ready" && machine.busy === undefined) {
    if (machine.outstanding.size >= LIMITS.sftp.outstanding) return;
    const packet = machine.parked.shift();
    if (packet === undefined) return;
    machine.parkedBytes -= packet.length + 4;
    begin(machine, packet, effects);
  }
}

function begin(machine: SftpMachine, packet: Uint8Array, effects: SftpEffect[]): void {
  const id = packetId(packet);
  if (machine.outstanding.has(id)) return violation(machine, "sftp request id in use", effects);
  const decoded = decodeRequest(packet);
  if (!decoded.ok) {
    if (decoded.error !== "request_unknown") return violation(machine, `sftp ${decoded.error}`, effects);
    return answer(effects, encodeStatus(id, Fx.OP_UNSUPPORTED, "sally: this request is not supported"));
  }
  const request = decoded.value;
  if (request.handles.length > 0) return beginWithHandles(machine, request, packet, effects);
  if (request.paths.length > 0) return resolveNext(machine, request, packet, [], effects);
  if (request.operation === "limits") return forward(machine, id, packet, undefined, effects);
  // home-directory and users-groups-by-id: no path, but they tell about the server.
  ask(machine, request, { path: "", target: "", openedBy: undefined }, packet, undefined, effects);
}

function beginWithHandles(
  machine: SftpMachine,
  request: SftpRequest,
  packet: Uint8Array,
  effects: SftpEffect[],
): void {
  const handles = request.handles.map((bytes) => machine.handles.get(handleKey(bytes)));
  const [first, second] = handles;
  if (first === undefined || handles.includes(undefined)) {
    return answer(effects, encodeStatus(request.id, Fx.FAILURE, "sally: no such handle"));
  }
  if (request.operation === "close") {
    const [bytes] = request.handles;
    if (bytes !== undefined) machine.handles.delete(handleKey(bytes));
    return forward(machine, request.id, packet, undefined, effects);
  }
  ask(
    machine,
    request,
    { path: first.path, target: second?.path ?? "", openedBy: first.ask },
    packet,
    undefined,
    effects,
  );
}

/** Resolves the request's paths one after the other, then asks. */
function resolveNext(
  machine: SftpMachine,
  request: SftpRequest,
  packet: Uint8Array,
  done: readonly string[],
  effects: SftpEffect[],
): void {
  const next = request.paths[done.length];
  if (next === undefined) return resolved(machine, request, done, effects);
  const path = fromUtf8(next.bytes);
  if (path === undefined || path.includes("\0")) {
    return answer(
      effects,
      encodeStatus(
        request.id,
        Fx.PERMISSION_DENIED,
        "sally: denied: a path that is not UTF-8 cannot be decided",
      ),
    );
  }
  const injected = freeId(machine);
  if (machine.home === undefined) {
    machine.busy = { stage: "resolving", request, packet, id: injected, done };
    return void effects.push({ kind: "toServer", bytes: withLength(encodeRealpath(injected, ".")) });
  }
  if (next.follow === "text") return resolveNext(machine, request, packet, [...done, path], effects);
  machine.busy = { stage: "resolving", request, packet, id: injected, done };
  effects.push({
    kind: "toServer",
    bytes: withLength(encodeRealpath(injected, toResolve(machine.home, request, done, path))),
  });
}

/** The path to give to REALPATH: the whole, or the parent where the last component is acted on itself. */
function toResolve(home: string, request: SftpRequest, done: readonly string[], path: string): string {
  const follow = request.paths[done.length]?.follow ?? "whole";
  return follow === "whole" || lastComponent(path) === undefined
    ? absolute(home, path)
    : parentOf(absolute(home, path));
}

function takeResolution(
  machine: SftpMachine,
  busy: Extract<Busy, { stage: "resolving" }>,
  reply: SftpReply,
  effects: SftpEffect[],
): void {
  const { request, packet, done } = busy;
  machine.busy = undefined;
  const server = reply.kind === "name" && reply.path?.startsWith("/") === true ? reply.path : undefined;
  if (machine.home === undefined) {
    if (server === undefined)
      return violation(machine, "the sftp server does not say where its paths start", effects);
    machine.home = normalise(server);
    resolveNext(machine, request, packet, done, effects);
    return pump(machine, effects);
  }
  const path = fromUtf8(request.paths[done.length]?.bytes ?? new Uint8Array()) ?? "";
  const follow = request.paths[done.length]?.follow ?? "whole";
  if (server === undefined) {
    const status = reply.kind === "status" ? reply : { code: Fx.FAILURE, message: "cannot resolve the path" };
    // Decided under its lexical name, answered with the server's error: never sent.
    const lexical = normalise(absolute(machine.home, path));
    const failure = encodeStatus(
      request.id,
      status.code === Fx.OK ? Fx.FAILURE : status.code,
      status.message,
    );
    return ask(machine, request, roles(request, [...done, lexical]), undefined, failure, effects);
  }
  const last = follow === "parent" ? lastComponent(path) : undefined;
  const canonical = last === undefined ? normalise(server) : normalise(`${server}/${last}`);
  resolveNext(machine, request, packet, [...done, canonical], effects);
  pump(machine, effects);
}

function resolved(
  machine: SftpMachine,
  request: SftpRequest,
  paths: readonly string[],
  effects: SftpEffect[],
): void {
  switch (request.operation) {
    case "realpath": {
      const original = fromUtf8(request.paths[0]?.bytes ?? new Uint8Array());
      const name = encodeName(request.id, paths[0] ?? "/");
      // Where the session starts is no secret, and every client asks it first.
      if (original === "" || original === ".") return answer(effects, name);
      return ask(machine, request, roles(request, paths), undefined, name, effects);
    }
    case "symlink": {
      // The text of the link goes as it is. Who reads through the link later is decided then, under its real path.
      const [text = "", link = ""] = paths;
      const target = normalise(absolute(parentOf(link), text));
      return ask(
        machine,
        request,
        { path: link, target, openedBy: undefined },
        withPaths(request, [text, link]),
        undefined,
        effects,
      );
    }
    default:
      return ask(machine, request, roles(request, paths), withPaths(request, paths), undefined, effects);
  }
}

/** Which of the paths is acted on. For a link it is the new name (the second), for a rename the old one. */
function roles(
  request: SftpRequest,
  paths: readonly string[],
): Pick<SftpAsk, "path" | "target" | "openedBy"> {
  const [first = "", second = ""] = paths;
  return request.operation === "symlink" || request.operation === "hardlink"
    ? { path: second, target: first, openedBy: undefined }
    : { path: first, target: second, openedBy: undefined };
}

function ask(
  machine: SftpMachine,
  request: SftpRequest,
  facts: Pick<SftpAsk, "path" | "target" | "openedBy">,
  send: Uint8Array | undefined,
  instead: Uint8Array | undefined,
  effects: SftpEffect[],
): void {
  const number = machine.nextAsk;
  machine.nextAsk += 1;
  const opens = request.operation === "open" || request.operation === "opendir";
  machine.busy = {
    stage: "asked",
    id: request.id,
    ask: number,
    path: facts.path,
    opens,
    send,
    answer: instead,
  };
  effects.push({
    kind: "ask",
    ask: number,
    request: {
      operation: request.operation,
      reads: request.reads,
      writes: request.writes,
      ...facts,
      length: request.length,
    },
  });
}

function takeVerdict(
  machine: SftpMachine,
  number: number,
  refusal: Refusal | undefined,
  effects: SftpEffect[],
): void {
  const busy = machine.busy;
  if (busy?.stage !== "asked" || busy.ask !== number) return;
  machine.busy = undefined;
  if (refusal !== undefined) {
    const text = refusal.hint === undefined ? refusal.message : `${refusal.message} (${refusal.hint})`;
    answer(effects, encodeStatus(busy.id, Fx.PERMISSION_DENIED, `sally: ${text}`));
  } else if (busy.send !== undefined) {
    if (busy.opens && machine.handles.size >= LIMITS.sftp.handles) {
      answer(effects, encodeStatus(busy.id, Fx.FAILURE, "sally: too many open files"));
    } else {
      forward(
        machine,
        busy.id,
        busy.send,
        busy.opens ? { path: busy.path, ask: busy.ask } : undefined,
        effects,
      );
    }
  } else if (busy.answer !== undefined) {
    answer(effects, busy.answer);
  }
  pump(machine, effects);
}

function forward(
  machine: SftpMachine,
  id: number,
  packet: Uint8Array,
  opens: Outstanding["opens"],
  effects: SftpEffect[],
): void {
  machine.outstanding.set(id, { opens });
  effects.push({ kind: "toServer", bytes: withLength(packet) });
}

function answer(effects: SftpEffect[], packet: Uint8Array): void {
  effects.push({ kind: "toClient", bytes: withLength(packet) });
}

function takeServer(machine: SftpMachine, bytes: Uint8Array, effects: SftpEffect[]): void {
  const packets = frame(machine.fromServer, bytes);
  if (!packets.ok) return violation(machine, `sftp server: ${packets.error}`, effects);
  for (const packet of packets.value) {
    if (machine.phase === "version") {
      const version = decodeVersion(packet);
      if (version?.version !== 3)
        return violation(machine, "the sftp server does not speak version 3", effects);
      machine.phase = "ready";
      answer(
        effects,
        encodeVersion(
          3,
          version.extensions.filter(([name]) => isKnownExtension(name)),
        ),
      );
      pump(machine, effects);
      continue;
    }
    if (machine.phase !== "ready") return violation(machine, "the sftp server speaks before INIT", effects);
    const reply = decodeReply(packet);
    if (!reply.ok) return violation(machine, `sftp server: ${reply.error}`, effects);
    const id = packetId(packet);
    const busy = machine.busy;
    if (busy?.stage === "resolving" && busy.id === id) {
      takeResolution(machine, busy, reply.value, effects);
      continue;
    }
    const outstanding = machine.outstanding.get(id);
    if (outstanding === undefined)
      return violation(machine, "the sftp server answers what was not asked", effects);
    machine.outstanding.delete(id);
    if (reply.value.kind === "handle") {
      if (outstanding.opens === undefined)
        return violation(machine, "the sftp server gives a handle that was not asked for", effects);
      machine.handles.set(handleKey(reply.value.handle), outstanding.opens);
    }
    effects.push({ kind: "toClient", bytes: withLength(packet) });
    pump(machine, effects);
  }
}

/** An id for our own request that no request of the client uses. */
function freeId(machine: SftpMachine): number {
  let id = 0xf0000000;
  while (machine.outstanding.has(id)) id += 1;
  return id;
}

function handleKey(handle: Uint8Array): string {
  return Array.from(handle, (value) => value.toString(16).padStart(2, "0")).join("");
}

function absolute(home: string, path: string): string {
  return path.startsWith("/") ? path : path === "" ? home : `${home}/${path}`;
}

/** The last component where it names an entry of its parent; undefined for `.`, `..` and the root. */
function lastComponent(path: string): string | undefined {
  const last = path.replace(/\/+$/, "").split("/").at(-1);
  return last === undefined || last === "" || last === "." || last === ".." ? undefined : last;
}

function parentOf(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  const slash = trimmed.lastIndexOf("/");
  return slash <= 0 ? "/" : trimmed.slice(0, slash);
}

/** Removes `.`, empty components and `..` from an absolute path, by its text alone. */
export function normalise(path: string): string {
  const kept: string[] = [];
  for (const component of path.split("/")) {
    if (component === "" || component === ".") continue;
    if (component === "..") kept.pop();
    else kept.push(component);
  }
  return `/${kept.join("/")}`;
}
