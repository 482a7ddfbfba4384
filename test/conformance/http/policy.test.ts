/** What policy, masks and approvals do to requests, seen from both ends and in the recording. */
import { createRemoteJWKSet, jwtVerify } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HttpStack, MASKED, PLAIN, startHttpStack, WATCHED } from "../../support/http-stack.ts";
import { PERSON } from "../../support/http-upstream.ts";

let http: HttpStack;
let engineer: { authorization: string };
let dba: { authorization: string };

beforeAll(async () => {
  http = await startHttpStack();
  engineer = { authorization: `Bearer ${await http.stack.sessionToken("engineer")}` };
  dba = { authorization: `Bearer ${await http.stack.sessionToken("reviewer-a")}` };
});
afterAll(() => http?.stop());

const json = { "content-type": "application/json" };

async function problemOf(answer: Response): Promise<Record<string, unknown>> {
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  return (await answer.json()) as Record<string, unknown>;
}

describe("masks", () => {
  for (const path of ["/people", "/people-gzip", "/people-deflate"]) {
    it(`hide fields of ${path} from an engineer and drop what describes the bytes`, async () => {
      const answer = await fetch(`${http.url(MASKED)}${path}`, {
        headers: { ...engineer, "accept-encoding": "gzip", range: "bytes=0-10", "if-none-match": '"1"' },
      });
      expect(answer.status).toBe(200);
      const text = await answer.text();
      // Of what is delivered, where it is told at all.
      const length = answer.headers.get("content-length");
      if (length !== null) expect(Number(length)).toBe(Buffer.byteLength(text));
      expect(JSON.parse(text)).toEqual(
        Array.from({ length: 2 }, () => ({
          id: 7,
          name: "Ada",
          ssn: "****",
          email: "a***@example.com",
          accounts: [{ iban: "****3000", balance: 1234 }],
        })),
      );
      for (const name of ["etag", "content-encoding", "accept-ranges"])
        expect(answer.headers.get(name)).toBeNull();
      expect(answer.headers.get("cache-control")).toBe("no-store");
      const sent = new Map(http.upstream.received.at(-1)?.headers);
      expect(sent.get("accept-encoding")).toBe("identity");
      expect(sent.has("range")).toBe(false);
      expect(sent.has("if-none-match")).toBe(false);
    });
  }

  it("hide nothing from who may see it, and leave the bytes alone", async () => {
    const answer = await fetch(`${http.url(MASKED)}/people`, { headers: dba });
    expect(answer.headers.get("etag")).toBe('"1"');
    expect(await answer.text()).toContain("943-25-8431");
  });

  for (const path of ["/people-brotli", "/people-range", "/people-csv"]) {
    it(`deny an answer that cannot be inspected: ${path}`, async () => {
      const answer = await fetch(`${http.url(MASKED)}${path}`, { headers: engineer });
      expect(answer.status).toBe(403);
      const problem = await problemOf(answer);
      expect(problem["code"]).toBe("mask_value_withheld");
    });
  }

  it("refuse a short answer that is not what it says", async () => {
    const answer = await fetch(`${http.url(MASKED)}/people-not-json`, { headers: engineer });
    // It may also have come in pieces, of which the first had left.
    const text = await answer.text().catch(() => "broken off");
    expect(text).not.toContain("943-25-8431");
    expect(text === "broken off" || text.includes("mask_value_withheld")).toBe(true);
  });

  it("break off a long answer that is not what it says", async () => {
    const text = async (): Promise<string> =>
      (await fetch(`${http.url(MASKED)}/bomb`, { headers: engineer })).text();
    await expect(text()).rejects.toThrow();
  });
});

describe("an answer that is text", () => {
  for (const size of [1, 7, 40]) {
    it(`is searched across the borders of its pieces (${size} bytes each)`, async () => {
      const answer = await fetch(`${http.url(WATCHED)}/pieces?size=${size}`, { headers: engineer });
      const text = await answer.text();
      expect(text).not.toContain("4556737586899855");
      expect(text).not.toContain("ada@example.com");
      expect(text.match(/^paid with \S+ by \S+, thank you$/gm)).toHaveLength(20);
    });
  }

  it("is searched when it is compressed", async () => {
    const text = await (await fetch(`${http.url(WATCHED)}/text-gzip`, { headers: engineer })).text();
    expect(text).toContain("paid with ");
    expect(text).not.toContain("4556737586899855");
  });
});

