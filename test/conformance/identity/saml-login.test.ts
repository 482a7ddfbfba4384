/** Signing in with SAML through the whole system, and keeping its people in a SCIM directory. */
import { createHash, randomBytes } from "node:crypto";
import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningSally, runSally, startSally } from "../../../scripts/lib/sally.ts";
import { selfSigned } from "../../support/certificate.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type Content, type SamlIdp, assertionOf, attribute, startSamlIdp } from "../../support/saml-idp.ts";
import { wrappings } from "../../support/saml-wrapping.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";
import { tokenRequest } from "../../support/token-endpoint.ts";
import { f } from "../../wire/postgres/support/messages.ts";

const SAML_TYPE = "urn:ietf:params:oauth:token-type:saml2";
const LOGIN_TYPE = "urn:ietf:params:oauth:token-type:refresh_token";
const ENTITY = "https://idp.example.com/saml";
const SCIM_TOKEN = randomBytes(32).toString("hex");
const keys = selfSigned();

let stack: PrivateStack;
let idp: SamlIdp;
let counter = 0;
const open: GatewayClient[] = [];

beforeAll(async () => {
  const indented = keys.certificate.trimEnd().replaceAll("\n", "\n      ");
  stack = await startPrivateStack({
    configuration: async (values) => ({
      ...(await testConfiguration(values)),
      "identity.yaml": `
saml:
  shop:
    entityId: ${ENTITY}
    signOnUrl: https://idp.example.com/sso?tenant=shop
    certificates: |
      ${indented}
scim:
  shop:
    issuer: ${ENTITY}
    tokens: ${createHash("sha256").update(SCIM_TOKEN).digest("hex")}
`,
    }),
  });
  const serviceProvider = `${stack.gateway}/saml/shop`;
  idp = startSamlIdp({ entityId: ENTITY, serviceProvider, acs: `${serviceProvider}/acs` }, keys);
});
afterAll(async () => {
  for (const client of open) client.drop();
  await stack?.stop();
});

const name = (): string => `person-${++counter}@shop.example`;
const secret = (): string => randomBytes(32).toString("base64url");
const challengeOf = (verifier: string): string => createHash("sha256").update(verifier).digest("base64url");

/** What a browser does with the address that it is given, up to the page that it is sent back to. */
async function browse(address: string, content: Content = {}): Promise<Response> {
  const away = await fetch(address, { redirect: "manual" });
  expect(away.status).toBe(302);
  const location = away.headers.get("location") ?? "";
  expect(location).toContain("https://idp.example.com/sso?tenant=shop&SAMLRequest=");
  const request = await idp.readRequest(location);
  expect(request.issuer).toBe(`${stack.gateway}/saml/shop`);
  return post(await idp.respond({ inResponseTo: request.id, ...content }));
}

function post(response: string): Promise<Response> {
  const body = new URLSearchParams({
    SAMLResponse: Buffer.from(response).toString("base64"),
    RelayState: "x",
  });
  return fetch(`${stack.gateway}/saml/shop/acs`, { method: "POST", body, redirect: "manual" });
}

const REDIRECT = "http://127.0.0.1:45678/callback";

function loginAddress(challenge: string, state = "a-state-of-our-own", redirect = REDIRECT): string {
  const query = { redirect_uri: redirect, state, code_challenge: challenge, code_challenge_method: "S256" };
  return `${stack.gateway}/saml/shop/login?${new URLSearchParams(query).toString()}`;
}

type Redeemed = { readonly access_token?: string; readonly refresh_token?: string; readonly error?: string };

async function redeem(code: string, verifier: string, redirect = REDIRECT): Promise<Redeemed> {
  const body = new URLSearchParams({
    grant_type: "authorization_code",
    code,
    redirect_uri: redirect,
    code_verifier: verifier,
  });
  const response = await fetch(`${stack.gateway}/oauth/token`, { method: "POST", body });
  return (await response.json()) as Redeemed;
}

async function code(verifier: string, content: Content): Promise<string> {
  const back = await browse(loginAddress(challengeOf(verifier)), content);
  expect(back.status).toBe(303);
  const address = new URL(back.headers.get("location") ?? "");
  expect(address.origin + address.pathname).toBe(REDIRECT);
  expect(address.searchParams.get("state")).toBe("a-state-of-our-own");
  return address.searchParams.get("code") ?? "";
}

