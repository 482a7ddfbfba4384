/**
 * Objects in memory with one revision for all of them, as etcd has it, and what happened lately for watches.
 * Everything that comes out is the store's own: whoever changes it, changes a copy.
 */
import { randomUUID } from "node:crypto";
import type { Kind } from "./kinds.ts";
import { type Metadata, type Stored, timestamp } from "./objects.ts";
import { alreadyExists, conflict, expired, notFound } from "./status.ts";

export type Change = {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly kind: Kind;
  readonly object: Stored;
  readonly previous: Stored | undefined;
  readonly revision: number;
};

type Listener = (change: Change) => void;

/** How many changes a watch can catch up on. */
const HISTORY = 20_000;

/** What a caller hands in: the store fills in what only it knows. */
export type Draft = Omit<Stored, "metadata"> & {
  apiVersion: string;
  kind: string;
  metadata: Partial<Metadata> & { name: string };
};

export class Store {
  readonly #objects = new Map<Kind, Map<string, Stored>>();
  readonly #listeners = new Set<Listener>();
  #history: Change[] = [];
  #revision = 1;
  /** Changes up to this one are forgotten. */
  #forgotten = 0;

  get revision(): number {
    return this.#revision;
  }

  get(kind: Kind, namespace: string, name: string): Stored {
    const found = this.find(kind, namespace, name);
    if (found === undefined) throw notFound(kind, name);
    return found;
  }

  find(kind: Kind, namespace: string, name: string): Stored | undefined {
    return this.#of(kind).get(key(kind, namespace, name));
  }

  /** In the order of namespace and name; an empty namespace means all of them. */
  list(kind: Kind, namespace = ""): Stored[] {
    const all = [...this.#of(kind).entries()]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, object]) => object);
    return namespace === "" ? all : all.filter(({ metadata }) => metadata.namespace === namespace);
  }

  create(kind: Kind, draft: Draft): Stored {
    const { name, namespace = "" } = draft.metadata;
    if (this.find(kind, namespace, name) !== undefined) throw alreadyExists(kind, name);
    const object = structuredClone(draft) as Stored;
    object.metadata.uid = randomUUID();
    object.metadata.creationTimestamp = timestamp();
    return this.#write("ADDED", kind, object, undefined);
  }

  /** Throws a Conflict when `object` carries a resourceVersion that is not the current one. */
  update(kind: Kind, object: Stored): Stored {
    const { name, namespace = "", resourceVersion, uid } = object.metadata;
    const current = this.get(kind, namespace, name);
    if (uid !== "" && uid !== undefined && uid !== current.metadata.uid) {
      const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${current.metadata.uid}`;
      throw conflict(kind, name, why);
    }
    if (resourceVersion && resourceVersion !== current.metadata.resourceVersion) {
      const why =
        "the object has been modified; please apply your changes to the latest version and try again";
      throw conflict(kind, name, why);
    }
    const next = structuredClone(object);
    next.metadata.uid = current.metadata.uid;
    next.metadata.creationTimestamp = current.metadata.creationTimestamp;
    next.metadata.resourceVersion = current.metadata.resourceVersion;
    // As the real one: a write that changes nothing gets no revision of its own and no event.
    if (JSON.stringify(next) === JSON.stringify(current)) return current;
    return this.#write("MODIFIED", kind, next, current);
  }

  remove(kind: Kind, namespace: string, name: string): Stored {
    const current = this.get(kind, namespace, name);
    this.#of(kind).delete(key(kind, namespace, name));
    return this.#write("DELETED", kind, structuredClone(current), current);
  }

  /** Calls `listener` with every change after `revision`, first with those that have happened already. */
  watch(revision: number, listener: Listener): () => void {
    if (revision < this.#forgotten) throw expired();
    for (const change of this.#history) if (change.revision > revision) listener(change);
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #write(type: Change["type"], kind: Kind, object: Stored, previous: Stored | undefined): Stored {
    const revision = ++this.#revision;
    object.metadata.resourceVersion = String(revision);
    if (type !== "DELETED") {
      this.#of(kind).set(key(kind, object.metadata.namespace ?? "", object.metadata.name), object);
    }
    const change = { type, kind, object, previous, revision };
    this.#history.push(change);
    if (this.#history.length > 2 * HISTORY) {
      this.#forgotten = this.#history[HISTORY]?.revision ?? this.#forgotten;
      this.#history = this.#history.slice(HISTORY + 1);
    }
    for (const listener of this.#listeners) listener(change);
    return object;
  }

  #of(kind: Kind): Map<string, Stored> {
    let objects = this.#objects.get(kind);
    if (objects === undefined) this.#objects.set(kind, (objects = new Map()));
    return objects;
  }
}

function key(kind: Kind, namespace: string, name: string): string {
  return kind.namespaced ? `${namespace}/${name}` : name;
}
