/** Shape of `notifications`: who outside is told of approvals, and how (docs/approvals.md). */
import { z } from "zod";
import type { NotificationTarget } from "../policy/notification.ts";
import { duration, name, object, text } from "./shapes.ts";
import { fillTemplate } from "../policy/notification-template.ts";

const MAX_URL = 1_024;
const LOOPBACK: ReadonlySet<string> = new Set(["127.0.0.1", "[::1]", "localhost"]);

const address = text(MAX_URL).superRefine((given, context) => {
  const url = URL.parse(given);
  const safe =
    url !== null &&
    url.username === "" &&
    (url.protocol === "https:" || (url.protocol === "http:" && LOOPBACK.has(url.hostname)));
  if (!safe) {
    const message = "must be an https:// address without a user (http:// only on this machine)";
    context.addIssue({ code: "custom", message });
  }
});

/** Only these may be named, so that no configuration can send another secret of the gateway's anywhere. */
const secretName = z
  .string()
  .regex(
    /^NOTIFY_[A-Z0-9_]{1,56}$/,
    "is the name of a secret of the gateway's, which starts with NOTIFY_; the secret itself does not belong here",
  );

const events = z
  .array(z.enum(["requested", "escalated", "approved", "denied", "expired", "withdrawn"]))
  .min(1)
  .default(["requested", "escalated", "approved", "denied", "expired", "withdrawn"]);

const common = {
  name,
  events,
  /** Only approvals that ask one of these groups; absent: all. */
  groups: z.array(text(256)).min(1).optional(),
  resources: z.array(name).min(1).optional(),
};

const person = object({ issuer: text(512), subject: text(256) });

const DAY = 24 * 3_600_000;

const webhook = object({ ...common, type: z.literal("webhook"), url: address, secret: secretName });
const slack = object({
  ...common,
  type: z.literal("slack"),
  /** Name of the secret that holds the incoming webhook's address, which is itself one. */
  url: secretName,
  /** Name of the secret that holds the app's signing secret; without it the message has no buttons. */
  signingSecret: secretName.optional(),
  /** Slack's user id → the person at an identity provider. */
  people: z.record(z.string().regex(/^[A-Z0-9]{1,32}$/, "is not a user's id in Slack"), person).default({}),
  /** How long ago somebody has to have proven who they are for their button to count. */
  identityAge: duration(60_000, DAY).default(DAY / 2),
});
const template = object({
  ...common,
  type: z.literal("template"),
  url: address,
  /** Name of the secret that is sent as a bearer token. */
  token: secretName.optional(),
  body: z
    .string()
    .min(2)
    .max(16 << 10)
    .superRefine((given, context) => {
      const filled = fillTemplate(given, () => 'a "value"\n');
      if (!filled.ok) context.addIssue({ code: "custom", message: filled.error });
    }),
});

/** One entry of `notifications`. */
export const notificationShape = z.discriminatedUnion("type", [webhook, slack, template]);

export function toNotification(shape: z.infer<typeof notificationShape>): NotificationTarget {
  const { groups, resources, ...rest } = shape;
  const scope = {
    ...(groups === undefined ? {} : { groups }),
    ...(resources === undefined ? {} : { resources }),
  };
  if (rest.type === "webhook") return { ...rest, ...scope };
  if (rest.type === "slack") {
    const { signingSecret, ...slackRest } = rest;
    return { ...slackRest, ...(signingSecret === undefined ? {} : { signingSecret }), ...scope };
  }
  const { token, ...templateRest } = rest;
  return { ...templateRest, ...(token === undefined ? {} : { token }), ...scope };
}
