/** A session's side of approvals: asking for one, describing what it is for, taking it up, withdrawing it. */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, ok } from "../../../wire/result.ts";
import { type Bindings, approvalAddress, controlOf } from "../../env.ts";
import { otherParties } from "../../policy/authority.ts";
import { reasonIn } from "../../policy/approval-reason.ts";
import type { Estimate } from "../../policy/approval.ts";
import type { HoldAnswer } from "../control/types.ts";
import { attempt } from "./attempt.ts";
import type { Hold, HoldStart } from "./driver.ts";
import { earlierOperations } from "./earlier.ts";
import type { Journal } from "./journal.ts";
import type { Standing } from "./standing.ts";

/** Events among which the last operations are looked for, for reviewers. */
const EARLIER_EVENTS = 60;

export class ApprovalRequests {
  readonly #env: Bindings;
  readonly #standing: Standing;
  readonly #journal: Journal;

  constructor(env: Bindings, standing: Standing, journal: Journal) {
    this.#env = env;
    this.#standing = standing;
    this.#journal = journal;
  }

  async open(hold: Hold): Promise<HoldStart> {
    const started = await attempt(this.#open(hold).then((start) => ok(start)));
    return started.ok ? started.value : { state: "refused", refusal: started.error };
  }

  async #open(hold: Hold): Promise<HoldStart> {
    const { grant, resource: configured } = this.#standing;
    const { session, principal: requester, resource } = grant;
    const { noWait = grant.noWait } = hold;
    // Comments are known of SQL only.
    const said = configured.protocol === "postgres" ? reasonIn(hold.operation.text) : undefined;
    const reason = said ?? hold.reason ?? grant.reason;
    const task = grant.tasks.at(-1);
    const { granted, approval, opened }: HoldAnswer = await controlOf(this.#env).hold({
      session,
      resource,
      requester,
      parties: otherParties(grant),
      ...(task === undefined ? {} : { task: task.id }),
      operation: hold.operation,
      requirements: hold.decision.requirements,
      policies: hold.decision.policies,
      ...(reason === undefined ? {} : { reason }),
      before: earlierOperations(this.#journal.recent(EARLIER_EVENTS)),
      waiting: !noWait,
      expiresAt: Math.min(
        hold.expiresAt,
        Date.now() + (configured.approvalExpires ?? Number.POSITIVE_INFINITY),
      ),
    });
    const { id } = approval;
    if (granted) return { state: "granted", approval: id };
    const about = opened === true ? { opened } : {};
    const url = approvalAddress(this.#env, id);
    if (!noWait) return { ...about, state: "waiting", approval: id, url };
    const groups = hold.decision.requirements.map(({ group }) => group).join(" and ");
    return {
      ...about,
      state: "refused",
      refusal: refusal("approval_required", `this needs the approval of ${groups}: ${id}`, {
        hint: `send the same again after somebody of ${groups} has approved it (sally approvals approve ${id})`,
        approval: id,
      }),
    };
  }

  /** Reviewers decide without it when it does not arrive. */
  async describe(approval: string, estimate: Estimate): Promise<void> {
    const told = controlOf(this.#env).describeApproval(approval, this.#standing.grant.session, estimate);
    await told.catch(() => undefined);
  }

  async use(approval: string): Promise<Result<void, Refusal>> {
    return attempt(controlOf(this.#env).useApproval(approval, this.#standing.grant.session));
  }

  async withdraw(approval: string): Promise<void> {
    await controlOf(this.#env).withdrawApproval(approval, this.#standing.grant.session);
  }

  /** The session has lost what it knew: what it waited for stays open for the retry. */
  async orphan(): Promise<void> {
    await controlOf(this.#env).orphanApprovals(this.#standing.grant.session);
  }
}
