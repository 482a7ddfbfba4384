/** A system of its own with policies that ask for more than one person, and with receivers of notifications. */
import type { OIDC_USER_NAMES } from "../../../scripts/lib/oidc-users.ts";
import { callApi } from "../../../scripts/lib/gateway-api.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";
import { type Receiver, startReceiver } from "../../support/receiver.ts";

export const WEBHOOK_SECRET = "webhook-secret-for-the-tests";
export const SLACK_SECRET = "slack-signing-secret-for-the-tests";

const POLICIES = `
@id("scratch-base")
permit (
  principal in Group::"engineers",
  action in [Action::"postgres:select", Action::"postgres:insert", Action::"postgres:session", Action::"postgres:transaction"],
  resource == Resource::"scratch-db"
);

@id("delete-batch") @approval("dba") @batch("3")
permit (principal in Group::"engineers", action == Action::"postgres:delete", resource == Resource::"scratch-db")
when { context.writes.contains("batched") || context.writes.contains("looked_at") };

@id("two-people") @approval("dba") @quorum("2")
permit (principal in Group::"engineers", action == Action::"postgres:update", resource == Resource::"scratch-db")
when { context.writes.contains("pairs") };

@id("either-group") @approval("security | dba")
permit (principal in Group::"engineers", action == Action::"postgres:update", resource == Resource::"scratch-db")
when { context.writes.contains("either") };

@id("escalated") @approval("security") @escalate("dba after 2s")
permit (principal in Group::"engineers", action == Action::"postgres:update", resource == Resource::"scratch-db")
when { context.writes.contains("escalating") };

@id("both-people") @approval("dba")
permit (principal in Group::"engineers", action == Action::"postgres:update", resource == Resource::"scratch-db")
when { context.writes.contains("in_common") };

@id("both-machine") @approval("agents")
permit (principal in Group::"engineers", action == Action::"postgres:update", resource == Resource::"scratch-db")
when { context.writes.contains("in_common") };

@id("agents-decide")
permit (principal in Group::"agents", action == Action::"approval:decide", resource == Resource::"scratch-db");

@id("by-machine") @approval("agents")
permit (principal in Group::"engineers", action == Action::"postgres:update", resource == Resource::"scratch-db")
when { context.writes.contains("by_machine") };
`;

export type ApprovalStack = {
  readonly stack: PrivateStack;
  readonly receiver: Receiver;
  stop(): Promise<void>;
};

export async function startApprovalStack(): Promise<ApprovalStack> {
  const receiver = await startReceiver();
  const stack = await startPrivateStack({
    gateway: {
      bindings: {
        NOTIFY_WEBHOOK: WEBHOOK_SECRET,
        NOTIFY_SLACK_URL: `${receiver.url}/slack`,
        NOTIFY_SLACK_SIGNING: SLACK_SECRET,
        NOTIFY_MAIL_TOKEN: "mail-token",
      },
    },
    configuration: async (values) => {
      const files = await testConfiguration(values);
      // The demo's own rules about agents and engineers would hold or allow these tables in their own way.
      const base = (files["policies.cedar"] ?? "")
        .replace(/@id\("engineers-delete-with-approval"\)/, (id) => id)
        .replace(/Action::"postgres:update",\s+Action::"postgres:session"/, 'Action::"postgres:session"')
        .replace(
          /(@id\("engineers-delete-with-approval"\)[^]*?resource)(\s*\);)/,
          '$1 == Resource::"shop-db"$2',
        );
      return {
        ...files,
        "sallyport.yaml": (files["sallyport.yaml"] ?? "")
          .replace(/^ {2}(scratch-db|web-1):\n/gm, "$&    heldReminder: 1s\n")
          .replace(/^ {2}(shop-db|web-1):\n/gm, "$&    approvalExpires: 10s\n"),
        "policies.cedar": base,
        "approvals.cedar": POLICIES,
        "notifications.yaml": `notifications:
  - name: hook
    type: webhook
    url: ${receiver.url}/hook
    secret: NOTIFY_WEBHOOK
  - name: slack-dba
    type: slack
    url: NOTIFY_SLACK_URL
    signingSecret: NOTIFY_SLACK_SIGNING
    groups: [dba]
    people:
      U0REVIEWER: { issuer: "${values.issuer}", subject: reviewer-a }
      U0ENGINEER: { issuer: "${values.issuer}", subject: engineer }
  - name: mail
    type: template
    url: ${receiver.url}/mail
    token: NOTIFY_MAIL_TOKEN
    events: [requested, escalated]
    body: '{"to": "dba@example.com", "subject": "\${headline}", "text": "\${statement}"}'
`,
      };
    },
  });
  await stack.direct(async (client) => {
    for (const table of [
      "batched",
      "pairs",
      "either",
      "escalating",
      "by_machine",
      "in_common",
      "looked_at",
    ]) {
      await client.query(`create table ${table} (id int primary key, note text)`);
      await client.query(`insert into ${table} select i, 'row ' || i from generate_series(1, 200) i`);
      await client.query(`grant all on ${table} to sallyport`);
      await client.query(`analyze ${table}`);
    }
  }, stack.system.postgres.url("scratch"));
  return {
    stack,
    receiver,
    stop: async () => {
      await stack.stop();
      await receiver.stop();
    },
  };
}

export type Api = (
  user: (typeof OIDC_USER_NAMES)[number],
  method: string,
  path: string,
  body?: unknown,
) => Promise<Record<string, unknown>>;

/** Calls the API with a fresh session token of that user; a refusal rejects. */
export function apiOf(stack: PrivateStack): Api {
  return async (user, method, path, body) =>
    (await callApi(stack.gateway, method, path, {
      token: await stack.sessionToken(user),
      ...(body === undefined ? {} : { body }),
    })) as Record<string, unknown>;
}
