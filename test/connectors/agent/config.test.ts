import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadConfig } from "../../../connectors/agent/config.ts";
import { parseAddress } from "../../../connectors/agent/postgres/config.ts";
import { formatProblem } from "../../../connectors/lib/config-file.ts";
import { makeAuthority } from "./certificates.ts";

let directory: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "config-test-"));
  await makeAuthority(directory, "ca", "ed25519");
  writeFileSync(join(directory, "not-a-ca.pem"), "hello");
  writeFileSync(
    join(directory, "broken.pem"),
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
  );
});
afterAll(() => rmSync(directory, { recursive: true }));

const GOOD = `gateway: https://gateway.example/
name: demo
stateDirectory: state
resources:
  shop-db:
    protocol: postgres
    address: 127.0.0.1:5433
    database: shop
    user: sallyport
    password: env:SHOP_DB_PASSWORD
`;

async function problems(text: string): Promise<string[]> {
  const file = join(directory, "c.yaml");
  writeFileSync(file, text);
  const loaded = await loadConfig(file);
  return loaded.ok ? [] : loaded.error.map((problem) => formatProblem(problem).replace(`${file}:`, ""));
}

describe("the connector's config", () => {
  it("is taken when it is right", async () => {
    expect(await problems(GOOD)).toEqual([]);
    expect(await problems(GOOD.replace("127.0.0.1:5433", "db.internal") + "    tls: verify-full\n")).toEqual(
      [],
    );
    expect(await problems(GOOD.replace("127.0.0.1:5433", "db.internal") + "    tls: on\n")).toEqual([]);
    expect(await problems(GOOD.replace("127.0.0.1:5433", "db.internal") + "    tls: off\n")).toEqual([]);
    expect(
      await problems(GOOD.replace("127.0.0.1:5433", "db.internal") + `    ca: ${directory}/ca.crt\n`),
    ).toEqual([]);
    expect(await problems(GOOD.replace("127.0.0.1:5433", "/run/postgresql/.s.PGSQL.5432"))).toEqual([]);
  });

  it.each([
    [
      "an unknown key",
      `${GOOD}labels: {}
`,
      '11:1: unknown key "labels"; allowed: gateway, name, stateDirectory, joinToken, resources',
    ],
    ["a missing key", GOOD.replace("    user: sallyport\n", ""), "5:3: resources.shop-db.user is missing"],
    [
      "an unknown protocol",
      GOOD.replace("protocol: postgres", "protocol: postgre"),
      /^6:5: resources\.shop-db\.protocol: invalid discriminator value\. Expected.*'postgres'/,
    ],
    [
      "a password in the file",
      GOOD.replace("env:SHOP_DB_PASSWORD", "hunter2"),
      "10:5: resources.shop-db.password: a secret does not stand here itself: name its source as env:NAME, file:PATH or exec:COMMAND",
    ],
    [
      "an address with a bad port",
      GOOD.replace("5433", "70000"),
      "7:5: resources.shop-db.address: must be host:port, [IPv6]:port or the path of a local socket",
    ],
    [
      "another machine without a word on TLS",
      GOOD.replace("127.0.0.1", "10.0.0.5"),
      /^7:5: resources\.shop-db\.address: is not this machine: choose tls/,
    ],
    ["a wrong word for TLS", `${GOOD}    tls: verify-ful\n`, /^11:5: resources\.shop-db\.tls: /],
    [
      "an authority with tls: require",
      `${GOOD}    tls: require\n    ca: x\n`,
      "12:5: resources.shop-db.ca: has no effect with tls: require; use verify-full or verify-ca",
    ],
    [
      "an authority that is not there",
      `${GOOD}    ca: /nowhere.pem\n`,
      "11:5: resources.shop-db.ca: /nowhere.pem cannot be used (ENOENT)",
    ],
    [
      "a gateway without TLS elsewhere",
      GOOD.replace("https://gateway.example/", "http://gateway.example"),
      "1:1: gateway: must be https:// unless the gateway is on this machine",
    ],
    [
      "a gateway that is no address",
      GOOD.replace("https://gateway.example/", "gateway"),
      "1:1: gateway: must be an https:// address",
    ],
    [
      "a gateway with a password",
      GOOD.replace("https://", "https://a:b@"),
      "1:1: gateway: must be an address without user, query or fragment",
    ],
    [
      "a name with capitals",
      GOOD.replace("name: demo", "name: Demo"),
      "2:1: name: must be lower case letters, digits and hyphens, at most 63",
    ],
    ["no resources", GOOD.replace(/resources:[^]*/, "resources: {}\n"), "4:1: resources: names no resource"],
    ["a key twice", `${GOOD}    user: twice\n`, /^11:5: Map keys must be unique/],
    ["a tab for indentation", GOOD.replace("  shop-db", "\tshop-db"), /^5:1: Tabs are not allowed/],
    ["a list", "- a\n", /^1:1: invalid input: expected object/],
    ["nothing", "", /invalid input: expected object/],
  ])("says where %s stands and what is allowed", async (_what, text, expected) => {
    const found = await problems(text);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(
      typeof expected === "string"
        ? new RegExp(`^${expected.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`)
        : expected,
    );
  });

  it("never repeats a password that stands in the file by mistake", async () => {
    expect((await problems(GOOD.replace("env:SHOP_DB_PASSWORD", "hunter2"))).join()).not.toContain("hunter2");
    expect((await problems(GOOD.replace("env:SHOP_DB_PASSWORD", "env:hunter2 geheim"))).join()).not.toContain(
      "hunter2",
    );
  });

  it("refuses files that hold no certificate", async () => {
    expect(await problems(`${GOOD}    ca: ${directory}/not-a-ca.pem\n`)).toEqual([
      `11:5: resources.shop-db.ca: ${directory}/not-a-ca.pem holds no PEM certificate`,
    ]);
    expect(await problems(`${GOOD}    ca: ${directory}/broken.pem\n`)).toEqual([
      `11:5: resources.shop-db.ca: ${directory}/broken.pem holds a certificate that cannot be read`,
    ]);
  });

  it("says so when there is no such file", async () => {
    const loaded = await loadConfig(join(directory, "absent.yaml"));
    expect(loaded.ok ? [] : loaded.error.map(formatProblem)).toEqual([
      `${join(directory, "absent.yaml")}: there is no such file`,
    ]);
  });

  it("survives an explosion of aliases", async () => {
    const bomb = `a: &a [1,1,1,1,1,1,1,1,1,1]\n${"bcdefghij"
      .split("")
      .map((name, i) => `${name}: &${name} [${Array(10).fill(`*${"abcdefghij"[i]}`).join(",")}]`)
      .join("\n")}\n`;
    expect(await problems(bomb)).toEqual(["1:1: has too many aliases"]);
  });
});

describe("addresses", () => {
  it.each([
    ["db.internal", { kind: "tcp", host: "db.internal", port: 5432 }],
    ["db.internal:1", { kind: "tcp", host: "db.internal", port: 1 }],
    ["[::1]:5433", { kind: "tcp", host: "::1", port: 5433 }],
    ["[2001:db8::7]", { kind: "tcp", host: "2001:db8::7", port: 5432 }],
    ["/run/postgresql/.s.PGSQL.5432", { kind: "local", path: "/run/postgresql/.s.PGSQL.5432" }],
    ["", undefined],
    ["::1", undefined],
    ["host:0", undefined],
    ["host:65536", undefined],
    ["host:54 32", undefined],
    ["user@host", undefined],
    ["postgres://host", undefined],
  ])("reads %j", (text, address) => {
    expect(parseAddress(text)).toEqual(address);
  });
});
