/** What reviewers see of a held statement beside its exact words. */
import { createHash } from "node:crypto";
import type { HeldOperation } from "../../policy/approval.ts";
import { layOut } from "../../policy/sql/layout.ts";
import { shapeOf } from "../../policy/sql/shape.ts";
import type { Operation, Resource } from "../../policy/types.ts";
import { sqlParser } from "../engines.ts";

/** The statement laid out, the relations it touches, and its shape where it has one. */
export function statementEvidence(
  { name, protocol }: Pick<Resource, "name" | "protocol">,
  { text, actions }: Operation,
  parameters: number,
): Pick<HeldOperation, "formatted" | "relations" | "shape"> {
  const facts = actions.map((action) => action.facts as { reads?: string[]; writes?: string[] });
  const formatted = layOut(text);
  const shape = shapeOf(text, sqlParser);
  const hash = createHash("sha256").update(
    JSON.stringify([name, protocol, "shape", parameters, shape?.tree ?? ""]),
  );
  return {
    relations: {
      reads: [...new Set(facts.flatMap(({ reads }) => reads ?? []))],
      writes: [...new Set(facts.flatMap(({ writes }) => writes ?? []))],
    },
    ...(formatted === undefined ? {} : { formatted }),
    ...(shape === undefined ? {} : { shape: { text: shape.text, hash: hash.digest("hex") } }),
  };
}
