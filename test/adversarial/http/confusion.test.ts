/**
 * Paths and header fields that servers read in different ways. For each case either the gateway refuses, and the
 * service has received nothing, or what the service received is byte for byte what policy decided on, which the
 * recording says.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HttpStack, PLAIN, UPSTREAM_KEY, startHttpStack } from "../../support/http-stack.ts";
import { sendRaw } from "./raw.ts";

let http: HttpStack;
let token: string;
let session: string;

beforeAll(async () => {
  http = await startHttpStack();
  token = await http.stack.sessionToken("engineer");
  const answer = await fetch(`${http.url(PLAIN)}/hello`, { headers: { authorization: `Bearer ${token}` } });
  if (answer.status !== 200) throw new Error(await answer.text());
  await answer.text();
  const listed = await api("/v1/sessions?status=live");
  session = (listed as { sessions: { id: string; resource: string }[] }).sessions.find(
    ({ resource }) => resource === PLAIN,
  )?.id as string;
});
afterAll(() => http?.stop());

async function api(path: string): Promise<unknown> {
  const answer = await fetch(http.stack.gateway + path, { headers: { authorization: `Bearer ${token}` } });
  return answer.json();
}

type Recorded = {
  type: string;
  method?: string;
  target?: string;
  facts?: { path: string; method: string }[];
};

/** The newest operation in the recording. */
async function newestOperation(): Promise<Recorded> {
  const events: Recorded[] = [];
  for (let after = 0; ;) {
    const page = (await api(`/v1/sessions/${session}/events?after=${after}`)) as {
      events: { seq: number; body: Recorded }[];
      more: boolean;
    };
    events.push(...page.events.map(({ body }) => body));
    if (!page.more) break;
    after = page.events.at(-1)?.seq ?? after;
  }
  const found = events.findLast(({ type }) => type === "operation");
  if (found === undefined) throw new Error("nothing is recorded");
  return found;
}

function request(target: string, headers: readonly string[] = [], method = "GET", body = ""): string {
  return [
    `${method} /http/${PLAIN}${target} HTTP/1.1`,
    "Host: gateway",
    `Authorization: Bearer ${token}`,
    ...headers,
    "",
    body,
  ].join("\r\n");
}

/** Refused, or forwarded as exactly this. */
const REFUSED = "refused";

