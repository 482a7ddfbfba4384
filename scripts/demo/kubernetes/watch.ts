/** Watches: one JSON document after the other, for as long as the client listens. */
import type { ServerResponse } from "node:http";
import { type Kind, apiVersionOf } from "./kinds.ts";
import { type Form, present } from "./negotiation.ts";
import type { Fields, Stored } from "./objects.ts";
import type { Selector } from "./selectors.ts";
import { StatusError } from "./status.ts";
import type { Change, Store } from "./store.ts";
import { type Include, tableOf } from "./table.ts";

const BOOKMARK_EVERY = 10_000;
/** The real server picks a time between half an hour and an hour. */
const ENDS_AFTER = 1800;

export type WatchOptions = {
  readonly kind: Kind;
  readonly namespace: string;
  readonly selects: Selector;
  readonly query: URLSearchParams;
  readonly form: Form;
  readonly include: Include;
};

export function serveWatch(store: Store, response: ServerResponse, options: WatchOptions): void {
  const { kind, namespace, selects, query, form, include } = options;
  const flag = (name: string): boolean => ["true", "1"].includes(query.get(name) ?? "");
  let columns = true;
  const send = (type: string, object: Fields): void => {
    response.write(`${JSON.stringify({ type, object })}\n`);
  };
  const sendObject = (type: string, object: Stored): void => {
    if (form === "Table") {
      const metadata = { resourceVersion: object.metadata.resourceVersion };
      send(type, tableOf(kind.kind, [object], { include, metadata, withColumns: columns }));
      columns = false;
    } else send(type, present(object, form, include));
  };
  const bookmark = (annotations?: Fields): void => {
    const metadata = {
      resourceVersion: String(store.revision),
      creationTimestamp: null,
      ...(annotations === undefined ? {} : { annotations }),
    };
    if (form !== "Table")
      return send("BOOKMARK", { kind: kind.kind, apiVersion: apiVersionOf(kind), metadata });
    const metadataOfTable = { resourceVersion: String(store.revision) };
    send("BOOKMARK", tableOf(kind.kind, [], { include, metadata: metadataOfTable, withColumns: columns }));
  };

  response.writeHead(200, { "content-type": "application/json", "cache-control": "no-cache, private" });
  response.flushHeaders();
  const from = query.get("resourceVersion") ?? "";
  const here = (object: Stored): boolean =>
    (namespace === "" || object.metadata.namespace === namespace) && selects(object);
  let since = Number(from);
  if (from === "" || from === "0" || flag("sendInitialEvents")) {
    since = store.revision;
    for (const object of store.list(kind, namespace)) if (here(object)) sendObject("ADDED", object);
    if (flag("sendInitialEvents")) bookmark({ "k8s.io/initial-events-end": "true" });
  }
  const listener = (change: Change): void => {
    if (change.kind !== kind) return;
    const is = change.type !== "DELETED" && here(change.object);
    const was = change.previous !== undefined && here(change.previous);
    if (is) sendObject(was ? "MODIFIED" : "ADDED", change.object);
    else if (was) sendObject("DELETED", withRevision(change.previous ?? change.object, change.revision));
  };
  let unwatch: () => void;
  try {
    unwatch = store.watch(since, listener);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    // Too late for a status code.
    send("ERROR", error.status);
    response.end();
    return;
  }
  const bookmarks = flag("allowWatchBookmarks") ? setInterval(() => bookmark(), BOOKMARK_EVERY) : undefined;
  const seconds = Number(query.get("timeoutSeconds") ?? "") || ENDS_AFTER;
  const end = setTimeout(() => response.end(), Math.min(seconds, 24 * 3600) * 1000);
  response.once("close", () => {
    unwatch();
    clearInterval(bookmarks);
    clearTimeout(end);
  });
}

function withRevision(object: Stored, revision: number): Stored {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
}