describe("what cannot be inspected", () => {
  it("passes untouched where the resource says so", async () => {
    const answer = await fetch(`${http.url(WATCHED)}/people-brotli`, {
      headers: { ...engineer, "accept-encoding": "br" },
    });
    expect(answer.status).toBe(200);
    // fetch opens it: the bytes came whole.
    expect(await answer.json()).toEqual([PERSON, PERSON]);
    expect((await fetch(`${http.url(WATCHED)}/people-range`, { headers: engineer })).status).toBe(206);
  });
});

describe("ranges and validators", () => {
  const file = (resource: string, more: Record<string, string>): Promise<Response> =>
    fetch(`${http.url(resource)}/file`, { headers: { ...engineer, ...more } });

  it("are the service's own where nothing is hidden", async () => {
    const part = await file(PLAIN, { range: "bytes=2-4" });
    expect([part.status, part.headers.get("content-range"), await part.text()]).toEqual([
      206,
      "bytes 2-4/10",
      "234",
    ]);
    const whole = await file(PLAIN, {});
    expect([whole.headers.get("etag"), whole.headers.get("content-length"), await whole.text()]).toEqual([
      '"v1"',
      "10",
      "0123456789",
    ]);
    const known = await file(PLAIN, { "if-none-match": '"v1"' });
    expect([known.status, await known.text()]).toEqual([304, ""]);
  });

  it("are not used where something may be", async () => {
    // A stream of bytes without a type that can be read is not inspected, but what asked for a part of it was whole.
    const answer = await file(WATCHED, { range: "bytes=2-4", "if-none-match": '"v1"' });
    expect([answer.status, await answer.text()]).toEqual([200, "0123456789"]);
  });
});

describe("routes", () => {
  it("come from an OpenAPI document, the concrete before the templated", async () => {
    const status = async (path: string): Promise<number> =>
      (await fetch(`${http.url(WATCHED)}${path}`, { headers: engineer })).status;
    expect(await status("/customers/7")).toBe(403);
    expect(await status("/customers/all")).toBe(200);
    expect(await status("/customers/7/orders")).toBe(200);
  });
});

describe("gRPC", () => {
  it("is decided by service and method, and refused in its own words", async () => {
    const call = (path: string): Promise<Response> =>
      fetch(`${http.url(PLAIN)}${path}`, {
        method: "POST",
        headers: { ...engineer, "content-type": "application/grpc", te: "trailers" },
        body: Buffer.from([0, 0, 0, 0, 0]),
      });
    const refused = await call("/shop.Ledger/Transfer");
    expect([refused.status, refused.headers.get("grpc-status"), await refused.text()]).toEqual([
      200,
      "7",
      "",
    ]);
    expect((await call("/shop.Catalogue/List")).headers.get("grpc-status")).toBeNull();
  });
});

describe("redirects", () => {
  it("to anywhere are handed on, never followed, where the resource says so", async () => {
    const to = "https://elsewhere.example/x?y#z";
    const answer = await fetch(`${http.url(WATCHED)}/redirect?to=${encodeURIComponent(to)}`, {
      headers: engineer,
      redirect: "manual",
    });
    expect([answer.status, answer.headers.get("location")]).toEqual([302, to]);
  });

  it("to the same service come back under the gateway's address, unfollowed", async () => {
    const to = encodeURIComponent(`http://127.0.0.1:${http.upstream.port}/secret?x=1`);
    const answer = await fetch(`${http.url(PLAIN)}/redirect?to=${to}`, {
      headers: engineer,
      redirect: "manual",
    });
    expect(answer.status).toBe(302);
    expect(answer.headers.get("location")).toBe(`/http/${PLAIN}/secret?x=1`);
    const followed = await fetch(`${http.url(PLAIN)}/redirect?to=/secret`, { headers: engineer });
    expect(followed.status).toBe(403);
  });

  it("to somewhere else are not handed on", async () => {
    for (const to of ["http://169.254.169.254/latest/", "//evil.example/", "https://127.0.0.1/x"]) {
      const answer = await fetch(`${http.url(PLAIN)}/redirect?to=${encodeURIComponent(to)}`, {
        headers: engineer,
        redirect: "manual",
      });
      expect(answer.status).toBe(403);
      expect(answer.headers.get("location")).toBeNull();
      expect((await problemOf(answer))["code"]).toBe("redirect_not_allowed");
    }
  });
});

