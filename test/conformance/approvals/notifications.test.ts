/** Who outside is told of approvals, and what comes back from them. */
import { createHmac } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Api,
  type ApprovalStack,
  SLACK_SECRET,
  WEBHOOK_SECRET,
  apiOf,
  startApprovalStack,
} from "./setup.ts";

let approvals: ApprovalStack;
let api: Api;
beforeAll(async () => {
  approvals = await startApprovalStack();
  api = apiOf(approvals.stack);
});
afterAll(() => approvals?.stop());

const APPROVAL = /apr_[0-9a-z]{26}/;

async function hold(id: number) {
  const waiting = approvals.stack.startSally("engineer", [
    "psql",
    "scratch-db",
    "--",
    "-c",
    `delete from batched where id = ${id} and note <> '<!channel> \`\`\` @here'`,
  ]);
  const [approval] = await waiting.waitFor("stderr", APPROVAL);
  return { waiting, approval };
}

type Button = { readonly action_id: string; readonly value: string };

/** The buttons of the Slack message about an approval. */
async function buttons(approval: string): Promise<Button[]> {
  const message = await approvals.receiver.waitFor(
    ({ path, body }) => path === "/slack" && body.includes(approval) && body.includes("sallyport_approve"),
  );
  const { blocks } = JSON.parse(message.body) as { blocks: { type: string; elements?: Button[] }[] };
  return blocks.find(({ type }) => type === "actions")?.elements ?? [];
}

/** What Slack sends when somebody presses a button. */
function press(button: Button | undefined, user: string): string {
  const payload = {
    type: "block_actions",
    user: { id: user },
    response_url: `${approvals.receiver.url}/answer`,
    actions: [button],
  };
  return new URLSearchParams({ payload: JSON.stringify(payload) }).toString();
}

async function send(
  body: string,
  { secret = SLACK_SECRET, at = Math.floor(Date.now() / 1000) } = {},
): Promise<{ status: number; headers: Record<string, string> }> {
  const signature = createHmac("sha256", secret).update(`v0:${at}:${body}`).digest("hex");
  const headers = {
    "content-type": "application/x-www-form-urlencoded",
    "x-slack-request-timestamp": String(at),
    "x-slack-signature": `v0=${signature}`,
  };
  return { status: await post(headers, body), headers };
}

async function post(headers: Record<string, string>, body: string): Promise<number> {
  const response = await fetch(`${approvals.stack.gateway}/v1/slack/actions`, {
    method: "POST",
    headers,
    body,
  });
  await response.text();
  return response.status;
}

const status = async (approval: string): Promise<unknown> =>
  (await api("reviewer-a", "GET", `/v1/approvals/${approval}`))["status"];

describe("the webhook", () => {
  it("is signed over its time and body, and tells the request and its end", async () => {
    const { waiting, approval } = await hold(1);
    const { body, headers } = await approvals.receiver.waitFor(
      (request) => request.path === "/hook" && request.body.includes(approval),
    );
    const timestamp = String(headers["sally-timestamp"]);
    expect(Math.abs(Date.now() / 1000 - Number(timestamp))).toBeLessThan(60);
    const expected = createHmac("sha256", WEBHOOK_SECRET).update(`${timestamp}.${body}`).digest("hex");
    expect(headers["sally-signature"]).toBe(`v1=${expected}`);
    expect(JSON.parse(body)).toMatchObject({
      id: headers["sally-notification"],
      event: "requested",
      url: expect.stringMatching(/\/console\/approvals\/apr_/),
      approval: { id: approval, status: "pending", requester: { subject: "engineer" } },
    });
    await api("reviewer-a", "POST", `/v1/approvals/${approval}/deny`, { comment: "no" });
    const end = await approvals.receiver.waitFor(
      (request) =>
        request.path === "/hook" &&
        request.body.includes(approval) &&
        request.body.includes('"event":"denied"'),
    );
    expect(JSON.parse(end.body)).toMatchObject({ approval: { status: "denied" } });
    expect((await waiting.result).code).toBe(3);
  });

  it("is sent again, as the same one, until its receiver takes it", async () => {
    approvals.receiver.status = 503;
    const { waiting, approval } = await hold(2);
    const about = (path: string) => (request: { path: string; body: string }) =>
      request.path === path && request.body.includes(approval);
    const first = await approvals.receiver.waitFor(about("/hook"));
    await expect
      .poll(async () => {
        const { notifications } = (await api("reviewer-a", "GET", "/v1/notifications")) as {
          notifications: { approval: string; target: string; error?: string; status: string }[];
        };
        return notifications.find((one) => one.approval === approval && one.target === "hook");
      })
      .toMatchObject({ status: "waiting", error: "it answered 503" });
    approvals.receiver.status = 200;
    const id = first.headers["sally-notification"];
    const again = await approvals.receiver.waitFor(
      (request) => request !== first && request.headers["sally-notification"] === id,
    );
    expect(JSON.parse(again.body)).toMatchObject({ id, event: "requested" });
    await api("reviewer-a", "POST", `/v1/approvals/${approval}/deny`, {});
    await waiting.result;
  });
});

