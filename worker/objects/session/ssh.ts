/**
 * The driver of an SSH session: the transport decrypts (ssh-transport.ts), the pure SshMachine speaks the
 * protocol (wire/ssh/machine.ts), and what it asks becomes decisions, holds and records here.
 *
 *   ask ──► deny ─► record, refuse
 *           allow ─► record, open the channel (or let the SFTP request pass)
 *           hold ─► record, notice on standard error, wait ─► decide again ─► record, open
 *
 * Inputs are worked off one after the other: an effect may bring the next input, and the order in which the
 * client sees things must stay that of the effects.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import type { Result } from "../../../wire/result.ts";
import { fromBase64, toBase64 } from "../../../wire/ssh/base64.ts";
import { newSshMachine, reserveChannel } from "../../../wire/ssh/machine-state.ts";
import { stepSsh } from "../../../wire/ssh/machine.ts";
import type { SshAsk, SshEffect, SshInput, SshTarget } from "../../../wire/ssh/machine-types.ts";
import { SshForwarded } from "../../../wire/ssh/open.ts";
import { isFileTransfer, sshOperation } from "../../policy/ssh/operations.ts";
import type { Decision, Operation } from "../../policy/types.ts";
import type { ApprovalOutcome } from "../control/types.ts";
import { sshHostKey } from "../snapshot.ts";
import type { SessionDriver, SessionHost } from "./driver.ts";
import { actionsOf } from "./holding.ts";
import { type DetectorAction, UpstreamChannel } from "./ssh-channel.ts";
import { SshHolds } from "./ssh-holds.ts";
import { SshTransport } from "./ssh-transport.ts";

/** Room for the client's data that is worth telling the machine about. */
const ROOM_STEP = 256 << 10;

type Work = { readonly input: SshInput } | { readonly effect: SshEffect };

export class SshDriver implements SessionDriver {
  readonly #host: SessionHost;
  readonly #machine = newSshMachine();
  readonly #transport: SshTransport;
  readonly #channels = new Map<number, UpstreamChannel>();
  readonly #holds: SshHolds;
  /** Asks that are not answered yet. */
  readonly #asking = new Set<number>();
  /** Remote forwards that were approved: the approval covers the connections on their port. */
  readonly #approvedForwards = new Set<number>();
  /** SFTP opens that were approved: the approval covers what is done with their handle. */
  readonly #approvedOpens = new Set<number>();
  /** First reads and writes through a handle are recorded, the rest counted (see `#recordOperation`). */
  readonly #transfers = new Set<string>();
  #dialing: Promise<Result<void, Refusal>> | undefined;
  #work: Work[] = [];
  #working = false;
  #starting = false;
  #ended = false;
  #owedToClient = 0;