/** A whole login without `sally`: a session token, and what stands for the login. */
async function signIn(content: Content): Promise<{ token: string; login: string }> {
  const verifier = secret();
  const redeemed = await redeem(await code(verifier, content), verifier);
  return { token: redeemed.access_token ?? "", login: redeemed.refresh_token ?? "" };
}

const renew = (login: string) =>
  tokenRequest(stack.gateway, { subject_token: login, subject_token_type: LOGIN_TYPE });

async function whoami(token: string): Promise<{ principal: { subject: string; groups: string[] } }> {
  const response = await fetch(`${stack.gateway}/v1/whoami`, {
    headers: { authorization: `Bearer ${token}` },
  });
  return (await response.json()) as { principal: { subject: string; groups: string[] } };
}

async function connect(token: string): Promise<GatewayClient> {
  const client = await GatewayClient.open(stack.gateway, "scratch-db", token, { noWait: true });
  open.push(client);
  return client;
}

const select = (client: GatewayClient): Promise<string[]> => client.run(f.query("select 1"));

async function scim(method: string, path: string, body?: unknown, token = SCIM_TOKEN) {
  const response = await fetch(`${stack.gateway}/scim/v2${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/scim+json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: (text === "" ? {} : JSON.parse(text)) as Record<string, unknown> };
}

const patch = (...Operations: readonly object[]): object => ({
  schemas: ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
  Operations,
});

async function glob(directory: string, pattern: RegExp): Promise<string[]> {
  return (await readdir(directory)).filter((file) => pattern.test(file)).map((file) => join(directory, file));
}

describe("sally login --saml", () => {
  it("signs in, and everything works from then on", async () => {
    const options = { gateway: stack.gateway, configHome: join(stack.directory, "saml-home") };
    const login: RunningSally = startSally(["login", "--saml", "shop", "--no-browser"], options);
    const [, address = ""] = await login.waitFor("stderr", /\n {2}(http\S+)\n/);
    const back = await browse(address, { nameId: "ada@shop.example" });
    expect(back.status).toBe(303);
    expect(back.headers.get("cache-control")).toBe("no-store");
    const page = await fetch(back.headers.get("location") ?? "");
    expect(await page.text()).toContain("You are signed in");
    expect((await login.result).stdout).toBe(`signed in to ${stack.gateway} as ada@shop.example\n`);

    const who = await runSally(["whoami", "--json"], options);
    expect(JSON.parse(who.stdout)).toMatchObject({
      principal: { type: "User", issuer: ENTITY, subject: "ada@shop.example", groups: ["engineers"] },
    });
    const query = await runSally(["psql", "scratch-db", "--", "-Atc", "select 40 + 2"], options);
    expect(query).toMatchObject({ code: 0, stdout: "42\n" });

    const [file = ""] = await glob(join(options.configHome, "sally"), /^login-/);
    const { idToken } = JSON.parse(await readFile(file, "utf8")) as { idToken: string };
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await renew(idToken)).status).toBe(200);
    expect((await runSally(["logout"], options)).code).toBe(0);
    expect((await renew(idToken)).status).toBe(400);
  });

  it("says what there is to choose from", async () => {
    const options = { gateway: stack.gateway, configHome: join(stack.directory, "saml-none") };
    const asked = await runSally(["login", "--no-browser"], options);
    expect(asked.code).toBe(2);
    expect(asked.stderr).toContain("--saml shop");
    expect((await runSally(["login", "--saml", "nobody"], options)).code).toBe(2);
  });
});

describe("a SAML login", () => {
  it("gives its code once, to whoever began it", async () => {
    const verifier = secret();
    const first = await code(verifier, { nameId: name() });
    expect((await redeem(first, verifier)).access_token).toMatch(/^ey/);
    expect(await redeem(first, verifier)).toMatchObject({ error: "invalid_grant" });

    const second = await code(verifier, { nameId: name() });
    expect(await redeem(second, secret())).toMatchObject({ error: "invalid_grant" });
    // One wrong guess was the only one.
    expect(await redeem(second, verifier)).toMatchObject({ error: "invalid_grant" });

    const third = await code(verifier, { nameId: name() });
    expect(await redeem(third, verifier, "http://127.0.0.1:1/callback")).toMatchObject({
      error: "invalid_grant",
    });
  });

  it("renews its session tokens without the browser", async () => {
    const { login } = await signIn({ nameId: "lin@shop.example" });
    const renewed = await renew(login);
    expect(await whoami(renewed.token())).toMatchObject({ principal: { subject: "lin@shop.example" } });
    expect((await renew(login)).status).toBe(200);
    expect((await renew(`${login.slice(0, -2)}AA`)).status).toBe(400);
  });

  it.each([
    ["to another host", { redirect_uri: "http://evil.example/callback" }],
    ["to another host behind ours", { redirect_uri: "http://127.0.0.1:80@evil.example/callback" }],
    ["to another path", { redirect_uri: "http://127.0.0.1:8080/other" }],
    ["to no port", { redirect_uri: "http://127.0.0.1/callback" }],
    ["without a state", { state: "" }],
    ["without a challenge", { code_challenge: "" }],
    ["with a plain challenge", { code_challenge_method: "plain" }],
  ])("does not begin %s", async (_, change) => {
    const address = new URL(loginAddress(challengeOf(secret())));
    for (const [key, value] of Object.entries(change)) address.searchParams.set(key, value);
    const answer = await fetch(address, { redirect: "manual" });
    expect(answer.status).toBe(400);
  });

  it("publishes what a provider has to know", async () => {
    const answer = await fetch(`${stack.gateway}/saml/shop/metadata`);
    expect(answer.headers.get("content-type")).toBe("application/samlmetadata+xml");
    const text = await answer.text();
    expect(text).toContain(`entityID="${stack.gateway}/saml/shop"`);
    expect(text).toContain(`Location="${stack.gateway}/saml/shop/acs"`);
    expect(text).toContain('WantAssertionsSigned="true"');
    expect((await fetch(`${stack.gateway}/saml/nobody/metadata`)).status).toBe(404);
  });
});

describe("a SAML response", () => {
  /** A login that is under way, and a response to it that nobody has posted yet. */
  async function waiting(content: Content = {}): Promise<string> {
    const away = await fetch(loginAddress(challengeOf(secret())), { redirect: "manual" });
    const { id } = await idp.readRequest(away.headers.get("location") ?? "");
    return idp.respond({ inResponseTo: id, nameId: name(), ...content });
  }

  it("is taken once", async () => {
    const response = await waiting();
    expect((await post(response)).status).toBe(303);
    expect((await post(response)).status).toBe(401);
  });

  it("answers one login, once: not even a new assertion answers it again", async () => {
    const away = await fetch(loginAddress(challengeOf(secret())), { redirect: "manual" });
    const { id } = await idp.readRequest(away.headers.get("location") ?? "");
    expect((await post(await idp.respond({ inResponseTo: id, nameId: name() }))).status).toBe(303);
    expect((await post(await idp.respond({ inResponseTo: id, nameId: name() }))).status).toBe(401);
  });

  it("with an assertion that another login has used is refused", async () => {
    expect((await post(await waiting({ assertionId: "_same" }))).status).toBe(303);
    expect((await post(await waiting({ assertionId: "_same" }))).status).toBe(401);
  });

  it("that nobody asked for is refused", async () => {
    expect((await post(await idp.respond({ inResponseTo: "" }))).status).toBe(401);
    expect((await post(await idp.respond({ inResponseTo: "req_unknown" }))).status).toBe(401);
  });

  it("is refused in the same words whatever is wrong, and leaves the login open for the right one", async () => {
    const response = await waiting();
    const stranger = selfSigned();
    const forged = await startSamlIdp(
      {
        entityId: ENTITY,
        serviceProvider: `${stack.gateway}/saml/shop`,
        acs: `${stack.gateway}/saml/shop/acs`,
      },
      stranger,
    ).respond({ inResponseTo: /InResponseTo="([^"]+)"/.exec(response)?.[1] ?? "" });
    const bodies = new Set<string>();
    for (const wrong of [
      forged,
      `<!DOCTYPE x>${response}`,
      "not xml",
      response.replace("engineers", "admins"),
    ]) {
      const answer = await post(wrong);
      expect(answer.status).toBe(401);
      bodies.add(await answer.text());
    }
    expect(bodies.size).toBe(1);
    expect((await post(response)).status).toBe(303);
  });

  it("is refused in every wrapping", async () => {
    const nameId = "ada@shop.example";
    const response = await waiting({ nameId });
    const request = /InResponseTo="([^"]+)"/.exec(response)?.[1] ?? "";
    const whole = await idp.respond({ inResponseTo: request, nameId }, { response: true });
    for (const attack of wrappings(response, whole)) {
      expect((await post(attack.response)).status, attack.name).toBe(401);
    }
    expect((await post(response)).status).toBe(303);
  });

  it("breaks nothing, however it is damaged", async () => {
    const response = await waiting();
    const bytes = Buffer.from(response);
    // The same damage in every run: a linear congruential generator.
    let seed = 20_261_122;
    const random = (most: number): number => (seed = (seed * 48_271) % 2_147_483_647) % most;
    const outcomes = new Map<number, number>();
    for (let round = 0; round < 250; round++) {
      const damaged = Buffer.from(bytes);
      const kind = random(4);
      const at = random(bytes.length - 1);
      let sent: Buffer = damaged;
      if (kind === 0) damaged[at] = random(256);
      else if (kind === 1) sent = damaged.subarray(0, at);
      else if (kind === 2)
        sent = Buffer.concat([damaged.subarray(0, at), damaged.subarray(random(bytes.length))]);
      else
        sent = Buffer.concat([
          damaged.subarray(0, at),
          Buffer.from("<saml:Assertion>"),
          damaged.subarray(at),
        ]);
      const body = new URLSearchParams({ SAMLResponse: sent.toString("base64") });
      const answer = await fetch(`${stack.gateway}/saml/shop/acs`, {
        method: "POST",
        body,
        redirect: "manual",
      });
      outcomes.set(answer.status, (outcomes.get(answer.status) ?? 0) + 1);
      await answer.body?.cancel();
      if (answer.status !== 303) continue;
      // What the signature does not cover may differ; where the login goes does not come from there.
      expect(new URL(answer.headers.get("location") ?? "").origin).toBe("http://127.0.0.1:45678");
    }
    expect([...outcomes.keys()].every((status) => status === 401 || status === 303)).toBe(true);
    expect((await fetch(`${stack.gateway}/healthz`)).status).toBe(200);
  });
});

describe("an assertion at the token endpoint", () => {
  const give = (assertion: string) =>
    tokenRequest(stack.gateway, {
      subject_token: Buffer.from(assertion).toString("base64url"),
      subject_token_type: SAML_TYPE,
    });

  it("is a subject token, once (RFC 7522)", async () => {
    const recipient = `${stack.gateway}/oauth/token`;
    const subject = name();
    const assertion = assertionOf(await idp.respond({ recipient, inResponseTo: "", nameId: subject }));
    const first = await give(assertion);
    expect(await whoami(first.token())).toMatchObject({ principal: { subject, groups: ["engineers"] } });
    expect(await give(assertion)).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });

  it("is refused when it was made for the web", async () => {
    expect((await give(assertionOf(await idp.respond()))).status).toBe(400);
  });
});

describe("a SCIM directory", () => {
  it("is open to its own token only", async () => {
    for (const token of ["", "x".repeat(64), createHash("sha256").update(SCIM_TOKEN).digest("hex")]) {
      expect((await scim("GET", "/Users", undefined, token)).status).toBe(401);
    }
    expect((await scim("GET", "/ServiceProviderConfig")).body).toMatchObject({ patch: { supported: true } });
    expect((await scim("GET", "/Schemas")).body).toMatchObject({ totalResults: 2 });
    expect((await scim("GET", "/ResourceTypes/User")).body).toMatchObject({ endpoint: "/Users" });
  });

  it("speaks from its first user on: its groups are the groups, and who is not in it is nobody", async () => {
    const before = await signIn({ nameId: "stranger@shop.example" });
    const made = await scim("POST", "/Users", { userName: "scim-1@shop.example", active: true });
    expect(made.status).toBe(201);
    const group = await scim("POST", "/Groups", {
      displayName: "dba",
      members: [{ value: made.body["id"] }],
    });
    expect(group.status).toBe(201);
    // The assertion says engineers, the directory says dba.
    const { token } = await signIn({
      nameId: "scim-1@shop.example",
      attributes: attribute("groups", "engineers"),
    });
    expect(await whoami(token)).toMatchObject({ principal: { groups: ["dba"] } });
    expect((await renew(before.login)).status).toBe(400);
    expect(await whoami(before.token)).toMatchObject({ code: "principal_revoked" });
  });

  async function person(...groups: string[]) {
    const userName = name();
    const user = await scim("POST", "/Users", { userName });
    const id = String(user.body["id"]);
    for (const displayName of groups) {
      const found = await scim(
        "GET",
        `/Groups?${new URLSearchParams({ filter: `displayName eq "${displayName}"` }).toString()}`,
      );
      const [group] = found.body["Resources"] as { id: string }[];
      const groupId = group?.id ?? String((await scim("POST", "/Groups", { displayName })).body["id"]);
      const added = await scim(
        "PATCH",
        `/Groups/${groupId}`,
        patch({ op: "add", path: "members", value: [{ value: id }] }),
      );
      expect(added.status).toBe(204);
    }
    return { id, userName };
  }

  async function groupId(displayName: string): Promise<string> {
    const query = new URLSearchParams({
      filter: `displayName eq "${displayName}"`,
      excludedAttributes: "members",
    });
    const found = await scim("GET", `/Groups?${query.toString()}`);
    const [group] = found.body["Resources"] as { id: string; members?: unknown }[];
    expect(group).not.toHaveProperty("members");
    return group?.id ?? "";
  }

  it("denies the next operation of whoever leaves a group, and allows it again", async () => {
    const { id, userName } = await person("engineers");
    const { token } = await signIn({ nameId: userName });
    const client = await connect(token);
    expect(await select(client)).toContain("C SELECT 1");
    const engineers = await groupId("engineers");
    await scim("PATCH", `/Groups/${engineers}`, patch({ op: "remove", path: `members[value eq "${id}"]` }));
    expect((await select(client)).join()).toMatch(/E 42501/);
    await scim(
      "PATCH",
      `/Groups/${engineers}`,
      patch({ op: "add", path: "members", value: [{ value: id }] }),
    );
    expect(await select(client)).toContain("C SELECT 1");
    // The name of the group is what policies know.
    await scim(
      "PATCH",
      `/Groups/${engineers}`,
      patch({ op: "replace", value: { displayName: "ex-engineers" } }),
    );
    expect((await select(client)).join()).toMatch(/E 42501/);
    await scim(
      "PATCH",
      `/Groups/${engineers}`,
      patch({ op: "replace", path: "displayName", value: "engineers" }),
    );
    expect(await select(client)).toContain("C SELECT 1");
  });

  it.each<readonly [string, (id: string) => Promise<{ status: number }>]>([
    [
      "deactivated by Okta",
      (id) => scim("PATCH", `/Users/${id}`, patch({ op: "replace", value: { active: false } })),
    ],
    [
      "deactivated by Entra ID",
      (id) => scim("PATCH", `/Users/${id}`, patch({ op: "Replace", path: "active", value: "False" })),
    ],
    [
      "replaced as inactive",
      async (id) => {
        const { body } = await scim("GET", `/Users/${id}`);
        return scim("PUT", `/Users/${id}`, { ...body, active: false });
      },
    ],
    [
      "renamed",
      (id) => scim("PATCH", `/Users/${id}`, patch({ op: "replace", path: "userName", value: name() })),
    ],
    ["deleted", (id) => scim("DELETE", `/Users/${id}`)],
  ])("ends everything at once for who is %s", async (_, leave) => {
    const { id, userName } = await person("engineers");
    const { token, login } = await signIn({ nameId: userName });
    const client = await connect(token);
    expect(await select(client)).toContain("C SELECT 1");
    const before = performance.now();
    expect((await leave(id)).status).toBeLessThan(300);
    await client.closed;
    expect(performance.now() - before).toBeLessThan(5000);
    expect(await whoami(token)).toMatchObject({ code: "principal_revoked" });
    expect((await renew(login)).status).toBe(400);
    const verifier = secret();
    // The provider still signs them in; we do not.
    expect(await redeem(await code(verifier, { nameId: userName }), verifier)).not.toHaveProperty(
      "access_token",
    );
  });

  it("lets somebody in again who is active again, with a new login only", async () => {
    const { id, userName } = await person("engineers");
    const { login, token } = await signIn({ nameId: userName });
    await scim("PATCH", `/Users/${id}`, patch({ op: "replace", path: "active", value: false }));
    await scim("PATCH", `/Users/${id}`, patch({ op: "replace", path: "active", value: true }));
    expect((await renew(login)).status).toBe(400);
    expect(await whoami(token)).toMatchObject({ code: "principal_revoked" });
    // Tokens carry whole seconds: one of the second of the revocation counts as from before it.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const again = await signIn({ nameId: userName });
    expect(await whoami(again.token)).toMatchObject({ principal: { groups: ["engineers"] } });
  });

  it("is what Okta expects of it", async () => {
    const user = {
      schemas: ["urn:ietf:params:scim:schemas:core:2.0:User"],
      userName: "okta@shop.example",
      name: { givenName: "Oke", familyName: "Ta" },
      emails: [{ primary: true, value: "okta@shop.example", type: "work" }],
      displayName: "Oke Ta",
      locale: "en-US",
      externalId: "00ujl29u0le5T6Aj10h7",
      groups: [],
      password: "1mz050nq",
      active: true,
    };
    const query = new URLSearchParams({
      filter: 'userName eq "OKTA@shop.example"',
      startIndex: "1",
      count: "100",
    });
    expect((await scim("GET", `/Users?${query.toString()}`)).body).toMatchObject({
      totalResults: 0,
      Resources: [],
    });
    const made = await scim("POST", "/Users", user);
    expect(made).toMatchObject({
      status: 201,
      body: { userName: user.userName, name: user.name, active: true },
    });
    expect(JSON.stringify(made.body)).not.toContain(user.password);
    expect(await scim("POST", "/Users", user)).toMatchObject({
      status: 409,
      body: { scimType: "uniqueness", status: "409" },
    });
    expect((await scim("GET", `/Users?${query.toString()}`)).body).toMatchObject({ totalResults: 1 });
    const replaced = await scim("PUT", `/Users/${String(made.body["id"])}`, {
      ...made.body,
      displayName: "O. Ta",
    });
    expect(replaced).toMatchObject({ status: 200, body: { displayName: "O. Ta", id: made.body["id"] } });
    const group = await scim("POST", "/Groups", {
      schemas: ["urn:ietf:params:scim:schemas:core:2.0:Group"],
      displayName: "Okta pushed",
      members: [{ value: made.body["id"], display: "okta@shop.example" }],
    });
    expect(group.body).toMatchObject({ members: [{ value: made.body["id"] }] });
    expect((await scim("GET", `/Users/${String(made.body["id"])}`)).body).toMatchObject({
      groups: [{ display: "Okta pushed" }],
    });
    const emptied = await scim("PUT", `/Groups/${String(group.body["id"])}`, { displayName: "Okta pushed" });
    expect(emptied.body).toMatchObject({ members: [] });
    expect((await scim("DELETE", `/Groups/${String(group.body["id"])}`)).status).toBe(204);
    expect((await scim("GET", `/Groups/${String(group.body["id"])}`)).status).toBe(404);
  });

  it("is what Entra ID expects of it", async () => {
    const enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    const made = await scim("POST", "/Users", {
      schemas: ["urn:ietf:params:scim:schemas:core:2.0:User", enterprise],
      externalId: "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
      userName: "Test_User_ab6490ee@shop.example",
      active: true,
      emails: [{ primary: true, type: "work", value: "Test_User@shop.example" }],
      meta: { resourceType: "User" },
      name: { formatted: "given family", familyName: "family", givenName: "given" },
      [enterprise]: { department: "hr" },
      roles: [],
    });
    const at = `/Users/${String(made.body["id"])}`;
    expect(made.body["schemas"]).toContain(enterprise);
    const changed = await scim(
      "PATCH",
      at,
      patch(
        { op: "Replace", path: 'emails[type eq "work"].value', value: "updated@shop.example" },
        { op: "Replace", path: "name.familyName", value: "updatedFamily" },
        { op: "Add", path: `${enterprise}:department`, value: "it" },
        { op: "Add", path: 'phoneNumbers[type eq "mobile"].value', value: "+4912345" },
        { op: "Remove", path: "roles" },
      ),
    );
    expect(changed).toMatchObject({
      status: 200,
      body: {
        emails: [{ primary: true, type: "work", value: "updated@shop.example" }],
        name: { familyName: "updatedFamily", givenName: "given" },
        [enterprise]: { department: "it" },
        phoneNumbers: [{ type: "mobile", value: "+4912345" }],
      },
    });
    expect(changed.body).not.toHaveProperty("roles");
    const byExternal = new URLSearchParams({
      filter: 'externalId eq "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef"',
    });
    expect((await scim("GET", `/Users?${byExternal.toString()}`)).body).toMatchObject({ totalResults: 1 });
    const group = await scim("POST", "/Groups", { displayName: "Entra pushed", externalId: "e-1" });
    const member = { value: made.body["id"] };
    const added = await scim(
      "PATCH",
      `/Groups/${String(group.body["id"])}`,
      patch({ op: "Add", path: "members", value: [member] }),
    );
    expect(added.status).toBe(204);
    const both = `id eq "${String(group.body["id"])}" and members eq "${String(made.body["id"])}"`;
    expect(
      (await scim("GET", `/Groups?${new URLSearchParams({ filter: both }).toString()}`)).body,
    ).toMatchObject({
      totalResults: 1,
    });
    const removed = await scim(
      "PATCH",
      `/Groups/${String(group.body["id"])}`,
      patch({ op: "Remove", path: "members", value: [member] }),
    );
    expect(removed.status).toBe(204);
    expect(
      (await scim("GET", `/Groups?${new URLSearchParams({ filter: both }).toString()}`)).body,
    ).toMatchObject({
      totalResults: 0,
    });
  });

  it.each<readonly [string, string, string, unknown, number, string | undefined]>([
    ["no name", "POST", "/Users", { active: true }, 400, "invalidValue"],
    ["a name that cannot be shown", "POST", "/Users", { userName: "a\u{202e}b" }, 400, "invalidValue"],
    ["an attribute twice", "POST", "/Users", { userName: "a", USERNAME: "b" }, 400, "invalidSyntax"],
    ["active that is neither", "POST", "/Users", { userName: "a", active: "maybe" }, 400, "invalidValue"],
    [
      "a member that is nobody",
      "POST",
      "/Groups",
      { displayName: "g", members: [{ value: "usr_0" }] },
      400,
      "invalidValue",
    ],
    ["too much", "POST", "/Users", { userName: "a", note: "x".repeat(70_000) }, 413, undefined],
    ["an unknown filter", "GET", "/Users?filter=password%20eq%20%22a%22", undefined, 400, "invalidFilter"],
    [
      "a filter that goes on",
      "GET",
      "/Users?filter=userName%20eq%20%22a%22%20or%20active%20eq%20true",
      undefined,
      400,
      "invalidFilter",
    ],
    ["an unknown user", "PATCH", "/Users/usr_0", patch({ op: "add" }), 404, undefined],
    ["an unknown kind", "GET", "/Cars", undefined, 404, undefined],
    ["a list", "POST", "/Users", [], 400, "invalidSyntax"],
  ])("refuses %s", async (_, method, path, body, status, scimType) => {
    const answer = await scim(method, path, body);
    expect(answer.status).toBe(status);
    expect(answer.body["schemas"]).toEqual(["urn:ietf:params:scim:api:messages:2.0:Error"]);
    if (scimType !== undefined) expect(answer.body["scimType"]).toBe(scimType);
  });

  it("changes nothing when one operation of several is refused", async () => {
    const { id } = await person();
    const answer = await scim(
      "PATCH",
      `/Users/${id}`,
      patch(
        { op: "replace", path: "displayName", value: "new" },
        { op: "replace", path: "__proto__.polluted", value: "x" },
      ),
    );
    expect(answer.status).toBe(400);
    expect((await scim("GET", `/Users/${id}`)).body).not.toHaveProperty("displayName");
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });

  it("leaves the people of other issuers alone", async () => {
    expect(await whoami(await stack.sessionToken("engineer"))).toMatchObject({
      principal: { groups: ["engineers"] },
    });
  });
});
