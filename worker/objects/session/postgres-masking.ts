/**
 * What masks mean for one session now: from the resource's configuration, policy's `reveal`, and a catalogue
 * that is fresh. It reads the catalogue through the session's own connector.
 */
import type { PostgresCatalogueOpen } from "../../../wire/control.ts";
import { type Catalogue, catalogueSchema } from "../../../wire/postgres/catalogue.ts";
import { fromUtf8 } from "../../../wire/bytes.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { SessionNames } from "../../policy/masks/session-names.ts";
import type { Masker } from "../../policy/masks/types.ts";
import {
  catalogueReadAt,
  catalogueVersion,
  freshCatalogue,
  maskerFor,
  refreshCatalogue,
} from "../catalogues.ts";
import { maskKeyOf } from "../snapshot.ts";
import type { SessionHost } from "./driver.ts";
import type { Masking } from "./postgres-statements.ts";
import { askConnector } from "./read-channel.ts";

export class MaskingSource {
  readonly #host: SessionHost;
  /** What was read for a statement that waits for it, used once even if DDL goes on meanwhile. */
  #justRead: Catalogue | undefined;
  #hides: { readonly version: number; readonly anything: boolean } | undefined;

  constructor(host: SessionHost) {
    this.#host = host;
  }

  /** The configuration changed. */
  forget(): void {
    this.#hides = undefined;
  }

  /** Undefined in `ok`: nothing is hidden from this principal. "catalogue": call `refresh` first. */
  current(names: SessionNames): Result<Masking | undefined, Refusal> | "catalogue" {
    if (!this.#hidesAnything()) return ok(undefined);
    const { name } = this.#host.resource;
    const catalogue = this.#justRead ?? freshCatalogue(name, this.#host.now());
    this.#justRead = undefined;
    if (catalogue === undefined) return "catalogue";
    const masker = this.#masker(catalogue);
    if (!masker.ok) return masker;
    const reveals = (relation: string, column: string): boolean => this.#host.reveals(relation, column);
    return ok({ masker: masker.value, reveals, names });
  }

  /** Parameters that masks need in the server's session from its start. */
  async startupParameters(): Promise<Result<Readonly<Record<string, string>>, Refusal>> {
    const { resource } = this.#host;
    const hashes = resource.masks.some(({ mask }) => mask === "hash");
    if (!hashes && !this.#hidesAnything()) return ok({});
    const read = await this.refreshIfStale();
    if (!read.ok) return read;
    const catalogue = freshCatalogue(resource.name, this.#host.now()) ?? this.#justRead;
    if (catalogue === undefined) return err(MISSING);
    const masker = this.#masker(catalogue);
    return masker.ok ? ok(masker.value.startupParameters) : masker;
  }

  /** Whether another reading could know more: names that do not exist must not make the database work. */
  mayRefresh(): boolean {
    return this.#host.now() - catalogueReadAt(this.#host.resource.name) > REREAD_MS;
  }

  async refreshIfStale(): Promise<Result<void, Refusal>> {
    if (!this.#hidesAnything() && !this.#host.resource.masks.some(({ mask }) => mask === "hash")) {
      return ok(undefined);
    }
    if (freshCatalogue(this.#host.resource.name, this.#host.now()) !== undefined) return ok(undefined);
    return this.refresh();
  }

  async refresh(): Promise<Result<void, Refusal>> {
    const host = this.#host;
    const catalogue = await refreshCatalogue(
      host.resource.name,
      (version) => this.#read(version),
      () => host.now(),
    );
    if (catalogue === undefined) return err(MISSING);
    this.#justRead = catalogue;
    return ok(undefined);
  }

  #masker(catalogue: Catalogue): Result<Masker, Refusal> {
    const { resource, configVersion } = this.#host;
    const masker = maskerFor(resource, configVersion, catalogue, maskKeyOf(resource.name));
    if (masker.ok) return masker;
    const [first] = masker.error;
    const message = `the masks of ${resource.name} do not fit its database: ${first?.message ?? "unknown"}`;
    return err(
      refusal("mask_cannot_rewrite", message, { hint: "an administrator has to correct the masks" }),
    );
  }

  /** Whether some mask or row filter is not revealed to this principal. */
  #hidesAnything(): boolean {
    const { resource, configVersion } = this.#host;
    if (this.#hides?.version === configVersion) return this.#hides.anything;
    const anything =
      resource.masks.some(
        ({ schema, relation, column }) => !this.#host.reveals(`${schema}.${relation}`, column),
      ) || resource.rows.some(({ schema, relation }) => !this.#host.reveals(`${schema}.${relation}`, "*"));
    this.#hides = { version: configVersion, anything };
    return anything;
  }

  /** Reads the catalogue on a channel of its own. */
  async #read(version: number): Promise<Result<Catalogue, Refusal>> {
    const { name } = this.#host.resource;
    const payload: PostgresCatalogueOpen = {
      protocol: "postgres-catalogue",
      resource: name,
      version: Math.max(version, catalogueVersion(name) + 1),
    };
    const json = await askConnector(this.#host, payload, LIMITS.postgres.catalogue);
    return json.ok ? decodeCatalogueJson(json.value) : json;
  }
}

/** Milliseconds for which a catalogue is believed when a relation is not in it. */
const REREAD_MS = 500;

const MISSING = refusal(
  "catalogue_missing",
  "the database's catalogue cannot be read, so masks cannot be applied",
  {
    hint: "try again; the connector's log says why",
  },
);

function decodeCatalogueJson(bytes: Uint8Array): Result<Catalogue, Refusal> {
  try {
    const parsed = catalogueSchema.safeParse(JSON.parse(fromUtf8(bytes) ?? ""));
    return parsed.success ? ok(parsed.data) : err(MISSING);
  } catch {
    return err(MISSING);
  }
}
