/**
 * Telling people outside of an approval: which targets, and what each kind of target is sent. Pure: signing and
 * sending are the Control object's (worker/objects/control/outbox.ts).
 */
import { type Approval, groupsOf } from "./approval.ts";
import { batchLimit } from "./approval-batch.ts";

export type NotificationEvent = "requested" | "escalated" | "approved" | "denied" | "expired" | "withdrawn";

type Common = {
  readonly name: string;
  readonly events: readonly NotificationEvent[];
  readonly groups?: readonly string[];
  readonly resources?: readonly string[];
};

/** Somebody at an identity provider. */
type Person = { readonly issuer: string; readonly subject: string };

/** Where notifications go, as configured. Secrets are named only. */
export type NotificationTarget =
  | (Common & { readonly type: "webhook"; readonly url: string; readonly secret: string })
  | SlackTarget
  | (Common & {
      readonly type: "template";
      readonly url: string;
      readonly token?: string;
      readonly body: string;
    });

export type SlackTarget = Common & {
  readonly type: "slack";
  readonly url: string;
  readonly signingSecret?: string;
  readonly people: Readonly<Record<string, Person>>;
  /** Milliseconds. */
  readonly identityAge: number;
};

/** Whether this target is told of this event. */
export function concerns(
  target: NotificationTarget,
  approval: Approval,
  event: NotificationEvent,
  now: number,
): boolean {
  if (!target.events.includes(event)) return false;
  if (target.resources?.includes(approval.resource) === false) return false;
  if (target.groups === undefined) return true;
  const asked = approval.requirements.flatMap((one) => groupsOf(one, approval.createdAt, now));
  return asked.some((group) => target.groups?.includes(group));
}

/** What is told, in words and values, for every kind of target. */
export type NotificationFacts = {
  readonly event: NotificationEvent;
  readonly approval: Approval;
  /** Address of the approval for people. */
  readonly url: string;
};

const MAX_STATEMENT = 2_500;

const HEADLINES: Readonly<Record<NotificationEvent, string>> = {
  requested: "Approval needed",
  escalated: "Approval still needed",
  approved: "Approved",
  denied: "Denied",
  expired: "Nobody decided in time",
  withdrawn: "Withdrawn",
};

/** One line about it. */
export function headline({ event, approval }: NotificationFacts): string {
  return `${HEADLINES[event]}: ${approval.requester.name} on ${approval.resource}`;
}

/** Who has to approve, in words. */
export function neededWords({ requirements }: Approval): string {
  return requirements
    .map(({ group, quorum }) => (quorum === 1 ? group : `${quorum} of ${group}`))
    .join(" and ");
}

/** What a template may name, by its name. */
export function templateValue({ event, approval, url }: NotificationFacts, key: string): string | undefined {
  const values: Readonly<Record<string, string>> = {
    event,
    headline: headline({ event, approval, url }),
    id: approval.id,
    url,
    resource: approval.resource,
    requester: approval.requester.name,
    statement: approval.operation.text,
    reason: approval.reason ?? "",
    needs: neededWords(approval),
    hash: approval.operation.hash,
    status: approval.status,
    expires: new Date(approval.expiresAt).toISOString(),
    comment: approval.decisions.at(-1)?.comment ?? "",
  };
  return Object.hasOwn(values, key) ? values[key] : undefined;
}

/** Slack reads these three as markup everywhere; a statement must not be able to mention or link. */
function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Text in a code block: a run of three backticks would end it. */
function codeBlock(text: string): string {
  const shortened = text.length > MAX_STATEMENT ? `${text.slice(0, MAX_STATEMENT)}… (cut)` : text;
  return `\`\`\`${escaped(shortened).replaceAll("```", "`\u200b`\u200b`")}\`\`\``;
}

/**
 * A message in Slack's Block Kit. While the approval is pending and `buttons` is true it has two buttons,
 * whose value names the approval and the hash of exactly what is shown.
 */
export function slackMessage(facts: NotificationFacts, buttons: boolean): object {
  const { approval, url } = facts;
  const { operation, reason, estimate, requester } = approval;
  const rows = estimate !== undefined && "rows" in estimate ? `*Rows (estimate):* ${estimate.rows}\n` : "";
  const batch = batchLimit(approval) > 0 ? "A batch can be granted in the console.\n" : "";
  const decided = approval.decisions
    .map(
      ({ reviewer, verdict, comment }) =>
        `${verdict === "approve" ? "approved" : "denied"} by ${escaped(reviewer.name)}${comment === undefined ? "" : `: ${escaped(comment)}`}`,
    )
    .join("\n");
  const about = [
    `*Who:* ${escaped(requester.name)} (${requester.type.toLowerCase()}, ${escaped(requester.subject)})`,
    `*Resource:* ${escaped(approval.resource)}`,
    `*Needs:* ${escaped(neededWords(approval))}`,
    ...(reason === undefined ? [] : [`*Reason:* ${escaped(reason)}`]),
  ].join("\n");
  const section = (text: string): object => ({ type: "section", text: { type: "mrkdwn", text } });
  const open = approval.status === "pending" && (facts.event === "requested" || facts.event === "escalated");
  return {
    text: headline(facts),
    blocks: [
      { type: "header", text: { type: "plain_text", text: headline(facts).slice(0, 150) } },
      section(about.slice(0, 2_900)),
      section(codeBlock(operation.text)),
      section(`${rows}${batch}\`${operation.hash.slice(0, 16)}\` · <${url}|open in Sallyport>`),
      ...(decided === "" ? [] : [section(decided.slice(0, 2_900))]),
      ...(open && buttons ? [buttonsOf(approval)] : []),
    ],
  };
}

function buttonsOf({ id, operation }: Approval): object {
  const button = (verdict: "approve" | "deny", label: string, style: string): object => ({
    type: "button",
    action_id: `sallyport_${verdict}`,
    text: { type: "plain_text", text: label },
    style,
    value: JSON.stringify({ approval: id, hash: operation.hash }),
    confirm: {
      title: { type: "plain_text", text: `${label}?` },
      text: { type: "plain_text", text: `Operation ${operation.hash.slice(0, 16)}` },
      confirm: { type: "plain_text", text: label },
      deny: { type: "plain_text", text: "Back" },
    },
  });
  return {
    type: "actions",
    elements: [button("approve", "Approve", "primary"), button("deny", "Deny", "danger")],
  };
}
