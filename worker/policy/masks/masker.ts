/**
 * Masking of one resource: made from its catalogue and its masks, asked for each statement. What a statement
 * may do at all is decided elsewhere (policy); here it is only kept from telling what is masked.
 */
import type { Catalogue, CatalogueRelation } from "../../../wire/postgres/catalogue.ts";
import type { Guard } from "../../../wire/postgres/machine-types.ts";
import { OPEN_GUARD } from "../../../wire/postgres/machine-types.ts";
import type { Refusal } from "../../../wire/refusals.ts";
import { err, ok, type Result } from "../../../wire/result.ts";
import type { SqlParser } from "../sql/parser.ts";
import { tagged, walk } from "../sql/walk.ts";
import type { Resource } from "../types.ts";
import { HASH_INNER, HASH_OUTER } from "./expressions.ts";
import { trustedNames, type TrustedNames } from "./functions.ts";
import { hashPads } from "./hash-key.ts";
import { RelationNames } from "./names.ts";
import { protect, type Origin, type Protection } from "./protection.ts";
import { Rewriter, type Surroundings } from "./rewriter.ts";
import type { SessionNames } from "./session-names.ts";
import { walkStatement } from "./statements.ts";
import type { MaskConfigError, Masker, Reveals, Rewritten } from "./types.ts";
import { View } from "./view.ts";
import { Views } from "./views.ts";

/** Principals with different reveals that are kept at once; a resource has few. */
const VIEWS = 8;
/** Characters of statements and rewritten statements kept for each of them. */
const KEPT = 1 << 20;
/** Longer statements are hardly sent twice. */
const KEPT_TEXT = 8_192;

/**
 * @param input.hashKey secret of the resource in hexadecimal, used when a `hash` mask is configured
 * Errors: masks and row filters that cannot work as configured. A mask of a relation or column that does not
 * exist is no error but closes what it may stand for (docs/masking.md).
 */
export function createMasker(input: {
  readonly catalogue: Catalogue;
  readonly resource: Resource;
  readonly parser: SqlParser;
  readonly hashKey: string;
}): Result<Masker, MaskConfigError[]> {
  const { catalogue, resource, parser } = input;
  const trusted = trustedNames(catalogue, resource.trustedFunctions);
  const protection = protect(catalogue, resource, parser, trusted);
  if (!protection.ok) return protection;
  trusted.sequencesTell = sequencesTell(protection.value);
  const hashes = resource.masks.some(({ mask }) => mask === "hash");
  return ok(
    new ResourceMasker(
      catalogue,
      protection.value,
      trusted,
      resource,
      parser,
      hashes ? input.hashKey : undefined,
    ),
  );
}

function sequencesTell(protection: Protection): boolean {
  for (const { columns } of protection.relations.values()) {
    for (const { column, origins } of columns.values())
      if (column.sequence && origins.length > 0) return true;
  }
  return false;
}

class ResourceMasker implements Masker {
  readonly active: boolean;
  readonly startupParameters: Readonly<Record<string, string>>;
  readonly #protection: Protection;
  readonly #trusted: TrustedNames;
  readonly #parser: SqlParser;
  readonly #names: RelationNames;
  readonly #inspects: boolean;
  readonly #views = new Map<string, Principal>();

  constructor(
    catalogue: Catalogue,
    protection: Protection,
    trusted: TrustedNames,
    resource: Resource,
    parser: SqlParser,
    hashKey: string | undefined,
  ) {
    this.#protection = protection;
    this.#trusted = trusted;
    this.#parser = parser;
    this.#names = new RelationNames(catalogue);
    this.#inspects = resource.detectors !== "off";
    this.active = protection.origins.length > 0;
    const pads = hashKey === undefined ? undefined : hashPads(hashKey);
    this.startupParameters = pads === undefined ? {} : { [HASH_INNER]: pads.inner, [HASH_OUTER]: pads.outer };
  }