const PATHS: readonly (readonly [target: string, outcome: string])[] = [
  // Dot segments, in every spelling. Plain ones are resolved, and fragments dropped, before the gateway sees them.
  ["/a/../secret", REFUSED],
  ["/../secret", REFUSED],
  ["/..", REFUSED],
  ["/.", "/"],
  ["/./secret", REFUSED],
  ["/a/./b", "/a/b"],
  ["/a/..", "/"],
  ["/%2e%2e/secret", REFUSED],
  ["/%2E%2E/secret", REFUSED],
  ["/.%2e/secret", REFUSED],
  ["/%2e./secret", REFUSED],
  ["/%2e/secret", REFUSED],
  ["/a/%2e%2e%2fsecret", REFUSED],
  ["/..;/secret", REFUSED],
  ["/a/..;x=y/secret", REFUSED],
  ["/.;/secret", REFUSED],
  ["/..%3b/secret", REFUSED],
  ["/..%00/secret", REFUSED],
  ["/%252e%252e/secret", REFUSED],
  ["/%25%32%65%25%32%65/secret", REFUSED],
  ["/%25252e/secret", REFUSED],
  ["/..\\secret", REFUSED],
  ["/..%5csecret", REFUSED],
  ["/..%5Csecret", REFUSED],
  ["/..%255csecret", REFUSED],
  ["/..%c0%afsecret", REFUSED],
  ["/..%e0%80%afsecret", REFUSED],
  ["/..%f0%80%80%afsecret", REFUSED],
  ["/%c0%ae%c0%ae/secret", REFUSED],
  ["/%e0%80%ae%e0%80%ae/secret", REFUSED],
  ["/%ef%bc%8e%ef%bc%8e/secret", REFUSED],
  ["/%e2%80%a4%e2%80%a4/secret", REFUSED],
  ["/...", "/..."],
  ["/..a", "/..a"],
  ["/a..", "/a.."],
  ["/.well-known/x", "/.well-known/x"],
  ["/%2ehidden", "/.hidden"],
  ["/%2e%2e%2e", "/..."],
  // Slashes.
  ["//secret", REFUSED],
  ["/a//secret", REFUSED],
  ["/a///secret", REFUSED],
  ["/%2fsecret", REFUSED],
  ["/a%2fsecret", REFUSED],
  ["/a%2Fsecret", REFUSED],
  ["/a%252fsecret", REFUSED],
  ["/a%5csecret", REFUSED],
  ["/a\\secret", REFUSED],
  ["\\secret", REFUSED],
  ["/\\secret", REFUSED],
  ["/a%ef%bc%8fsecret", REFUSED],
  ["/a%c0%2fsecret", REFUSED],
  ["/a%c1%9csecret", REFUSED],
  ["/a/", "/a/"],
  ["/", "/"],
  ["", "/"],
  // Semicolons.
  ["/secret;", REFUSED],
  ["/secret;jsessionid=1", REFUSED],
  ["/;/secret", REFUSED],
  ["/a;b/secret", REFUSED],
  ["/secret%3b", REFUSED],
  ["/secret%3Bx", REFUSED],
  ["/a%ef%bc%9bb", REFUSED],
  // Percent signs.
  ["/%", REFUSED],
  ["/%4", REFUSED],
  ["/%zz", REFUSED],
  ["/%u0041", REFUSED],
  ["/%u002e%u002e/secret", REFUSED],
  ["/%73ecret%", REFUSED],
  ["/a%25", "/a%25"],
  ["/100%25", "/100%25"],
  ["/a%25zz", "/a%25zz"],
  ["/%2573ecret", REFUSED],
  // Control characters, spaces, what is not ASCII.
  ["/%00", REFUSED],
  ["/a%00.json", REFUSED],
  ["/a%0a", REFUSED],
  ["/a%0d%0aX:y", REFUSED],
  ["/a%09b", REFUSED],
  ["/a%7f", REFUSED],
  ["/a%1fb", REFUSED],
  ["/a%20b", "/a%20b"],
  ["/a+b", "/a+b"],
  ["/a%2bb", "/a%2Bb"],
  ["/%c3%bc", "/%C3%BC"],
  ["/%C3%BC", "/%C3%BC"],
  ["/%c3", REFUSED],
  ["/%c3%28", REFUSED],
  ["/%ff", REFUSED],
  ["/%ed%a0%80", REFUSED],
  ["/%f4%90%80%80", REFUSED],
  ["/%c0%80", REFUSED],
  ["/%e2%82%ac", "/%E2%82%AC"],
  ["/%ef%bf%bd", "/%EF%BF%BD"],
  // One spelling for one path.
  ["/%68ello", "/hello"],
  ["/%7Euser", "/~user"],
  ["/~user", "/~user"],
  ["/a%2Db%5Fc", "/a-b_c"],
  ["/Hello", "/Hello"],
  ["/a:b@c", "/a:b@c"],
  ["/a%3ab", "/a%3Ab"],
  ["/a!$&'()*+,=b", "/a!$&'()*+,=b"],
  ["/a%21", "/a%21"],
  ["/a|b", "/a%7Cb"],
  ["/a^b", "/a%5Eb"],
  ["/a[b]", "/a%5Bb%5D"],
  ['/a"b', "/a%22b"],
  ["/a<b>", REFUSED],
  ["/a{b}", "/a%7Bb%7D"],
  ["/a`b", REFUSED],
  ["/a%3fb", "/a%3Fb"],
  ["/a%23b", "/a%23b"],
  // Policy sees what is decoded: `forbid … path like "/secret*"`.
  ["/secret", REFUSED],
  ["/secrets/1", REFUSED],
  ["/%73ecret", REFUSED],
  ["/secre%74", REFUSED],
  ["/%73%65%63%72%65%74", REFUSED],
  ["/SECRET", "/SECRET"],
  // Queries and fragments.
  ["/a?b=c", "/a?b=c"],
  ["/a?", "/a?"],
  ["/a??", "/a??"],
  ["/a?b=/../c", "/a?b=/../c"],
  ["/a?b=%2e%2e%2f", "/a?b=..%2F"],
  ["/a?b=1&b=2", "/a?b=1&b=2"],
  ["/a?b=1;c=2", REFUSED],
  ["/a?b=%00", REFUSED],
  ["/a?b=%ff", REFUSED],
  ["/a?b=%", REFUSED],
  ["/a?b='x'", "/a?b=%27x%27"],
  ["/a?b=[1]", "/a?b=%5B1%5D"],
  ["/a?b=\\", "/a?b=%5C"],
  ["/a#b", "/a"],
  ["/a?b#c", "/a?b"],
  ["/#/../secret", "/"],
  ["?a=b", "/?a=b"],
  [`/${"a".repeat(9_000)}`, REFUSED],
  [`/${"a/".repeat(300)}`, REFUSED],
];