describe("a template", () => {
  it("is filled in as JSON, whatever the statement holds, with its token", async () => {
    const { waiting, approval } = await hold(3);
    const { body, headers } = await approvals.receiver.waitFor(
      (request) => request.path === "/mail" && request.body.includes("id = 3 "),
    );
    expect(headers["authorization"]).toBe("Bearer mail-token");
    expect(JSON.parse(body)).toEqual({
      to: "dba@example.com",
      subject: "Approval needed: engineer@shop.example on scratch-db",
      text: "delete from batched where id = 3 and note <> '<!channel> ``` @here'",
    });
    await api("reviewer-a", "POST", `/v1/approvals/${approval}/deny`, {});
    await waiting.result;
  });
});

describe("Slack", () => {
  it("shows the statement as text only and takes a signed press of a mapped reviewer", async () => {
    const { waiting, approval } = await hold(4);
    const [approve] = await buttons(approval);
    const message = approvals.receiver.received.find(
      ({ path, body }) => path === "/slack" && body.includes(approval),
    );
    expect(message?.body).not.toContain("<!channel>");
    expect((await send(press(approve, "U0REVIEWER"))).status).toBe(200);
    expect((await waiting.result).code).toBe(0);
    const answer = await approvals.receiver.waitFor(({ path }) => path === "/answer");
    expect(JSON.parse(answer.body)).toMatchObject({ replace_original: true });
  });

  it("refuses a forged, an old and a repeated press", async () => {
    const { waiting, approval } = await hold(5);
    const [approve] = await buttons(approval);
    const body = press(approve, "U0ENGINEER");
    expect((await send(body, { secret: "not the secret" })).status).toBe(401);
    expect((await send(body, { at: Math.floor(Date.now() / 1000) - 400 })).status).toBe(401);
    expect(await post({ "content-type": "application/x-www-form-urlencoded" }, body)).toBe(401);
    expect(await status(approval)).toBe("pending");

    const sent = await send(body);
    expect(sent.status).toBe(200);
    expect(await post(sent.headers, body)).toBe(401);
    // It was the requester's own press, who is told so; nothing else changed.
    const answer = await approvals.receiver.waitFor(
      (request) => request.path === "/answer" && request.body.includes("your own request"),
    );
    expect(JSON.parse(answer.body)).toMatchObject({ response_type: "ephemeral", replace_original: false });
    expect((await send(press(approve, "U0STRANGER"))).status).toBe(200);
    expect(await status(approval)).toBe("pending");

    const other =
      approve === undefined
        ? undefined
        : { ...approve, value: approve.value.replace(/[0-9a-f]{8}"/, '00000000"') };
    expect((await send(press(other, "U0REVIEWER"))).status).toBe(200);
    expect(await status(approval)).toBe("pending");
    await api("reviewer-a", "POST", `/v1/approvals/${approval}/deny`, {});
    await waiting.result;
  });
});

describe("a notification that nobody has taken yet", () => {
  it("is sent by the gateway's next life, as the same one", async () => {
    approvals.receiver.status = 503;
    const { waiting, approval } = await hold(6);
    const first = await approvals.receiver.waitFor(
      ({ path, body }) => path === "/hook" && body.includes(approval),
    );
    const { system } = approvals.stack;
    await system.gateway.crash();
    expect((await waiting.result).code).not.toBe(0);
    approvals.receiver.status = 200;
    await system.startGateway();
    const id = first.headers["sally-notification"];
    const again = await approvals.receiver.waitFor(
      (request) => request !== first && request.headers["sally-notification"] === id,
    );
    expect(JSON.parse(again.body)).toMatchObject({ id, event: "requested", approval: { id: approval } });
  });
});
