/** What a GraphQL request does: the kinds of its operations and the fields of the root types that they name. */
import { type DocumentNode, Kind, type SelectionSetNode, parse } from "graphql";
import { fromUtf8 } from "../../../wire/bytes.ts";
import { readFields } from "../../../wire/http/json-masker.ts";
import { FieldPaths, parseFieldPattern } from "../../../wire/http/json-paths.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";

export type GraphqlFacts = {
  /** The most that any of its operations is: mutation before subscription before query. */
  readonly operation: "query" | "mutation" | "subscription";
  /** Names of root fields, without their aliases. */
  readonly fields: readonly string[];
};

const RANK = { query: 0, subscription: 1, mutation: 2 } as const;

function refuse(why: string): Result<never, Refusal> {
  const hint = "the gateway decides by what a GraphQL document does, so it has to be able to read it";
  return err(refusal("statement_not_parsed", `this GraphQL request ${why}`, { hint }));
}

/** @param query the value of the URL's `query` parameter, where there is one */
export function graphqlFacts(
  method: string,
  contentType: string,
  query: string | undefined,
  body: Uint8Array | undefined,
): Result<GraphqlFacts, Refusal> {
  if (method === "GET" || method === "HEAD") {
    return query === undefined ? refuse("has no document") : factsOf([query]);
  }
  // Servers disagree about which of the two counts.
  if (query !== undefined) return refuse("has a document in its address and a body");
  if (method !== "POST" || body === undefined) return refuse("has no document");
  if (contentType === "application/graphql") {
    const text = fromUtf8(body);
    return text === undefined ? refuse("is not UTF-8") : factsOf([text]);
  }
  if (contentType !== "application/json") return refuse(`has the type ${contentType || "(none)"}`);
  const documents = documentsOf(body);
  return documents.ok ? factsOf(documents.value) : documents;
}

const QUERY_FIELD = parseFieldPattern("$.query");

/** The documents of a request or of a batch, each of which has to bring its own. */
function documentsOf(body: Uint8Array): Result<string[], Refusal> {
  if (!QUERY_FIELD.ok) return refuse("cannot be read");
  const fields = readFields(body, new FieldPaths([QUERY_FIELD.value]));
  if (!fields.ok) return refuse("is not JSON");
  if (fields.value.duplicate) return refuse("has two documents under one name");
  const json: unknown = JSON.parse(fromUtf8(body)?.replace(/^\uFEFF/, "") ?? "null");
  const requests: unknown[] = Array.isArray(json) ? json : [json];
  if (requests.length === 0 || requests.length > LIMITS.http.graphqlBatch)
    return refuse(`has more than ${LIMITS.http.graphqlBatch} operations, or none`);
  const documents: string[] = [];
  for (const request of requests) {
    const document = (request as { query?: unknown } | null)?.query;
    // A stored document, named by its hash, is known to the service only.
    if (typeof document !== "string" || document === "") return refuse("has no document of its own");
    documents.push(document);
  }
  return ok(documents);
}

function factsOf(documents: readonly string[]): Result<GraphqlFacts, Refusal> {
  let operation: GraphqlFacts["operation"] = "query";
  const fields = new Set<string>();
  for (const text of documents) {
    const document = parseDocument(text);
    if (document === undefined) return refuse("is not a GraphQL document");
    const operations = document.definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION);
    if (operations.length === 0) return refuse("has no operation");
    // Which one runs is for the service to choose: all of them count.
    for (const definition of document.definitions) {
      if (definition.kind !== Kind.OPERATION_DEFINITION) continue;
      if (RANK[definition.operation] > RANK[operation]) operation = definition.operation;
      if (!collect(document, definition.selectionSet, fields, new Set())) return refuse("names no field");
    }
  }
  if (fields.size > LIMITS.policy.contextSet) return refuse("names too many fields");
  return ok({ operation, fields: [...fields] });
}

function parseDocument(text: string): DocumentNode | undefined {
  try {
    return parse(text, { maxTokens: LIMITS.http.graphqlTokens, noLocation: true });
  } catch {
    // A syntax error, or nesting that overflows the parser's stack.
    return undefined;
  }
}

/** Root fields, through fragments. False when a fragment is missing. */
function collect(
  document: DocumentNode,
  set: SelectionSetNode,
  fields: Set<string>,
  followed: Set<string>,
): boolean {
  return set.selections.every((selection) => {
    if (selection.kind === Kind.FIELD) {
      fields.add(selection.name.value);
      return true;
    }
    if (selection.kind === Kind.INLINE_FRAGMENT)
      return collect(document, selection.selectionSet, fields, followed);
    const name = selection.name.value;
    if (followed.has(name)) return true;
    followed.add(name);
    const fragment = document.definitions.find(
      (definition) => definition.kind === Kind.FRAGMENT_DEFINITION && definition.name.value === name,
    );
    return (
      fragment?.kind === Kind.FRAGMENT_DEFINITION &&
      collect(document, fragment.selectionSet, fields, followed)
    );
  });
}
