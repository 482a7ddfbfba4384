/**
 * Masks must not be in the way. Every statement runs through the masker, and on a copy of the database in
 * which the masked columns hold their masks, where nothing is rewritten; both have to give the same.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Masker } from "../../../worker/policy/masks/types.ts";
import { ANALYSIS, APPLICATION, type Usual } from "./corpus/usual.ts";
import { differenceOf } from "./deliver.ts";
import type { Outcome, Runner } from "./runner.ts";
import { MASKS } from "./schema.ts";
import { startTwins, type Twins } from "./twins.ts";

let twins: Twins;
let masked: Runner;
let copy: Runner;

beforeAll(async () => {
  twins = await startTwins();
  await storeMasks(twins);
  masked = await twins.connect(0);
  copy = await twins.connect(1, () => true);
}, 120_000);

afterAll(async () => {
  masked.close();
  copy.close();
  await twins.stop();
});

/** Makes twin 1 a copy of twin 0 whose masked columns hold what the masks show. */
async function storeMasks({ connect, sql, masker }: Twins): Promise<void> {
  await sql("postgres", "DROP DATABASE twin1");
  await sql("postgres", "CREATE DATABASE twin1 TEMPLATE twin0");
  const direct = await connect(1, () => true);
  const run = async (text: string): Promise<void> => {
    const outcome = await direct.run(text, "simple");
    if (outcome.error !== undefined) throw new Error(`${text}: ${outcome.delivered.join(" ")}`);
  };
  // Masks need not be unique, and a generated column has a mask of its own.
  await run("ALTER TABLE orders DROP CONSTRAINT orders_customer_email_fkey");
  await run("ALTER TABLE customers DROP CONSTRAINT customers_email_key");
  await run("ALTER TABLE doors DROP CONSTRAINT doors_code_fkey");
  await run("ALTER TABLE badges DROP CONSTRAINT badges_code_key");
  await run("ALTER TABLE customers ALTER ssn_digits DROP EXPRESSION");
  await run("ALTER DOMAIN tax_number DROP CONSTRAINT tax_number_check");
  await run("DROP INDEX members_team_code");
  await run("ALTER TABLE customers DISABLE TRIGGER ALL");
  const relations = new Map<string, string[]>([
    ["orders", ["customer_email"]],
    ["doors", ["code"]],
    ["customers", ["ssn_digits"]],
  ]);
  for (const { relation, column } of MASKS) {
    if (relation === "wallets") continue; // cannot be read at all
    relations.set(relation, [...(relations.get(relation) ?? []), column]);
  }
  for (const [relation, columns] of relations) {
    const sets = columns.map((column) => `${column} = m.${column}`).join(", ");
    await run(`UPDATE ${relation} t SET ${sets} FROM (${shown(masker, relation)}) m WHERE m.id = t.id`);
  }
  await run("DELETE FROM regions WHERE region <> 'EU'");
  await run("ALTER TABLE customers ENABLE TRIGGER ALL");
  direct.close();
}

function shown(masker: Masker, relation: string): string {
  const rewritten = masker.rewrite({ text: `SELECT * FROM ${relation}` }, () => false, { created: [] });
  if (!rewritten.ok || rewritten.value.sql === undefined) throw new Error(`${relation} is not masked`);
  return rewritten.value.sql;
}

async function runUsual(session: Runner, usual: Usual): Promise<Outcome> {
  const { sql, parameters } = typeof usual === "string" ? { sql: usual, parameters: undefined } : usual;
  await session.run("BEGIN", "simple");
  const outcome = await session.run(sql, "text", undefined, parameters);
  await session.run("ROLLBACK", "simple");
  return outcome;
}

/** A row type is named in the copy but is a record after rewriting, and a plain column of a subquery has no table. */
const withoutDescription = (outcome: Outcome): Outcome => ({
  ...outcome,
  delivered: outcome.delivered.filter((message) => !message.startsWith("T ") && !message.startsWith("N ")),
});

it("runs at least 95 % of at least 200 ordinary statements, with the answers that the masks mean", async () => {
  const all = [...ANALYSIS, ...APPLICATION];
  const wrong: string[] = [];
  const refused: string[] = [];
  for (const usual of all) {
    const text = typeof usual === "string" ? usual : usual.sql;
    const outcome = await runUsual(masked, usual);
    if (outcome.refused !== undefined || outcome.error !== undefined) {
      refused.push(`${text}: ${outcome.delivered.join(" ")}`);
      continue;
    }
    if (typeof usual !== "string" && usual.runs) continue;
    const expected = await runUsual(copy, usual);
    const difference = differenceOf([withoutDescription(outcome)], [withoutDescription(expected)]);
    if (difference !== undefined) wrong.push(`${text}: ${difference}`);
  }
  process.stdout.write(
    `usefulness: ${all.length - refused.length} of ${all.length} ran\n${refused.join("\n")}\n`,
  );
  expect(wrong).toEqual([]);
  expect(all.length).toBeGreaterThanOrEqual(200);
  expect(refused.length, refused.join("\n")).toBeLessThanOrEqual(all.length * 0.05);
}, 120_000);