describe("what an answer may say about the gateway's origin", () => {
  it("cookies are confined to the resource, origin-wide fields dropped, scripts sandboxed", async () => {
    const answer = await fetch(`${http.url(PLAIN)}/cookies`, { headers: engineer });
    expect(answer.headers.getSetCookie()).toEqual([
      `a=1; HttpOnly; Path=/http/${PLAIN}/`,
      `c=3; Path=/http/${PLAIN}/`,
    ]);
    expect(answer.headers.get("strict-transport-security")).toBeNull();
    expect(answer.headers.get("clear-site-data")).toBeNull();
    expect(answer.headers.get("content-security-policy")).toBe("sandbox");
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
  });
});

describe("identity", () => {
  it("is told to the service in a JWT that the gateway's keys verify, for this resource only", async () => {
    await fetch(`${http.url(PLAIN)}/hello`, { headers: engineer });
    const token = new Map(http.upstream.received.at(-1)?.headers).get("sally-identity") ?? "";
    const keys = createRemoteJWKSet(new URL(`${http.stack.gateway}/.well-known/jwks.json`));
    const { payload, protectedHeader } = await jwtVerify(token, keys, {
      issuer: http.stack.gateway,
      audience: http.url(PLAIN),
    });
    expect(protectedHeader.typ).toBe("sallyport-identity+jwt");
    expect(payload).toMatchObject({
      type: "User",
      groups: ["engineers"],
      sub: `${http.stack.issuer}#engineer`,
    });
    // It opens nothing at the gateway.
    const used = await fetch(`${http.url(PLAIN)}/hello`, { headers: { authorization: `Bearer ${token}` } });
    expect(used.status).toBe(401);
  });
});

describe("decisions", () => {
  it("deny with the policy's name and reason", async () => {
    const answer = await fetch(`${http.url(PLAIN)}/secret`, { headers: engineer });
    expect(answer.status).toBe(403);
    const problem = await problemOf(answer);
    expect(problem["code"]).toBe("denied_by_policy");
    expect(JSON.stringify(problem)).toContain("test-no-secrets");
    expect(JSON.stringify(problem)).toContain("nobody reads the secrets");
  });

  it("see body fields, whatever the spelling", async () => {
    const post = (body: string): Promise<Response> =>
      fetch(`${http.url(MASKED)}/pay`, { method: "POST", headers: { ...engineer, ...json }, body });
    expect((await post('{"amount":999}')).status).toBe(200);
    for (const body of [
      '{"amount":1000}',
      '{"amount":1e3}',
      '{"amount":1000.0}',
      '{"amount":"1000"}',
      '{"am\\u006funt":1000}',
      '{"AMOUNT":1000}',
      '{"x":[{"y":{"amount":1000}}]}',
    ])
      expect((await post(body)).status, body).toBe(403);
    for (const body of [
      '{"amount":1,"amount":1000}',
      '{"amount":1,"Amount":1000}',
      "{amount:1000}",
      '{"amount":1,}',
    ])
      expect((await post(body)).status, body).toBe(400);
    expect(http.upstream.received.at(-1)?.body.toString()).toBe('{"amount":999}');
  });

  it("know what a GraphQL document does", async () => {
    const ask = async (query: string): Promise<number> =>
      (
        await fetch(`${http.url(PLAIN)}/graphql`, {
          method: "POST",
          headers: { ...engineer, ...json },
          body: JSON.stringify({ query }),
        })
      ).status;
    expect(await ask("{ orders { id } }")).toBe(200);
    expect(await ask("query A { orders { id } } mutation B { wipe }")).toBe(403);
    expect(await ask("mutation { wipe }")).toBe(403);
    expect(await ask("fragment F on Mutation { wipe } mutation { ...F }")).toBe(403);
    expect(await ask("not graphql")).toBe(400);
    const stored = await fetch(`${http.url(PLAIN)}/graphql`, {
      method: "POST",
      headers: { ...engineer, ...json },
      body: JSON.stringify({ extensions: { persistedQuery: { sha256Hash: "x" } } }),
    });
    expect(stored.status).toBe(400);
  });

  it("name a resource that is not there, or is not for HTTP", async () => {
    for (const name of ["nothing", "shop-db", "web-1"]) {
      const answer = await fetch(`${http.stack.gateway}/http/${name}/x`, { headers: engineer });
      expect(answer.status).toBe(404);
      expect((await problemOf(answer))["code"]).toBe("resource_unknown");
    }
  });

  it("want a token", async () => {
    const answer = await fetch(`${http.url(PLAIN)}/hello`);
    expect(answer.status).toBe(401);
    await problemOf(answer);
  });
});

