/**
 * Views over masked relations. A view is read through its own definition, rewritten like any statement; a
 * materialised view holds values that were computed before, so it is only read when nothing of it is masked.
 */
import type { CatalogueRelation } from "../../../wire/postgres/catalogue.ts";
import { refusal, type Refusal } from "../../../wire/refusals.ts";
import { err, ok, type Result } from "../../../wire/result.ts";
import type { SqlParser } from "../sql/parser.ts";
import { tagged, walk } from "../sql/walk.ts";
import type { TrustedNames } from "./functions.ts";
import type { RelationNames } from "./names.ts";
import { nameOf, Rewriter } from "./rewriter.ts";
import { NO_SESSION_NAMES } from "./session-names.ts";
import { parseShape, type Shape, type View } from "./view.ts";

/** Views over views deeper than this are refused. */
const DEPTH = 30;

export class Views {
  readonly #view: View;
  readonly #names: RelationNames;
  readonly #trusted: TrustedNames;
  readonly #parser: SqlParser;
  readonly #sensitive = new Map<number, boolean>();
  readonly #shapes = new Map<string, Result<Shape | undefined, Refusal>>();
  #depth = 0;

  constructor(view: View, names: RelationNames, trusted: TrustedNames, parser: SqlParser) {
    this.#view = view;
    this.#names = names;
    this.#trusted = trusted;
    this.#parser = parser;
  }

  /** Is the relation masked, or a view over one that is? */
  sensitive(relation: CatalogueRelation): boolean {
    const known = this.#sensitive.get(relation.oid);
    if (known !== undefined) return known;
    this.#sensitive.set(relation.oid, false); // a view cannot read itself
    const found =
      this.#view.applied(relation.oid) !== undefined ||
      relation.dependsOn.some(({ oid }) => {
        const below = this.#names.byOid.get(oid);
        return below !== undefined && this.sensitive(below);
      });
    this.#sensitive.set(relation.oid, found);
    return found;
  }

  /** What stands in for a view; undefined when it can be read as it is. */
  shape(relation: CatalogueRelation, constants: boolean, fence: boolean): Result<Shape | undefined, Refusal> {
    if (relation.schema === "pg_catalog") return ok(this.#systemShape(relation));
    const key = `${relation.oid}|${constants}|${fence}`;
    const known = this.#shapes.get(key);
    if (known !== undefined) return known;
    const made = this.#make(relation, constants, fence);
    this.#shapes.set(key, made);
    return made;
  }

  #systemShape(relation: CatalogueRelation): Shape | undefined {
    const applied = this.#view.applied(relation.oid);
    if (applied === undefined) return undefined;
    const shape = this.#view.shape(applied, { only: false, system: [], constants: false, fence: false });
    return shape.ok ? shape.value : undefined;
  }

  #make(relation: CatalogueRelation, constants: boolean, fence: boolean): Result<Shape | undefined, Refusal> {
    const name = nameOf(relation);
    if (relation.functions.some((oid) => this.#trusted.untrustedOids.has(oid))) {
      return err(
        refusal(
          "function_not_allowed",
          `the view ${name} calls a function that this resource does not trust`,
          {
            hint: "an administrator can list it under trustedFunctions of the resource",
          },
        ),
      );
    }
    const direct = this.#view.applied(relation.oid);
    const definition = relation.definition?.trimEnd().replace(/;$/, "");
    if (definition === undefined || this.#depth >= DEPTH) {
      return err(refusal("mask_cannot_rewrite", `the definition of the view ${name} cannot be read`));
    }
    const parsed = this.#parser.parse(definition);
    const node = parsed.ok && parsed.value.length === 1 ? parsed.value[0]?.node : undefined;
    const whole = tagged(node);
    if (whole?.tag !== "SelectStmt" || !walk(whole.tag, whole.fields, () => {})) {
      return err(refusal("mask_cannot_rewrite", `the definition of the view ${name} cannot be read`));
    }
    const around = {
      view: this.#view,
      names: this.#names,
      trusted: this.#trusted,
      parser: this.#parser,
      session: NO_SESSION_NAMES,
      sensitive: (one: CatalogueRelation) => this.sensitive(one),
      viewShape: (one: CatalogueRelation, c: boolean, f: boolean) => this.shape(one, c, f),
    };
    const rewriter = new Rewriter(around, definition, node);
    rewriter.constants = constants;
    this.#depth++;
    const edited = rewriter.run(node, () => rewriter.visit(whole.tag, whole.fields, []));
    this.#depth--;
    if (!edited.ok) return err({ ...edited.error, message: `the view ${name}: ${edited.error.message}` });
    if (edited.value === undefined && direct === undefined) return ok(undefined);
    if (relation.kind === "m" && edited.value !== undefined) {
      return err(
        refusal("mask_cannot_rewrite", `the materialised view ${name} holds values of masked columns`, {
          hint: "query the relations that it is made from, or ask for a view instead",
        }),
      );
    }
    if (direct?.closed !== undefined)
      return err(refusal("mask_cannot_rewrite", `${name} cannot be read: ${direct.closed}`));
    const body =
      edited.value === undefined
        ? undefined
        : relation.securityBarrier && fence
          ? fenced(edited.value)
          : edited.value;
    if (direct === undefined && body === undefined) return ok(undefined);
    const shape =
      direct === undefined
        ? parseShape(body ?? "", this.#parser)
        : this.#view.shapeOver(direct, body, this.#parser);
    const own =
      direct !== undefined &&
      (direct.filters.length > 0 || [...direct.columns.values()].some(({ mask }) => mask.mayFail));
    return shape.ok ? ok({ ...shape.value, tells: rewriter.errorsTell || own }) : shape;
  }
}

/** Keeps conditions of the statement from running on rows that the view hides, as security_barrier does. */
function fenced(definition: string): string {
  return `SELECT * FROM (${definition}) AS "view" OFFSET 0`;
}