  constructor(host: SessionHost) {
    this.#host = host;
    this.#holds = new SshHolds(host, {
      isAsking: (ask) => !this.#ended && this.#asking.has(ask.id),
      login: () => this.#login,
      notice: (ask, text) => this.#run({ kind: "notice", id: ask.id, text }),
      pass: (ask, operation, decision, approval) => this.#pass(ask, operation, decision, approval),
      refuse: (ask, why, operation, decision) => this.#refuse(ask, why, operation, decision),
    });
    this.#transport = new SshTransport(sshHostKey(), {
      write: (bytes) => host.toClient(bytes),
      payload: (payload) => this.#run({ kind: "clientPayload", payload }),
      negotiated: (algorithms) => this.#negotiated(algorithms),
      failed: (reason) => this.#end(refusal("protocol_violation", `the SSH connection failed: ${reason}`)),
    });
  }

  readonly processId = 0;
  readonly reserves = true;
  #algorithms: Record<string, unknown> = {};

  // What happens to the driver.

  clientBytes(bytes: Uint8Array): void {
    this.#owedToClient += bytes.length;
    // SSH's own windows bound what can pile up behind this.
    this.#transport.receive(bytes);
  }

  clientEnded(): void {
    this.#run({ kind: "clientEnded" });
  }

  terminate(why: Refusal): void {
    if (this.#ended) return;
    // Whatever waits is not worth anything any more, and a session that is starting must end too.
    this.#work = [];
    this.#starting = false;
    this.#run({ kind: "terminate", refusal: why });
    if (!this.#ended) this.#end(why);
  }

  configChanged(): void {
    // Nothing is kept of the configuration: the next operation meets the new one.
  }

  cancel(): boolean {
    return false;
  }

  /** The transport's keys cannot be written down, so a live SSH session stays in memory. */
  freeze(): undefined {
    return undefined;
  }

  pump(): void {
    if (this.#owedToClient > 0 && !this.#starting) {
      this.#host.clientConsumed(this.#owedToClient);
      this.#owedToClient = 0;
    }
    if (this.#ended) return;
    const inputs: SshInput[] = [];
    const room = Math.max(0, LIMITS.ssh.clientBacklog - this.#host.clientQueued());
    if (room - this.#machine.clientRoom >= ROOM_STEP) inputs.push({ kind: "clientRoom", bytes: room });
    for (const [id, channel] of this.#channels) {
      const sent = channel.takeSent();
      if (sent > 0) inputs.push({ kind: "upstreamSent", channel: id, bytes: sent });
    }
    if (inputs.length === 0) return;
    // A turn of its own: what this delivers has to be recorded before it is sent.
    this.#host.turn(() => {
      for (const input of inputs) this.#run(input);
    });
  }

  approvalDecided(outcome: ApprovalOutcome): boolean {
    return this.#holds.decided(outcome);
  }

  // The machine.

  #run(input: SshInput): void {
    this.#work.push({ input });
    this.#drain();
  }

  #drain(): void {
    if (this.#working) return;
    this.#working = true;
    try {
      while (!this.#starting) {
        const next = this.#work.shift();
        if (next === undefined) break;
        if ("effect" in next) this.#do(next.effect);
        else this.#work.unshift(...stepSsh(this.#machine, next.input).map((effect) => ({ effect })));
      }
      if (!this.#starting) for (const channel of this.#channels.values()) channel.log.flush();
    } finally {
      this.#working = false;
    }
  }

  #do(effect: SshEffect): void {
    const host = this.#host;
    switch (effect.kind) {
      case "send":
        this.#transport.send(effect.payload);
        return;
      case "ask":
        this.#ask(effect.ask);
        return;
      case "withdrawn":
        this.#asking.delete(effect.id);
        this.#holds.withdraw(effect.id, "the client gave up");
        return;
      case "authenticated":
        this.#starting = true;
        void this.#start(effect.user);
        return;
      case "open":
        void this.#open(effect.channel, effect.target);
        return;
      case "toUpstream":
        this.#channels.get(effect.channel)?.send(effect.bytes);
        return;
      case "endUpstream":
        this.#channels.get(effect.channel)?.end();
        return;
      case "closeUpstream":
        this.#channels.get(effect.channel)?.close();
        return;
      case "signalUpstream":
        if (effect.signal.type === "signal")
          host.record({ type: "signal", channel: effect.channel, signal: effect.signal.signal });
        this.#channels.get(effect.channel)?.signal(effect.signal);
        return;
      case "acceptForwarded":
        this.#channels.get(effect.channel)?.accept();
        return;
      case "consumed":
        this.#channels.get(effect.channel)?.consumed(effect.credit);
        return;
      case "delivered":
        this.#channels.get(effect.channel)?.log.output(effect.stream, effect.bytes);
        return;
      case "received":
        this.#channels.get(effect.channel)?.log.input(effect.bytes);
        return;
      case "resized":
        host.record({ type: "resize", channel: effect.channel, columns: effect.columns, rows: effect.rows });
        return;
      case "refused":
        return;
      case "declined":
        host.record({ type: "declined", what: effect.what });
        return;
      case "ended":
        this.#channelEnded(effect.channel, effect.exit);
        return;
      case "end":
        this.#end(effect.refusal);
        return;
    }
  }

  #negotiated({
    kex,
    cs,
    sc,
    serverHostKey,
  }: {
    kex: string;
    serverHostKey: string;
    cs: { cipher: string; mac: string };
    sc: { cipher: string; mac: string };
  }): void {
    this.#algorithms = {
      kex,
      hostKey: serverHostKey,
      cipher: [cs.cipher, sc.cipher],
      mac: [cs.mac, sc.mac],
      strict: this.#transport.strict,
    };
  }

  // Starting.

  async #start(user: string): Promise<void> {
    const started = await this.#host.start({
      type: "session",
      protocol: "ssh",
      client: { user, ...this.#algorithms },
    });
    this.#host.turn(() => {
      if (this.#ended || !this.#starting) return;
      this.#starting = false;
      if (!started.ok) return this.terminate(started.error);
      this.#transport.authenticated();
      this.#drain();
    });
  }

  /** The login name at the server: the client's, where the configuration lets it choose, else the first listed. */
  get #login(): string {
    const logins = this.#host.resource.logins ?? [];
    const { user } = this.#machine;
    return logins.includes(user) ? user : (logins[0] ?? "");
  }

  async #open(id: number, target: SshTarget): Promise<void> {
    const channel = this.#newChannel(id, target);
    this.#channels.set(id, channel);
    // One dial-back serves all channels that are opened while it is under way.
    this.#dialing ??= this.#host.dialBack().finally(() => (this.#dialing = undefined));
    const dialed = await this.#dialing;
    this.#host.turn(() => {
      if (this.#ended) return;
      // The client may have closed it while the connector dialled.
      if (this.#channels.get(id) !== channel || this.#machine.channels.get(id)?.phase !== "opening") return;
      if (!dialed.ok) {
        this.#openFailed(id, dialed.error);
        return;
      }
      const { resource, grant } = this.#host;
      const login = this.#login;
      const payload = {
        protocol: "ssh",
        resource: resource.name,
        session: grant.session,
        ...(login === "" ? {} : { login }),
        target,
      };
      const incoming =
        target.kind === "remoteForward"
          ? (number: number, connection: unknown) => this.#forwarded(id, target, number, connection)
          : undefined;
      const opened = channel.open(payload, (input) => this.#run(input), incoming);
      if (!opened.ok) this.#openFailed(id, opened.error);
    });
  }

  /** A connection on a remote forward: decided anew, as policy may have changed since the port was opened. */
  #forwarded(
    forward: number,
    { host, port }: Extract<SshTarget, { kind: "remoteForward" }>,
    number: number,
    payload: unknown,
  ): void {
    const connection = SshForwarded.safeParse(payload);
    const operation = sshOperation(
      { kind: "remoteForward", id: 0, channel: forward, host, port },
      this.#login,
    );
    const decision = this.#host.decide(operation);
    const held = decision.effect === "hold" && !this.#approvedForwards.has(forward);
    if (!connection.success || held || decision.effect === "deny") {
      const code =
        decision.effect === "deny"
          ? decision.refusal.code
          : held
            ? "approval_required"
            : "protocol_violation";
      this.#host.record({ type: "connection_refused", forward, text: operation.text, code });
      this.#host.closeChannel(number);
      return;
    }
    const { originHost, originPort } = connection.data;
    const id = reserveChannel(this.#machine);
    const channel = new UpstreamChannel(
      this.#host,
      id,
      { kind: "forward", host, port, originHost, originPort },
      this.#host.resource.recordResultBytes,
    );
    this.#channels.set(id, channel);
    this.#host.record({
      type: "connection",
      channel: id,
      forward,
      text: operation.text,
      originHost,
      originPort,
    });
    channel.take(number, (input) => this.#run(input));
    this.#run({ kind: "upstreamForwarded", channel: id, forward, originHost, originPort });
  }

  #newChannel(id: number, target: SshTarget): UpstreamChannel {
    const terminal = "terminal" in target && target.terminal !== undefined;
    const keep = terminal
      ? Number.POSITIVE_INFINITY
      : target.kind === "sftp"
        ? 0
        : this.#host.resource.recordResultBytes;
    return new UpstreamChannel(this.#host, id, target, keep, this.#detectorAction(target));
  }

  /** Detectors look at what programs print, unless the principal may reveal everything (relation and column `*`). */
  #detectorAction(target: SshTarget): DetectorAction | undefined {
    const { detectors } = this.#host.resource;
    const prints =
      target.kind === "shell" ||
      (target.kind === "exec" && !isFileTransfer(fromBase64(target.command) ?? new Uint8Array()));
    return detectors === "off" || !prints || this.#host.reveals("*", "*") ? undefined : detectors;
  }

  #openFailed(id: number, why: Refusal): void {
    this.#host.record({ type: "open_failed", channel: id, code: why.code, reason: why.message });
    this.#host.notify({ type: "refused", code: why.code, message: why.message });
    this.#run({ kind: "upstreamOpenFailed", channel: id, refusal: why });
  }

  #channelEnded(
    id: number,
    exit: { readonly status: number } | { readonly signal: string } | undefined,
  ): void {
    const channel = this.#channels.get(id);
    if (channel === undefined) return;
    channel.log.flush();
    this.#host.record({
      type: "channel",
      channel: id,
      ...(exit === undefined ? {} : { exit }),
      ...channel.log.summary(),
    });
    this.#channels.delete(id);
  }

  // Asking.

  #ask(ask: SshAsk): void {
    this.#asking.add(ask.id);
    const operation = sshOperation(ask, this.#login);
    const decision = this.#host.decide(operation);
    if (decision.effect === "deny") this.#refuse(ask, decision.refusal, operation, decision);
    else if (decision.effect === "allow" || this.#coveredByOpen(ask)) this.#pass(ask, operation, decision);
    else void this.#holds.hold(ask, operation, decision);
  }

  /** Reading through a handle needs no second approval when its opening had one. */
  #coveredByOpen(ask: SshAsk): boolean {
    return (
      ask.kind === "sftp" &&
      ask.request.openedBy !== undefined &&
      this.#approvedOpens.has(ask.request.openedBy)
    );
  }

  /** Takes the operation out of the budget of the session's task, where there is one, and lets it through. */
  #pass(ask: SshAsk, operation: Operation, decision: Decision, approval?: string): void {
    const again = ask.kind === "sftp" && this.#transfers.has(transferKey(ask));
    const reserved = again ? undefined : this.#host.reserve(() => 1);
    if (reserved === undefined) {
      this.#forward(ask, operation, decision, approval);
      return;
    }
    void reserved.then((taken) =>
      this.#host.turn(() => {
        if (this.#ended || !this.#asking.has(ask.id)) return;
        if (taken.ok) this.#forward(ask, operation, decision, approval);
        else this.#refuse(ask, taken.error, operation, decision);
      }),
    );
  }

  #forward(ask: SshAsk, operation: Operation, decision: Decision, approval?: string): void {
    this.#asking.delete(ask.id);
    this.#recordOperation(ask, operation, decision, approval);
    if (ask.kind === "sftp" && approval !== undefined) this.#approvedOpens.add(ask.id);
    if (ask.kind === "remoteForward" && approval !== undefined) this.#approvedForwards.add(ask.channel);
    this.#run({ kind: "verdict", verdict: { id: ask.id, effect: "forward" } });
  }

  #refuse(ask: SshAsk, why: Refusal, operation = sshOperation(ask, this.#login), decision?: Decision): void {
    this.#asking.delete(ask.id);
    const host = this.#host;
    const effect = why.code === "approval_required" ? "hold" : "deny";
    host.record({
      type: "refusal",
      operation: ask.id,
      channel: ask.channel,
      message: ask.kind,
      text: operation.text,
      ...actionsOf(operation),
      decision: { effect, ...(decision === undefined ? {} : { policies: decision.policies }) },
      code: why.code,
      reason: why.message,
      ...(why.approval === undefined ? {} : { approval: why.approval }),
    });
    host.count("denied", effect === "deny" ? 1 : 0);
    const about = why.approval === undefined ? {} : { approval: why.approval };
    host.notify({ type: "refused", code: why.code, message: why.message, ...about });
    this.#run({ kind: "verdict", verdict: { id: ask.id, effect: "refuse", refusal: why } });
  }

  #recordOperation(
    ask: SshAsk,
    operation: Operation,
    decision: Decision,
    approval: string | undefined,
  ): void {
    if (ask.kind === "sftp" && approval === undefined && this.#sameTransfer(ask)) return;
    this.#host.count("operations", 1);
    this.#host.record({
      type: "operation",
      operation: ask.id,
      channel: ask.channel,
      kind: ask.kind,
      text: operation.text,
      ...(ask.kind === "exec" ? { command: toBase64(ask.command) } : {}),
      ...("terminal" in ask ? { terminal: this.#terminalOf(ask.channel), environment: ask.environment } : {}),
      ...actionsOf(operation),
      decision: { effect: decision.effect, policies: decision.policies },
      ...(approval === undefined ? {} : { approval }),
    });
  }

  /** What the recording says of a channel's terminal: false where there is none. */
  #terminalOf(channel: number): false | { term: string; columns: number; rows: number } {
    const terminal = this.#machine.channels.get(channel)?.terminal;
    if (terminal === undefined) return false;
    const { term, columns, rows } = terminal;
    return { term, columns, rows };
  }

  /** A file is read or written in many requests: the first of each kind on each open file stands for them. */
  #sameTransfer(ask: Extract<SshAsk, { kind: "sftp" }>): boolean {
    const { operation, openedBy } = ask.request;
    if (openedBy === undefined || !["read", "write", "readdir"].includes(operation)) return false;
    const key = transferKey(ask);
    if (this.#transfers.has(key)) return true;
    this.#transfers.add(key);
    return false;
  }

  // Ending.

  #end(why: Refusal | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#work = [];
    this.#holds.withdrawAll(why?.message ?? "the session has ended");
    for (const [id] of this.#channels) this.#channelEnded(id, undefined);
    this.#transport.close();
    this.#host.end(why);
  }
}

function transferKey({ request }: Extract<SshAsk, { kind: "sftp" }>): string {
  return `${request.openedBy ?? ""} ${request.operation}`;
}
