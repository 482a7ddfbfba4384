/**
 * "Who can delete in shop-db?", answered by the policies themselves: they are asked once for everybody who is known
 * and once for every group that they name. Pure; the facts that the question leaves open are filled with the plainest
 * ones, and the answer says so.
 */
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import type { PolicyEngine, PolicySource } from "./cedar/engine.ts";
import { KNOWN_ACTIONS } from "./cedar/schema.ts";
import type { Action, Decision, HoldRequirement, HttpFacts, Principal, Resource } from "./types.ts";

export type WhoMayQuestion = {
  /** `postgres:delete`, `session:replay`, … */
  readonly action: string;
  /** `postgres:*` only: as `schema.name` or the bare name. */
  readonly relation?: string;
  /** UPDATE and DELETE: with a WHERE clause; default true. */
  readonly where?: boolean;
};

export type WhoMayAnswer = {
  readonly principal?: Principal;
  /** A member of this group and no other. */
  readonly group?: string;
  readonly effect: "allow" | "hold";
  readonly policies: readonly string[];
  readonly requirements?: readonly HoldRequirement[];
};

export type WhoMay = { readonly answers: readonly WhoMayAnswer[]; readonly notes: readonly string[] };

/** Groups that one answer asks about at most. */
const MAX_GROUPS = 500;

/** An issuer and a subject that no policy can name: only the group counts. */
const MEMBER = { type: "User", issuer: "https://nobody.invalid", subject: "a member", name: "" } as const;

/** Asks the engine's policies. `people` are those to ask about, with the groups they have now. */
export function whoMay(
  engine: Pick<PolicyEngine, "decide">,
  sources: readonly PolicySource[],
  people: readonly Principal[],
  resource: Resource,
  question: WhoMayQuestion,
): Result<WhoMay, Refusal> {
  const action = actionOf(question, resource);
  if (action === undefined) {
    return err(
      refusal("request_invalid", `${question.action} is no action on a ${resource.protocol} resource`),
    );
  }
  const groups = groupsOf(sources);
  const answers = [
    ...groups.slice(0, MAX_GROUPS).map((group) => {
      const decision = engine.decide({ ...MEMBER, groups: [group] }, resource, action.action);
      return answerOf({ group }, decision);
    }),
    ...people.map((principal) => answerOf({ principal }, engine.decide(principal, resource, action.action))),
  ];
  return ok({
    answers: answers.filter((answer) => answer !== undefined),
    notes: [
      ...action.notes,
      "people are those who have ever got a token here, with the groups they had then; a group stands for a member of it and of no other",
    ],
  });
}

function answerOf(
  who: { readonly principal: Principal } | { readonly group: string },
  decision: Decision,
): WhoMayAnswer | undefined {
  if (decision.effect === "deny") return undefined;
  return {
    ...who,
    effect: decision.effect,
    policies: decision.policies.map(({ id }) => id),
    ...(decision.effect === "hold" ? { requirements: decision.requirements } : {}),
  };
}

/**
 * Group names that the policies mention, in alphabetical order. Read from their text, comments included: this only
 * chooses whom to ask about, and the engine decides.
 */
function groupsOf(sources: readonly PolicySource[]): string[] {
  const found = new Set<string>();
  for (const { text } of sources) {
    for (const [, quoted] of text.matchAll(/\bGroup::("(?:[^"\\\n]|\\.)*")/g)) {
      const name = unquote(quoted ?? "");
      if (name !== undefined) found.add(name);
    }
    for (const [, names] of text.matchAll(/@approval\("([^"\n]*)"\)/g)) {
      for (const name of (names ?? "").split(/\s+or\s+|\s+and\s+|,/))
        if (name.trim() !== "") found.add(name.trim());
    }
  }
  return [...found].toSorted();
}

function unquote(quoted: string): string | undefined {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return undefined;
  }
}

/** The action with facts, and what was assumed; undefined when the resource has no such action. */
function actionOf(
  { action, relation, where = true }: WhoMayQuestion,
  { protocol }: Resource,
): { readonly action: Action; readonly notes: readonly string[] } | undefined {
  if (!KNOWN_ACTIONS.has(action)) return undefined;
  const [family] = action.split(":");
  if (family === "session" || family === "approval") {
    return { action: { action, facts: {} } as Action, notes: [] };
  }
  if (family !== protocol) return undefined;
  switch (family) {
    case "postgres": {
      const names = relation === undefined ? [] : [relation];
      const reads = action === "postgres:select" ? names : [];
      const facts = { reads, writes: reads.length > 0 ? [] : names, hasWhere: where, functions: [] };
      return {
        action: { action, facts } as Action,
        notes:
          relation === undefined ? ["asked without a relation: a policy about one may decide otherwise"] : [],
      };
    }
    case "ssh":
      return {
        action: { action, facts: sshFacts(action) } as Action,
        notes: [
          "asked for the plainest case: a policy about a command, path, host or login may decide otherwise",
        ],
      };
    case "http":
      return {
        action: { action, facts: httpFacts(action === "http:read" ? "GET" : "POST") } as Action,
        notes: ["asked for / without a body: a policy about a path, route or field may decide otherwise"],
      };
    default:
      return undefined;
  }
}

function httpFacts(method: string): HttpFacts {
  return {
    method,
    path: "/",
    route: "",
    queryKeys: [],
    contentType: "",
    body: [],
    upgrade: false,
    graphqlOperation: "",
    graphqlFields: [],
    grpcService: "",
    grpcMethod: "",
  };
}

function sshFacts(action: string): object {
  switch (action) {
    case "ssh:exec":
      return {
        login: "",
        terminal: false,
        plain: true,
        construct: "none",
        command: "true",
        program: "true",
        arguments: [],
        argumentCount: 0,
        wrapper: false,
      };
    case "ssh:shell":
      return { login: "", terminal: true };
    case "ssh:sftp_read":
      return { login: "", operation: "open", path: "/" };
    case "ssh:sftp_write":
      return { login: "", operation: "write", path: "/" };
    default:
      return { login: "", host: "localhost", port: 1 };
  }
}
