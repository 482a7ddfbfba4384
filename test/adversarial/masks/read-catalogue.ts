/** Reads a catalogue as the connector does: every query in one snapshot, in text. */
import type pg from "pg";
import {
  CATALOGUE_AFTER,
  CATALOGUE_BEFORE,
  CATALOGUE_QUERIES,
  decodeCatalogue,
  type Catalogue,
  type CatalogueRows,
} from "../../../wire/postgres/catalogue.ts";

export async function readCatalogue(client: pg.Client, version = 1): Promise<Catalogue> {
  for (const sql of CATALOGUE_BEFORE) await client.query(sql);
  const rows: Record<string, (string | null)[][]> = {};
  for (const { name, sql } of CATALOGUE_QUERIES) {
    const answer = await client.query<(string | null)[]>({
      text: sql,
      rowMode: "array",
      types: { getTypeParser: () => (value: string) => value },
    });
    rows[name] = answer.rows;
  }
  for (const sql of CATALOGUE_AFTER) await client.query(sql);
  const decoded = decodeCatalogue(rows as unknown as CatalogueRows, version);
  if (!decoded.ok) throw new Error(`${decoded.error.query}: ${decoded.error.problem}`);
  return decoded.value;
}