describe("a path that servers read in different ways", () => {
  for (const [target, outcome] of PATHS) {
    const shown = target.length > 60 ? `${target.slice(0, 60)}… (${target.length})` : target;
    it(`${outcome === REFUSED ? "is refused" : "arrives as it was decided"}: ${JSON.stringify(shown)}`, async () => {
      const before = http.upstream.received.length;
      const [answer] = await sendRaw(http.stack.gateway, request(target));
      const arrived = http.upstream.received.slice(before);
      if (outcome === REFUSED) {
        expect(arrived.map(({ target: at }) => at)).toEqual([]);
        expect(answer?.status ?? 400).toBeGreaterThanOrEqual(400);
        return;
      }
      expect(answer?.status).toBe(200);
      expect(arrived.map(({ target: at }) => at)).toEqual([outcome]);
      const operation = await newestOperation();
      expect(operation.target).toBe(outcome);
      expect(operation.facts?.[0]?.path).toBe(outcome.split("?", 1)[0]);
    });
  }
});

describe("a request target that is not a path", () => {
  const lines = [
    "GET http://127.0.0.1/secret HTTP/1.1",
    `GET http://other/http/${PLAIN}/secret HTTP/1.1`,
    `GET http://other/http/${PLAIN}/../secret HTTP/1.1`,
    "CONNECT 127.0.0.1:22 HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    `GET /http/${PLAIN}/a b HTTP/1.1`,
    `GET  /http/${PLAIN}/secret HTTP/1.1`,
    `GET /http/${PLAIN}/../../v1/whoami HTTP/1.1`,
    `GET /http/../v1/config HTTP/1.1`,
    `GET //http/${PLAIN}/a HTTP/1.1`,
    `GET /http//${PLAIN}/a HTTP/1.1`,
    `GET /http/${PLAIN.toUpperCase()}/a HTTP/1.1`,
    `GET /HTTP/${PLAIN}/a HTTP/1.1`,
    `GET /http/%70lain-api/a HTTP/1.1`,
    `TRACE /http/${PLAIN}/a HTTP/1.1`,
    `get /http/${PLAIN}/a HTTP/1.1`,
    `PROPFIND /http/${PLAIN}/a HTTP/1.1`,
  ];
  for (const line of lines) {
    it(`reaches no service: ${line}`, async () => {
      const before = http.upstream.received.length;
      const [answer] = await sendRaw(
        http.stack.gateway,
        `${line}\r\nHost: gateway\r\nAuthorization: Bearer ${token}\r\n\r\n`,
      );
      expect(http.upstream.received.slice(before)).toEqual([]);
      expect(answer?.text ?? "").not.toContain("SSH-2.0");
    });
  }
});