  rewrite(
    statement: { readonly text: string },
    reveals: Reveals,
    context: SessionNames,
  ): Result<Rewritten, Refusal> {
    const guard: Guard = { ...OPEN_GUARD, inspectRows: this.#inspects };
    if (!this.active) return ok({ sql: undefined, guard, notes: [] });
    const shown = this.#protection.origins.map(({ relation, column }) => reveals(relation, column));
    if (!shown.includes(false)) return ok({ sql: undefined, guard, notes: [] });
    const principal = this.#principal(shown);
    return principal.rewrite(statement.text, context, guard);
  }

  #principal(shown: readonly boolean[]): Principal {
    const key = shown.map((one) => (one ? "1" : "0")).join("");
    const known = this.#views.get(key);
    if (known !== undefined) return known;
    const hidden = (origin: Origin): boolean => shown[this.#protection.origins.indexOf(origin)] !== true;
    const view = new View(this.#protection, hidden, this.#parser, (relation) =>
      this.#names.withDescendants(relation),
    );
    const made = new Principal(view, this.#names, this.#trusted, this.#parser);
    if (this.#views.size >= VIEWS) this.#views.delete(this.#views.keys().next().value ?? "");
    this.#views.set(key, made);
    return made;
  }
}

/** Masking for all principals with the same reveals. */
class Principal {
  readonly #view: View;
  readonly #views: Views;
  readonly #parser: SqlParser;
  readonly #base: Omit<Surroundings, "session">;
  readonly #kept = new Map<string, Rewritten>();
  #keptSize = 0;

  constructor(view: View, names: RelationNames, trusted: TrustedNames, parser: SqlParser) {
    this.#view = view;
    this.#parser = parser;
    this.#views = new Views(view, names, trusted, parser);
    this.#base = {
      view,
      names,
      trusted,
      parser,
      sensitive: (relation: CatalogueRelation) => this.#views.sensitive(relation),
      viewShape: (relation, constants, fence) => this.#views.shape(relation, constants, fence),
    };
  }

  rewrite(text: string, session: SessionNames, guard: Guard): Result<Rewritten, Refusal> {
    const key = session.created.length === 0 ? text : undefined;
    const known = key === undefined ? undefined : this.#kept.get(key);
    if (known !== undefined) return ok(known);
    const parsed = this.#parser.parse(text);
    if (!parsed.ok) return parsed;
    const withheld: Guard = { ...guard, withheldAttributes: this.#view.withheld };
    const node = parsed.value[0]?.node;
    const whole = tagged(node);
    if (parsed.value.length > 1 || (whole === undefined && parsed.value.length === 1)) {
      return err({ code: "statement_not_parsed", message: "one statement is rewritten at a time" });
    }
    if (whole === undefined) return ok({ sql: undefined, guard: withheld, notes: [] });
    if (!walk(whole.tag, whole.fields, () => {})) {
      return err({ code: "statement_over_limit", message: "the statement is nested too deeply" });
    }
    const rewriter = new Rewriter({ ...this.#base, session }, text, node);
    const edited = rewriter.run(node, () => walkStatement(rewriter, whole.tag, whole.fields));
    if (!edited.ok) return edited;
    const { errorMeanings } = rewriter;
    const rewritten: Rewritten = {
      sql: edited.value,
      guard: {
        ...withheld,
        hideErrorDetail: rewriter.errorsTell,
        ...(errorMeanings.length === 0 ? {} : { errorMeanings }),
      },
      notes: rewriter.notes,
    };
    if (key !== undefined && text.length <= KEPT_TEXT) this.#keep(key, rewritten);
    return ok(rewritten);
  }

  /** Starts anew when it is full: what is in use is soon there again. */
  #keep(key: string, rewritten: Rewritten): void {
    const size = key.length + (rewritten.sql?.length ?? 0);
    if (this.#keptSize + size > KEPT) {
      this.#kept.clear();
      this.#keptSize = 0;
    }
    this.#kept.set(key, rewritten);
    this.#keptSize += size;
  }
}
