/**
 * Holding one operation of an SSH session in place (DESIGN section 6): the machine has parked it, the client is
 * told on standard error, and it goes on when the Control object says how reviewers decided.
 *
 *   hold ──► granted: an approval was there ──────────────► pass
 *     │────► refused: the client does not wait ───────────► refuse
 *     └────► waiting ─► approved ─► decided anew ─────────► pass, or refuse if policy has changed
 *                    ├► denied, expired ──────────────────► refuse
 *                    └► Ctrl-C, client gone, session over ► withdrawn
 */
import { createHash } from "node:crypto";
import { LIMITS } from "../../../wire/limits.ts";
import type { Refusal } from "../../../wire/refusals.ts";
import { toBase64 } from "../../../wire/ssh/base64.ts";
import type { SshAsk } from "../../../wire/ssh/machine-types.ts";
import type { HeldOperation } from "../../policy/approval.ts";
import { sshOperation } from "../../policy/ssh/operations.ts";
import type { Decision, HoldRequirement, Operation } from "../../policy/types.ts";
import type { ApprovalOutcome } from "../control/types.ts";
import type { SessionHost } from "./driver.ts";
import { actionsOf, changedSince, heldMessages, outcomeRefusal, remind } from "./holding.ts";

/** What the driver does on behalf of a held operation. */
export type HoldActions = {
  /** Somebody still waits for the answer. */
  readonly isAsking: (ask: SshAsk) => boolean;
  readonly login: () => string;
  readonly notice: (ask: SshAsk, text: string) => void;
  readonly pass: (ask: SshAsk, operation: Operation, decision: Decision, approval: string) => void;
  readonly refuse: (ask: SshAsk, why: Refusal, operation?: Operation, decision?: Decision) => void;
};

type Held = {
  readonly ask: SshAsk;
  readonly approval: string;
  readonly requirements: readonly HoldRequirement[];
  readonly since: number;
  readonly reminder: ReturnType<typeof setInterval>;
};

export class SshHolds {
  readonly #host: SessionHost;
  readonly #actions: HoldActions;
  readonly #held = new Map<number, Held>();

  constructor(host: SessionHost, actions: HoldActions) {
    this.#host = host;
    this.#actions = actions;
  }

  /** The outcome of an approval; false when nothing waits for it. */
  decided(outcome: ApprovalOutcome): boolean {
    const held = [...this.#held.values()].find(({ approval }) => approval === outcome.approval);
    if (held === undefined) return false;
    this.#unhold(held);
    const { ask } = held;
    this.#host.record({
      type: "approval",
      operation: ask.id,
      ...outcome,
      waited: this.#host.now() - held.since,
    });
    const why = outcomeRefusal(outcome);
    if (why === undefined) {
      void this.#resume(held);
      return true;
    }
    this.#actions.refuse(ask, why);
    return true;
  }

  async hold(
    ask: SshAsk,
    operation: Operation,
    decision: Extract<Decision, { effect: "hold" }>,
  ): Promise<void> {
    const host = this.#host;
    const held = this.#heldOperation(ask, operation);
    host.count("held", 1);
    host.record({
      type: "hold",
      operation: ask.id,
      channel: ask.channel,
      text: held.text,
      ...actionsOf(operation),
      hash: held.hash,
      requirements: decision.requirements,
      policies: decision.policies,
    });
    const started = await host.hold({
      operation: held,
      decision,
      expiresAt: host.now() + LIMITS.time.approval,
    });
    host.turn(() => {
      if (!this.#actions.isAsking(ask)) {
        if (started.state === "waiting") host.withdraw(started.approval);
        return;
      }
      if (started.state === "refused") return this.#actions.refuse(ask, started.refusal, operation, decision);
      if (started.state === "granted") return this.#actions.pass(ask, operation, decision, started.approval);
      const { approval, url } = started;
      this.#held.set(ask.id, {
        ask,
        approval,
        requirements: decision.requirements,
        since: host.now(),
        reminder: remind(host, decision, approval, (text) => this.#notice(ask, text)),
      });
      host.notify({ type: "held", approval, url, waiting: true });
      for (const text of heldMessages(decision, approval)) this.#notice(ask, text);
    });
  }

  #notice(ask: SshAsk, text: string): void {
    if (this.#actions.isAsking(ask)) this.#actions.notice(ask, text);
  }

  /** The operation was approved: it is decided anew, as policy may have changed while it waited. */
  async #resume(held: Held): Promise<void> {
    const used = await this.#host.useApproval(held.approval);
    this.#host.turn(() => {
      const { ask } = held;
      if (!this.#actions.isAsking(ask)) return;
      if (!used.ok) return this.#actions.refuse(ask, used.error);
      const operation = sshOperation(ask, this.#actions.login());
      const decision = this.#host.decide(operation);
      const why = changedSince(held.requirements, decision);
      if (why !== undefined) return this.#actions.refuse(ask, why, operation, decision);
      this.#actions.pass(ask, operation, decision, held.approval);
    });
  }

  #unhold(held: Held): void {
    clearInterval(held.reminder);
    this.#held.delete(held.ask.id);
  }

  withdrawAll(why: string): void {
    for (const id of [...this.#held.keys()]) this.withdraw(id, why);
  }

  /** Nobody waits for operation `id` any more, held or not. */
  withdraw(id: number, why: string): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    this.#unhold(held);
    this.#host.record({ type: "withdrawn", operation: id, approval: held.approval, reason: why });
    this.#host.withdraw(held.approval);
  }

  /** The operation as reviewers see it, bound to its exact bytes and circumstances by its hash. */
  #heldOperation(ask: SshAsk, operation: Operation): HeldOperation {
    const { resource } = this.#host;
    const exact = ask.kind === "exec" ? { ...ask, command: toBase64(ask.command) } : ask;
    const { id: _id, channel: _channel, ...what } = exact;
    const request = "request" in what ? { ...what, request: { ...what.request, openedBy: undefined } } : what;
    const hash = createHash("sha256").update(
      JSON.stringify([resource.name, resource.protocol, this.#actions.login(), request]),
    );
    return {
      action: [...new Set(operation.actions.map(({ action }) => action))],
      text: operation.text,
      hash: hash.digest("hex"),
    };
  }
}
