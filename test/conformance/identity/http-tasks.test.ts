/** Tasks, actors and revocation for requests: one protocol more, the same rules. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HttpStack, PLAIN, startHttpStack } from "../../support/http-stack.ts";
import { TYPES, api, narrower, tokenRequest } from "../../support/token-endpoint.ts";

let http: HttpStack;
let reviewer: string;
beforeAll(async () => {
  http = await startHttpStack();
  reviewer = await http.stack.sessionToken("reviewer-a");
});
afterAll(() => http?.stop());

async function get(token: string, path: string, method = "GET"): Promise<{ status: number; code?: unknown }> {
  const answer = await fetch(http.url(PLAIN) + path, {
    method,
    headers: { authorization: `Bearer ${token}` },
  });
  const text = await answer.text();
  const problem = answer.headers.get("content-type") === "application/problem+json";
  return {
    status: answer.status,
    ...(problem ? { code: (JSON.parse(text) as { code: unknown }).code } : {}),
  };
}

describe("a task for an HTTP resource", () => {
  it("covers its paths and no others, and counts its requests", async () => {
    const details = [
      {
        type: "sallyport",
        resources: [PLAIN],
        actions: ["http:read"],
        paths: ["/people"],
        max_operations: 3,
      },
    ];
    const started = await narrower(http.stack.gateway, reviewer, { details });
    const token = started.token();
    expect((await get(token, "/people")).status).toBe(200);
    expect(await get(token, "/people-csv")).toMatchObject({ status: 403, code: "task_not_permitted" });
    expect(await get(token, "/people", "DELETE")).toMatchObject({ status: 403, code: "task_not_permitted" });
    const answers = await Promise.all(Array.from({ length: 8 }, () => get(token, "/people")));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(2);
    expect(answers.filter(({ code }) => code === "task_budget_spent")).toHaveLength(6);
    await api(http.stack.gateway, reviewer, "DELETE", `/v1/tasks/${started.body.task ?? ""}`);
    expect(await get(token, "/people")).toMatchObject({ status: 403, code: "task_ended" });
  });

  it("takes an agent's rights together with the person's, and both away with a revocation", async () => {
    const agent = await http.stack.sessionToken("agent");
    const acting = await tokenRequest(http.stack.gateway, {
      subject_token: reviewer,
      subject_token_type: TYPES.access,
      actor_token: agent,
      actor_token_type: TYPES.access,
    });
    expect((await get(reviewer, "/people")).status).toBe(200);
    const alone = (await get(agent, "/people")).status;
    expect((await get(acting.token(), "/people")).status).toBe(alone);
    const whoami = await api(http.stack.gateway, agent, "GET", "/v1/whoami");
    const { issuer, subject } = whoami.body["principal"] as { issuer: string; subject: string };
    await api(http.stack.gateway, reviewer, "POST", "/v1/revocations", { issuer, subject });
    for (const token of [agent, acting.token()]) {
      expect(await get(token, "/people")).toMatchObject({ status: 401, code: "principal_revoked" });
    }
    expect((await get(reviewer, "/people")).status).toBe(200);
  });
});
