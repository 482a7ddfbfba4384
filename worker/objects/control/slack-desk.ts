/**
 * Buttons pressed in Slack. Slack's signature says that it was Slack, the configuration says who in Slack is
 * who at an identity provider, and that person has to have proven here who they are not long ago: with the
 * groups of then, less what was taken from them since.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { type SlackPress, readSlackPress, verifySlackRequest } from "../../identity/slack.ts";
import type { Approval } from "../../policy/approval.ts";
import { type NotificationTarget, type SlackTarget, slackMessage } from "../../policy/notification.ts";
import type { Principal } from "../../policy/types.ts";
import type { Verdict } from "./approval-desk.ts";
import type { People } from "./people.ts";

export type SlackHost = {
  readonly targets: () => readonly NotificationTarget[];
  readonly secret: (name: string) => string | undefined;
  readonly people: People;
  /** The person with the groups they still have; undefined when nothing of theirs from `at` counts any more. */
  readonly current: (principal: Principal, at: number) => Principal | undefined;
  readonly decide: (principal: Principal, id: string, verdict: Verdict) => Promise<Result<Approval, Refusal>>;
  readonly link: (approval: string) => string;
  readonly later: (work: Promise<void>) => void;
};

export class SlackDesk {
  readonly #sql: SqlStorage;
  readonly #host: SlackHost;

  constructor(sql: SqlStorage, host: SlackHost) {
    this.#sql = sql;
    this.#host = host;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS slack_seen (signature TEXT PRIMARY KEY, forget_at INTEGER NOT NULL)",
    );
  }

  /** Refuses what Slack has not signed just now, or what was sent before; the rest Slack's user is told. */
  async press(
    headers: { readonly signature: string | undefined; readonly timestamp: string | undefined },
    body: string,
    now: number,
  ): Promise<Result<void, Refusal>> {
    const target = await this.#verify(headers, body, now);
    if (!target.ok) return target;
    const press = readSlackPress(body);
    if (!press.ok) return err(refusal("request_invalid", "this is not a button of ours"));
    const decided = await this.#decide(target.value, press.value, now);
    this.#host.later(this.#answer(target.value, press.value, decided));
    return ok(undefined);
  }

  async #verify(
    headers: { readonly signature: string | undefined; readonly timestamp: string | undefined },
    body: string,
    now: number,
  ): Promise<Result<SlackTarget, Refusal>> {
    for (const target of this.#host.targets()) {
      if (target.type !== "slack" || target.signingSecret === undefined) continue;
      const secret = this.#host.secret(target.signingSecret);
      if (secret === undefined) continue;
      const verified = await verifySlackRequest(headers, body, secret, now);
      if (!verified.ok) continue;
      this.#sql.exec("DELETE FROM slack_seen WHERE forget_at < ?", now);
      const { signature, forgetAt } = verified.value;
      const first =
        this.#sql.exec("INSERT OR IGNORE INTO slack_seen VALUES (?, ?)", signature, forgetAt).rowsWritten > 0;
      return first ? ok(target) : err(refusal("token_invalid", "this request has been received already"));
    }
    return err(refusal("token_invalid", "this request is not signed by a Slack app that is configured here"));
  }

  async #decide(
    target: SlackTarget,
    { user, verdict, approval, hash }: SlackPress,
    now: number,
  ): Promise<Result<Approval, Refusal>> {
    const person = Object.hasOwn(target.people, user) ? target.people[user] : undefined;
    if (person === undefined) {
      const message = `your Slack user ${user} is nobody here; an administrator can map it`;
      return err(refusal("approval_not_reviewer", message));
    }
    const seen = this.#host.people.get(person.issuer, person.subject);
    const fresh = seen !== undefined && now - seen.at <= target.identityAge;
    const principal = fresh ? this.#host.current(seen.principal, seen.at) : undefined;
    if (principal === undefined) {
      const hint = "then press the button again, or decide in the console";
      return err(refusal("token_expired", "log in to Sallyport first (sally login)", { hint }));
    }
    return this.#host.decide(principal, approval, { verdict, hash, channel: `slack ${target.name} ${user}` });
  }

  /** The message shows what became of it, or the person alone is told why not. Nothing depends on it. */
  async #answer(target: SlackTarget, press: SlackPress, decided: Result<Approval, Refusal>): Promise<void> {
    const own = URL.parse(this.#host.secret(target.url) ?? "")?.origin;
    // Signed by Slack, and still: no request to anywhere but where the messages go.
    if (press.responseUrl === undefined || URL.parse(press.responseUrl)?.origin !== own) return;
    const body = decided.ok
      ? { replace_original: true, ...this.#shown(decided.value) }
      : {
          replace_original: false,
          response_type: "ephemeral",
          text: `${decided.error.message}${decided.error.hint === undefined ? "" : ` (${decided.error.hint})`}`,
        };
    try {
      const response = await fetch(press.responseUrl, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        redirect: "manual",
        signal: AbortSignal.timeout(LIMITS.approvals.deliveryTime),
      });
      await response.body?.cancel();
    } catch {
      console.warn("the answer to a button in Slack could not be sent");
    }
  }

  #shown(approval: Approval): object {
    const event =
      approval.status === "denied" ? "denied" : approval.status === "pending" ? "requested" : "approved";
    return slackMessage({ event, approval, url: this.#host.link(approval.id) }, true);
  }
}
