/** The token endpoint as other people's software uses it: openid-client, and curl. */
import { spawn } from "node:child_process";
import * as client from "openid-client";
import { beforeAll, describe, expect, it } from "vitest";
import { type Stack, sharedStack } from "../../support/stack.ts";
import { TYPES, api } from "../../support/token-endpoint.ts";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";

let stack: Stack;
beforeAll(() => {
  stack = sharedStack();
});

async function curl(...args: string[]): Promise<string> {
  const child = spawn("curl", ["-sS", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let errors = "";
  child.stderr.on("data", (chunk) => (errors += String(chunk)));
  for await (const chunk of child.stdout) out += String(chunk);
  if (errors !== "") throw new Error(errors);
  return out;
}

describe("openid-client", () => {
  const discover = async (): Promise<client.Configuration> =>
    client.discovery(new URL(stack.gateway), "any-client", undefined, client.None(), {
      algorithm: "oauth2",
      execute: [client.allowInsecureRequests],
    });

  it("finds the endpoint by its metadata (RFC 8414) and exchanges a token there", async () => {
    const config = await discover();
    expect(config.serverMetadata()).toMatchObject({
      issuer: stack.gateway,
      grant_types_supported: expect.arrayContaining([EXCHANGE]),
      authorization_details_types_supported: ["sallyport"],
      dpop_signing_alg_values_supported: expect.arrayContaining(["ES256", "EdDSA"]),
      token_endpoint_auth_methods_supported: ["none"],
    });
    const tokens = await client.genericGrantRequest(config, EXCHANGE, {
      subject_token: await stack.sessionToken("engineer"),
      subject_token_type: TYPES.access,
      resource: "scratch-db",
    });
    expect(tokens).toMatchObject({ token_type: "bearer", issued_token_type: TYPES.access });
    const whoami = await api(stack.gateway, tokens.access_token, "GET", "/v1/whoami");
    expect(whoami.body).toMatchObject({ resources: ["scratch-db"] });
  });

  it("binds a token to its key and uses it (RFC 9449)", async () => {
    const config = await discover();
    const dpop = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
    const tokens = await client.genericGrantRequest(
      config,
      EXCHANGE,
      { subject_token: await stack.sessionToken("engineer"), subject_token_type: TYPES.access },
      { DPoP: dpop },
    );
    expect(tokens.token_type).toBe("dpop");
    const url = new URL("/v1/whoami", stack.gateway);
    const answer = await client.fetchProtectedResource(
      config,
      tokens.access_token,
      url,
      "GET",
      null,
      undefined,
      {
        DPoP: dpop,
      },
    );
    expect(answer.status).toBe(200);
    // Its own bound token, narrowed for a step.
    const step = await client.genericGrantRequest(
      config,
      EXCHANGE,
      {
        subject_token: tokens.access_token,
        subject_token_type: TYPES.access,
        authorization_details: JSON.stringify([
          { type: "sallyport", resources: ["scratch-db"], actions: ["postgres:select"], max_operations: 1 },
        ]),
      },
      { DPoP: dpop },
    );
    expect(step.authorization_details).toMatchObject([{ max_operations: 1, actions: ["postgres:select"] }]);
  });

  it("understands the errors (RFC 6749)", async () => {
    const config = await discover();
    const request = client.genericGrantRequest(config, EXCHANGE, {
      subject_token: "not-a-token",
      subject_token_type: TYPES.id,
    });
    await expect(request).rejects.toMatchObject({ error: "invalid_request", status: 400 });
    const narrower = client.genericGrantRequest(config, EXCHANGE, {
      subject_token: await stack.sessionToken("engineer"),
      subject_token_type: TYPES.access,
      resource: "no-such-resource",
    });
    await expect(narrower).rejects.toMatchObject({ error: "invalid_target" });
  });
});

describe("curl", () => {
  it("exchanges, starts a task, works in the API and ends it", async () => {
    const answer = JSON.parse(
      await curl(
        `${stack.gateway}/oauth/token`,
        "-d",
        `grant_type=${EXCHANGE}`,
        "-d",
        `subject_token_type=${TYPES.id}`,
        "--data-urlencode",
        `subject_token@${stack.tokenFiles.engineer}`,
      ),
    ) as { access_token: string };
    const bearer = `authorization: Bearer ${answer.access_token}`;
    const task = JSON.stringify({
      authorization_details: [{ type: "sallyport", resources: ["scratch-db"], actions: ["postgres:select"] }],
    });
    const json = ["-H", bearer, "-H", "content-type: application/json"];
    const started = JSON.parse(await curl(...json, "-d", task, `${stack.gateway}/v1/tasks`)) as {
      access_token: string;
      task: { id: string };
    };
    const step = `authorization: Bearer ${started.access_token}`;
    expect(JSON.parse(await curl("-H", step, `${stack.gateway}/v1/whoami`))).toMatchObject({
      task: started.task.id,
      resources: ["scratch-db"],
    });
    const url = `${stack.gateway}/v1/tasks/${started.task.id}`;
    expect(JSON.parse(await curl("-H", step, "-X", "DELETE", url))).toMatchObject({ status: "ended" });
    expect(
      await curl("-o", "/dev/null", "-w", "%{http_code}", "-H", step, `${stack.gateway}/v1/whoami`),
    ).toBe("403");
  });
});