/** Fields of the client's that must not arrive with its value. */
const STRIPPED: readonly (readonly [string, string])[] = [
  ["Sally-Identity", "forged"],
  ["sally_identity", "forged"],
  ["SALLY-SESSION", "forged"],
  ["Sally-Grant", "forged"],
  ["Sally-Target", "%2Fsecret"],
  ["X-Sally-User", "forged"],
  ["X-Forwarded-For", "10.0.0.1"],
  ["X_Forwarded_For", "10.0.0.1"],
  ["X-Forwarded-User", "admin"],
  ["X-Forwarded-Host", "evil"],
  ["X-Forwarded-Proto", "https"],
  ["X-Forwarded-Prefix", "/secret"],
  ["Forwarded", "for=10.0.0.1"],
  ["X-Real-IP", "10.0.0.1"],
  ["X-Client-IP", "10.0.0.1"],
  ["True-Client-IP", "10.0.0.1"],
  ["X-Remote-User", "admin"],
  ["X_Remote_User", "admin"],
  ["Remote-User", "admin"],
  ["X-Auth-Request-User", "admin"],
  ["X-WebAuth-User", "admin"],
  ["X-Amzn-Oidc-Data", "forged"],
  ["X-Goog-IAP-JWT-Assertion", "forged"],
  ["X-MS-Client-Principal-Name", "admin"],
  ["Cf-Access-Jwt-Assertion", "forged"],
  ["Tailscale-User-Login", "admin"],
  ["Impersonate-User", "admin"],
  ["Proxy-Authorization", "Basic YTpi"],
  ["Proxy-Connection", "keep-alive"],
  ["Keep-Alive", "timeout=5"],
  ["TE", "trailers"],
  ["Trailer", "X-Late"],
  ["DPoP", "forged"],
  ["Via", "1.1 evil"],
];

describe("a header field that says who is asking, or is not for the service", () => {
  for (const [name, value] of STRIPPED) {
    it(`${name} of the client's does not arrive`, async () => {
      const before = http.upstream.received.length;
      const [answer] = await sendRaw(http.stack.gateway, request("/hello", [`${name}: ${value}`]));
      expect(answer?.status).toBe(200);
      const arrived = http.upstream.received.slice(before);
      expect(arrived).toHaveLength(1);
      expect(arrived[0]?.target).toBe("/hello");
      const read = name.toLowerCase().replaceAll("_", "-");
      const found = arrived[0]?.headers.filter(([field]) => field.replaceAll("_", "-") === read) ?? [];
      expect(found.map(([, at]) => at)).not.toContain(value);
    });
  }

  it("the client's token does not arrive, the connector's credential does", async () => {
    const before = http.upstream.received.length;
    await sendRaw(http.stack.gateway, request("/hello"));
    const fields = http.upstream.received[before]?.headers ?? [];
    expect(fields.filter(([name]) => name === "authorization")).toEqual([["authorization", UPSTREAM_KEY]]);
    expect(JSON.stringify(fields)).not.toContain(token);
    expect(fields.filter(([name]) => name === "host")).toEqual([["host", `127.0.0.1:${http.upstream.port}`]]);
  });

  it("what Connection names does not arrive", async () => {
    const before = http.upstream.received.length;
    await sendRaw(http.stack.gateway, request("/hello", ["Connection: X-Hop", "X-Hop: 1", "X-End: 2"]));
    const names = http.upstream.received[before]?.headers.map(([name]) => name) ?? [];
    expect(names).not.toContain("x-hop");
    expect(names).toContain("x-end");
  });

  it("cookies of the gateway's do not arrive, others do", async () => {
    const before = http.upstream.received.length;
    await sendRaw(http.stack.gateway, request("/hello", ["Cookie: a=1; __Host-sally=secret; b=2"]));
    const cookie = http.upstream.received[before]?.headers.find(([name]) => name === "cookie");
    expect(cookie?.[1]).toBe("a=1; b=2");
  });
});

/** Fields that would change what was decided. */
const REFUSED_FIELDS: readonly (readonly string[])[] = [
  ["X-HTTP-Method-Override: DELETE"],
  ["X_HTTP_Method_Override: DELETE"],
  ["X-HTTP-Method: DELETE"],
  ["X-Method-Override: DELETE"],
  ["X-Original-URL: /secret"],
  ["X-Rewrite-URL: /secret"],
  ["X-Original-URI: /secret"],
  ["X-Host: evil"],
  ["Content-Type: application/json", "Content-Type: text/plain"],
  ["Content-Type: application/json, text/plain"],
  ["Content-Encoding: gzip", "Content-Encoding: identity"],
];

describe("a header field that would change what was decided", () => {
  for (const fields of REFUSED_FIELDS) {
    it(`is refused: ${fields.join(" | ")}`, async () => {
      const before = http.upstream.received.length;
      const [answer] = await sendRaw(http.stack.gateway, request("/hello", fields));
      expect(answer?.status).toBe(400);
      expect(http.upstream.received.slice(before)).toEqual([]);
    });
  }
});