describe("held requests", () => {
  const remove = (id: number, headers: Record<string, string> = {}, body?: string): Promise<Response> =>
    fetch(`${http.url(PLAIN)}/orders/${id}`, {
      method: "DELETE",
      headers: { ...engineer, ...headers },
      ...(body === undefined ? {} : { body }),
    });
  const decide = async (approval: string, verdict: "approve" | "deny"): Promise<void> => {
    const answer = await fetch(`${http.stack.gateway}/v1/approvals/${approval}/${verdict}`, {
      method: "POST",
      headers: { ...dba, ...json },
      body: "{}",
    });
    expect(answer.status).toBe(200);
  };
  const pending = async (text: string): Promise<string> => {
    let id: string | undefined;
    await expect
      .poll(
        async () => {
          const answer = await fetch(`${http.stack.gateway}/v1/approvals`, { headers: dba });
          const { approvals } = (await answer.json()) as {
            approvals: { id: string; operation: { text: string } }[];
          };
          id = approvals.find(({ operation }) => operation.text === text)?.id;
          return id;
        },
        { timeout: 10_000 },
      )
      .toBeDefined();
    return id ?? "";
  };
  const targets = (): string[] => http.upstream.received.map(({ method, target }) => `${method} ${target}`);

  it("wait, and run when they are approved", async () => {
    const waiting = remove(1, json, '{"why":"test"}');
    const approval = await pending("DELETE /orders/1");
    expect(targets()).not.toContain("DELETE /orders/1");
    await decide(approval, "approve");
    expect((await waiting).status).toBe(200);
    expect(targets().filter((target) => target === "DELETE /orders/1")).toHaveLength(1);
    expect(http.upstream.received.at(-1)?.body.toString()).toBe('{"why":"test"}');
  });

  it("wait, and fail when they are denied", async () => {
    const waiting = remove(2);
    await decide(await pending("DELETE /orders/2"), "deny");
    const answer = await waiting;
    expect(answer.status).toBe(403);
    expect((await problemOf(answer))["code"]).toBe("approval_denied");
    expect(targets()).not.toContain("DELETE /orders/2");
  });

  it("with Sally-No-Wait answer 403 with the approval; the same request passes once after it", async () => {
    const first = await remove(3, { "sally-no-wait": "1", ...json }, '{"a":1}');
    expect(first.status).toBe(403);
    const { approval, code } = (await problemOf(first)) as { approval: string; code: string };
    expect(code).toBe("approval_required");
    await decide(approval, "approve");
    const other = await remove(3, { "sally-no-wait": "1", ...json }, '{"a":2}');
    expect(other.status).toBe(403);
    const elsewhere = await remove(3, { "sally-no-wait": "1", "content-type": "text/plain" }, '{"a":1}');
    expect(elsewhere.status).toBe(403);
    const same = await remove(3, { "sally-no-wait": "1", "x-request-id": "new", ...json }, '{"a":1}');
    expect(same.status).toBe(200);
    const again = await remove(3, { "sally-no-wait": "1", ...json }, '{"a":1}');
    expect(again.status).toBe(403);
  });

  it("with Prefer: respond-async answer 202 with Location and Retry-After", async () => {
    const first = await remove(4, { prefer: "respond-async, wait=10" });
    expect(first.status).toBe(202);
    expect(first.headers.get("retry-after")).toBe("10");
    expect(first.headers.get("preference-applied")).toBe("respond-async");
    const { approval } = (await first.json()) as { approval: string };
    expect(first.headers.get("location")).toBe(`/v1/approvals/${approval}`);
    const shown = await fetch(`${http.stack.gateway}/v1/approvals/${approval}`, { headers: engineer });
    expect(((await shown.json()) as { status: string }).status).toBe("pending");
    await decide(approval, "approve");
    expect((await remove(4, { prefer: "respond-async" })).status).toBe(200);
  });

  it("are withdrawn when the client goes away, and never run", async () => {
    const gone = new AbortController();
    const { request } = await import("node:http");
    const asked = request(`${http.url(PLAIN)}/orders/5`, { method: "DELETE", headers: engineer });
    asked.on("error", () => undefined);
    asked.end();
    const approval = await pending("DELETE /orders/5");
    asked.socket?.resetAndDestroy();
    gone.abort();
    await expect
      .poll(async () => {
        const answer = await fetch(`${http.stack.gateway}/v1/approvals/${approval}`, { headers: dba });
        return ((await answer.json()) as { status: string }).status;
      })
      .toBe("withdrawn");
    expect(targets()).not.toContain("DELETE /orders/5");
  });

  it("with a body that is too large to be held are refused", async () => {
    const tooLarge = "x".repeat((4 << 20) + 1);
    // Refused by its announced length: a client that still writes may hear the connection break in place of the answer.
    await expect
      .poll(async () => {
        const answer = await remove(6, { "content-type": "text/plain" }, tooLarge).catch(() => undefined);
        return answer?.status;
      })
      .toBe(413);
    expect(targets()).not.toContain("DELETE /orders/6");
  });
});

