/** PostgreSQL 14, 16 and 17 behind the gateway; 18 is everywhere else, the distribution's in older-server.test.ts. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createShop } from "../../../scripts/demo/shop.ts";
import { type Postgres, generatePassword, startPostgres } from "../../../scripts/lib/postgres.ts";
import { PACKAGED_VERSIONS, postgresOfVersion } from "../../support/postgres-versions.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";

// The registry has these servers for Linux on x64 only, which is what the continuous build runs on.
const hasPackages = process.platform === "linux" && process.arch === "x64";

describe.skipIf(!hasPackages).each(PACKAGED_VERSIONS)("PostgreSQL %i", (major) => {
  let stack: PrivateStack;
  let server: Postgres;
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), `sallyport-${major}-`));
    server = await startPostgres({
      dataDirectory: join(directory, "data"),
      superuserPassword: generatePassword(),
      binaries: await postgresOfVersion(major),
      unsafe: true,
    });
    const shopPassword = generatePassword();
    await createShop(server, { password: shopPassword });
    stack = await startPrivateStack({ postgres: { server, shopPassword } });
  });
  afterAll(async () => {
    await stack?.stop();
    await server?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const psql = (who: "engineer" | "reviewer-a", sql: string, ...options: string[]) =>
    stack.sally(who, ["psql", "shop-db", ...options, "--", "-Atc", sql]);

  it("is what this is about", async () => {
    const { stdout } = await psql("engineer", "show server_version_num");
    expect(Math.floor(Number(stdout) / 10_000)).toBe(major);
  });

  it("masks what is masked, through a view, an aggregate and COPY, and shows it to who may see it", async () => {
    const columns = "card_number, ssn, email, date_of_birth";
    const masked = await psql("engineer", `select ${columns} from customers where id = 1`);
    expect(masked.stdout).toMatch(/^\*{4}\d{4}\|\*+\|.*\*.*\|\d{4}-01-01\n$/);
    const copied = await psql("engineer", `copy (select ${columns} from customers where id = 1) to stdout`);
    expect(copied.stdout.trim().split("\t")).toEqual(masked.stdout.trim().split("|"));
    const asJson = await psql("engineer", "select min(row_to_json(c)::text) from customers c where id = 1");
    expect(JSON.parse(asJson.stdout)).toMatchObject({ card_number: masked.stdout.split("|")[0] });
    const shown = await psql("reviewer-a", "select card_number from customers where id = 1");
    expect(shown.stdout).toMatch(/^\d{13,19}\n$/);
  });

  it("holds, refuses and goes on in the same session", async () => {
    const held = await psql("engineer", "delete from orders where id = 1", "--no-wait");
    expect(held.code).toBe(4);
    const refused = await stack.sally("engineer", [
      "psql",
      "shop-db",
      "--",
      "-At",
      "-c",
      "drop table orders",
      "-c",
      "select 1",
    ]);
    expect(refused.stderr).toMatch(/ERROR: .*schema change/);
    expect(refused.stdout).toBe("1\n");
  });
});