/** One request with a body that, read in another way, would be two. */
const HIDDEN = `GET /secret HTTP/1.1\r\nHost: x\r\n\r\n`;
const SMUGGLING: readonly (readonly [name: string, fields: readonly string[], body: string])[] = [
  ["CL and TE", ["Content-Length: 6", "Transfer-Encoding: chunked"], `0\r\n\r\n${HIDDEN}`],
  ["TE and CL", ["Transfer-Encoding: chunked", "Content-Length: 4"], `5c\r\n${HIDDEN}\r\n0\r\n\r\n`],
  ["two lengths", ["Content-Length: 0", `Content-Length: ${HIDDEN.length}`], HIDDEN],
  ["a list of lengths", [`Content-Length: 0, ${HIDDEN.length}`], HIDDEN],
  ["a signed length", [`Content-Length: +${HIDDEN.length}`], HIDDEN],
  ["a negative length", ["Content-Length: -1"], HIDDEN],
  ["a hexadecimal length", ["Content-Length: 0x10"], HIDDEN],
  ["a length with a space in it", ["Content-Length: 1 0"], HIDDEN],
  ["a huge length", ["Content-Length: 99999999999999999999"], HIDDEN],
  ["TE with a space before the colon", ["Transfer-Encoding : chunked"], `0\r\n\r\n${HIDDEN}`],
  ["TE with a tab", ["Transfer-Encoding:\tchunked"], `0\r\n\r\n${HIDDEN}`],
  ["TE folded", ["Transfer-Encoding:", " chunked"], `0\r\n\r\n${HIDDEN}`],
  ["TE in capitals", ["Transfer-Encoding: CHUNKED"], `0\r\n\r\n${HIDDEN}`],
  ["TE xchunked", ["Transfer-Encoding: xchunked"], `0\r\n\r\n${HIDDEN}`],
  ["TE identity", ["Transfer-Encoding: identity", "Content-Length: 5"], `0\r\n\r\n${HIDDEN}`],
  ["TE twice", ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], `0\r\n\r\n${HIDDEN}`],
  ["TE chunked, identity", ["Transfer-Encoding: chunked, identity"], `0\r\n\r\n${HIDDEN}`],
  ["TE with a vertical tab", ["Transfer-Encoding: \vchunked"], `0\r\n\r\n${HIDDEN}`],
  ["a bare LF in the head", ["X-A: b\nTransfer-Encoding: chunked"], `0\r\n\r\n${HIDDEN}`],
  ["a bare CR in a value", ["X-A: b\rTransfer-Encoding: chunked"], `0\r\n\r\n${HIDDEN}`],
  ["a NUL in a value", ["X-A: b\0c"], HIDDEN],
  ["a chunk size with a sign", ["Transfer-Encoding: chunked"], `+0\r\n\r\n${HIDDEN}`],
  ["a chunk size that overflows", ["Transfer-Encoding: chunked"], `fffffffffffffffff\r\n${HIDDEN}`],
  ["a chunk extension", ["Transfer-Encoding: chunked"], `0;a=b\r\n\r\n${HIDDEN}`],
  ["a chunk ended by LF", ["Transfer-Encoding: chunked"], `1\na\n0\n\n${HIDDEN}`],
  ["a GET with a body", ["Content-Length: 5"], `abcde${HIDDEN}`],
  [
    "Upgrade: h2c",
    ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
    HIDDEN,
  ],
];

describe("a request that could be two", () => {
  for (const [name, fields, body] of SMUGGLING) {
    it(`stays one, or is refused: ${name}`, async () => {
      const before = http.upstream.received.length;
      await sendRaw(http.stack.gateway, request("/hello", fields, "POST", body), 700);
      const arrived = http.upstream.received.slice(before);
      // Whatever follows the first request has no token: it can reach nothing, and nothing of it is the first's.
      expect(arrived.length).toBeLessThanOrEqual(1);
      expect(arrived.map(({ target }) => target)).not.toContain("/secret");
      for (const one of arrived) {
        const lengths = one.headers.filter(([field]) => field === "content-length");
        const encodings = one.headers.filter(([field]) => field === "transfer-encoding");
        expect(lengths.length + encodings.length).toBeLessThanOrEqual(1);
        const recorded = await newestOperation();
        expect(recorded.target).toBe(one.target);
      }
    });
  }
});