describe("the recording", () => {
  it("has the decision, the request, and the answer as it was delivered", async () => {
    const token = await http.stack.sessionToken("engineer");
    const authorization = `Bearer ${token}`;
    const delivered = await (
      await fetch(`${http.url(MASKED)}/people?q=1`, { headers: { authorization } })
    ).text();
    const session = new Map(http.upstream.received.at(-1)?.headers).get("sally-session") ?? "";
    type Event = { type: string; [field: string]: unknown };
    const read = async (): Promise<Event[]> => {
      const answer = await fetch(`${http.stack.gateway}/v1/sessions/${session}/events`, { headers: dba });
      return ((await answer.json()) as { events: { body: Event }[] }).events.map(({ body }) => body);
    };
    await expect.poll(async () => (await read()).at(-1)?.type).toBe("completed");
    const events = await read();
    expect(events.map(({ type }) => type)).toEqual([
      "session",
      "operation",
      "response",
      "response_body",
      "completed",
    ]);
    const [, operation, response, body, completed] = events;
    expect(operation).toMatchObject({
      text: "GET /people?q=1",
      actions: ["http:read"],
      decision: { effect: "allow", policies: [{ id: "engineers-use-http" }] },
    });
    expect(response).toMatchObject({ status: 200, inspected: true });
    expect(body?.["text"]).toBe(delivered);
    expect(completed).toMatchObject({
      response: { bytes: Buffer.byteLength(delivered) },
      masked: { ssn: 2, email: 2, "accounts.iban": 2 },
    });
    expect(JSON.stringify(events)).not.toContain("943-25");
    expect(JSON.stringify(events)).not.toContain(token);
  });
});

describe("sally policy explain", () => {
  const explain = async (
    user: "engineer" | "reviewer-a",
    request: string,
    resource = MASKED,
  ): Promise<string> => {
    const { code, stdout, stderr } = await http.stack.sally(user, ["policy", "explain", resource, request]);
    return code === 0 ? stdout : stderr;
  };

  it("says what a request would meet, and what of its answer is hidden, without sending it", async () => {
    const before = http.upstream.received.length;
    const held = await explain("engineer", "DELETE /orders/explained");
    expect(held).toContain("hold");
    expect(held).toContain("test-holds");
    expect(held).toContain("http:write");
    expect(held).toContain("/orders/explained");
    const hidden = "ssn is masked (full) in JSON answers";
    expect(await explain("engineer", "GET /people")).toContain(hidden);
    expect(await explain("reviewer-a", "GET /people")).not.toContain(hidden);
    const secret = await explain("engineer", "GET /secret/1");
    expect(secret).toContain("deny");
    expect(secret).toContain("nobody reads the secrets");
    expect(http.upstream.received.length).toBe(before);
  });

  it("reads the body where policy does, and refuses what the gateway would refuse", async () => {
    expect(await explain("engineer", 'POST /orders\n\n{"amount": 1000}')).toContain("test-no-large-amounts");
    expect(await explain("engineer", 'POST /orders\n\n{"amount": 999}')).not.toContain(
      "test-no-large-amounts",
    );
    expect(await explain("engineer", 'POST /graphql\n\n{"query": "mutation { a }"}', PLAIN)).toContain(
      "test-no-mutations",
    );
    expect(await explain("engineer", "GET /a/%2e%2e/secret")).toContain("deny");
    expect(await explain("engineer", "select 1")).toContain("write it like: POST /orders/1/refund");
  });
});
