/** What masking promises to the rest of the gateway (docs/masking.md). */
import type { Guard } from "../../../wire/postgres/machine-types.ts";
import type { Refusal } from "../../../wire/refusals.ts";
import type { Result } from "../../../wire/result.ts";
import type { SessionNames } from "./session-names.ts";

/** Does the principal hold `reveal` for this column? `relation` is `schema.name`; the column `*` stands for hidden rows. */
export type Reveals = (relation: string, column: string) => boolean;

export type Masker = {
  /** Does the resource mask anything at all, for a principal who may reveal none? */
  readonly active: boolean;
  /**
   * Parameters for the StartupMessage of every connection to the resource: the key of `hash` masks travels
   * here, because no statement text, plan or view of the server ever shows it.
   */
  readonly startupParameters: Readonly<Record<string, string>>;
  /**
   * The answer for one whole statement. Refusals: `relation_unknown` asks for a newer catalogue and can be tried
   * again once; the others stand.
   */
  rewrite(
    statement: { readonly text: string },
    reveals: Reveals,
    context: SessionNames,
  ): Result<Rewritten, Refusal>;
};

export type Rewritten = {
  /** The text to send; undefined sends the client's own text of this statement. */
  readonly sql: string | undefined;
  readonly guard: Guard;
  /** One line for each thing that was done and why, for `sally policy explain` and the recording. */
  readonly notes: readonly string[];
};

/** A mask or row filter that cannot work, met when the resource is configured. */
export type MaskConfigError = {
  readonly reason: "type_not_suited" | "expression_invalid" | "step_invalid" | "duplicate";
  /** `schema.relation.column`, or `schema.relation` for a row filter. */
  readonly at: string;
  readonly message: string;
};
