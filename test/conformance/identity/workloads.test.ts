/** The configurations of docs/ci.md, each against a real OpenID provider that says what the platform would. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { callApi } from "../../../scripts/lib/gateway-api.ts";
import { type Oidc, startOidc } from "../../../scripts/lib/oidc.ts";
import { ROOT } from "../../../scripts/lib/run.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";
import { TYPES, api, tokenRequest } from "../../support/token-endpoint.ts";

const POLICY = `
@id("deploy-migrates")
permit (principal in Group::"deploy", action in Action::"postgres", resource == Resource::"scratch-db");
`;
const AUDIENCE = "https://sally.example.com";

type Claims = Readonly<Record<string, unknown>>;
type Platform = {
  readonly heading: string;
  readonly audience?: string;
  /** What the platform says of the job that may migrate. */
  readonly job: Claims;
  /** Changes that leave it a workload without the group. */
  readonly others: readonly Claims[];
  /** Changes that leave it nobody. */
  readonly strangers: readonly Claims[];
};

const PLATFORMS: readonly Platform[] = [
  {
    heading: "GitHub Actions",
    job: {
      sub: "repo:acme/shop:environment:production",
      repository: "acme/shop",
      repository_owner: "acme",
      environment: "production",
      event_name: "push",
      ref: "refs/heads/main",
      runner_environment: "github-hosted",
    },
    others: [
      { environment: undefined, sub: "repo:acme/shop:ref:refs/heads/main" },
      { environment: "production2" },
      { repository: "acme/shop-fork", sub: "repo:acme/shop-fork:environment:production" },
    ],
    strangers: [
      { repository_owner: "acme-evil" },
      { repository_owner: "Acme" },
      { repository_owner: undefined },
    ],
  },
  {
    heading: "GitLab",
    job: {
      sub: "project_path:acme/shop:ref_type:branch:ref:main",
      namespace_path: "acme",
      project_path: "acme/shop",
      ref: "main",
      ref_protected: "true",
      environment: "production",
    },
    others: [{ ref_protected: "false" }, { project_path: "acme/shop2" }],
    strangers: [{ namespace_path: "evil/acme" }],
  },
  {
    heading: "Kubernetes service account",
    job: {
      sub: "system:serviceaccount:shop:migrator",
      "kubernetes.io": { namespace: "shop", serviceaccount: { name: "migrator", uid: "1" } },
    },
    others: [{ sub: "system:serviceaccount:shop:default" }],
    strangers: [
      { sub: "system:serviceaccount:shop2:migrator" },
      { sub: "system:serviceaccount:kube-system:x" },
    ],
  },
  {
    heading: "Google Cloud",
    job: {
      sub: "104857600000000000000",
      azp: "104857600000000000000",
      email: "migrator@shop-prod.iam.gserviceaccount.com",
      email_verified: true,
    },
    others: [{ email: "report@shop-prod.iam.gserviceaccount.com" }, { email_verified: false }],
    strangers: [{ email: "migrator@evil-prod.iam.gserviceaccount.com" }, { email: undefined }],
  },
  {
    heading: "AWS",
    job: {
      sub: "arn:aws:iam::123456789012:role/shop-migrator",
      "https://sts.amazonaws.com/": { aws_account: "123456789012", org_id: "o-example" },
    },
    others: [{ sub: "arn:aws:iam::123456789012:role/shop-migrator-2" }],
    strangers: [{ sub: "arn:aws:iam::210987654321:role/shop-migrator" }],
  },
  {
    heading: "Azure",
    audience: "66666666-7777-8888-9999-000000000000",
    job: {
      sub: "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
      oid: "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
      tid: "11111111-2222-3333-4444-555555555555",
      idtyp: "app",
      ver: "2.0",
    },
    others: [{ oid: "aaaaaaaa-bbbb-cccc-dddd-ffffffffffff" }],
    strangers: [{ tid: "11111111-2222-3333-4444-666666666666" }, { idtyp: "user" }],
  },
];

let stack: PrivateStack;
let platform: Oidc;
let guide: string;
beforeAll(async () => {
  stack = await startPrivateStack();
  platform = await startOidc({ logFile: join(stack.directory, "platform.log") });
  guide = await readFile(join(ROOT, "docs/ci.md"), "utf8");
});
afterAll(async () => {
  await platform.stop();
  await stack.stop();
});

/** The first YAML block under a heading, which is the configuration, with this provider in the platform's place. */
function configurationOf(heading: string): string {
  const block = new RegExp(`^## ${heading}\n[^]*?\`\`\`yaml\n([^]*?)\`\`\``, "m").exec(guide)?.[1] ?? "";
  expect(block).toContain("issuers:");
  return block
    .replace(/^( {2}- issuer: ).*$/m, `$1${platform.issuer}`)
    .replace(/algorithms: .*/, "algorithms: RS256");
}

async function configure(heading: string): Promise<void> {
  const files = await testConfiguration({ issuer: stack.issuer });
  await callApi(stack.gateway, "PUT", "/v1/config", {
    token: await stack.sessionToken("reviewer-a"),
    body: { files: { ...files, "platform.yaml": configurationOf(heading), "platform.cedar": POLICY } },
  });
}

describe.each(PLATFORMS)("$heading", ({ heading, audience = AUDIENCE, job, others, strangers }) => {
  const exchange = async (claims: Claims, aud = audience) => {
    // The provider's own users have claims that a platform's jobs have not.
    const none = { email: undefined, preferred_username: undefined, name: undefined, groups: undefined };
    const token = await platform.issueIdToken("agent", {
      ttl: 300,
      audience: aud,
      claims: { ...none, ...job, ...claims },
    });
    return tokenRequest(stack.gateway, { subject_token: token, subject_token_type: TYPES.jwt });
  };

  it("lets the job in that the guide means, and nobody else", async () => {
    await configure(heading);
    const answer = await exchange({});
    const { body } = await api(stack.gateway, answer.token(), "GET", "/v1/whoami");
    expect(body).toMatchObject({
      principal: { type: "Workload", issuer: platform.issuer, groups: ["deploy"] },
    });

    for (const other of others) {
      const whoami = await api(stack.gateway, (await exchange(other)).token(), "GET", "/v1/whoami");
      expect(whoami.body, JSON.stringify(other)).toMatchObject({
        principal: { type: "Workload", groups: [] },
      });
    }
    for (const stranger of strangers) {
      const refused = await exchange(stranger);
      expect(refused, JSON.stringify(stranger)).toMatchObject({
        status: 400,
        body: { error: "invalid_request" },
      });
    }
    expect((await exchange({}, "https://other.example.com")).status).toBe(400);
  });
});

describe("a job of any platform", () => {
  it("is a job of sally's with no secret but the platform's token", async () => {
    const { heading, job } = PLATFORMS[1] as Platform;
    await configure(heading);
    const token = await platform.issueIdToken("agent", {
      ttl: 300,
      audience: AUDIENCE,
      claims: { email: undefined, groups: undefined, ...job },
    });
    const env = { SALLY_TOKEN_FILE: "", SALLY_TOKEN: token };
    const report = ["run", "scratch-db", "--no-wait", "--", "psql", "-Atc", "select current_database()"];
    expect(await stack.sally("agent", report, { env })).toMatchObject({ code: 0, stdout: "scratch\n" });
  });
});
