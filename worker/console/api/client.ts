/** Requests to the gateway. Refusals are values; a session that has ended leads back to the login page. */
import { signal } from "@preact/signals";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { ConfigError, Identity } from "./types.ts";

/** Why a request has no answer. `status` 0: the gateway could not be reached. */
export type Problem = {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly errors?: readonly ConfigError[];
};

export type Answer<T> = Result<T, Problem>;

/** Who is logged in: undefined until it is known, null for nobody. */
export const identity = signal<Identity | null | undefined>(undefined);

/** Groups that the viewer has left and joined while the page was open. */
export type GroupChange = { readonly left: readonly string[]; readonly joined: readonly string[] };
export const groupChange = signal<GroupChange | undefined>(undefined);

/** Why the login ended while the page was open: a refusal code. */
export const loggedOut = signal<string | undefined>(undefined);

const UNREACHABLE: Problem = {
  status: 0,
  code: "unreachable",
  message: "the gateway cannot be reached",
  hint: "this page tries again by itself when the connection is back",
};

/** Asks who is logged in, and what they may do. */
export async function loadIdentity(): Promise<Answer<Identity>> {
  const answer = await request<Identity>("GET", "/console/session");
  if (answer.ok) {
    const before = identity.peek()?.principal.groups;
    const now = answer.value.principal.groups;
    if (before !== undefined && !sameGroups(before, now)) {
      groupChange.value = {
        left: before.filter((group) => !now.includes(group)),
        joined: now.filter((group) => !before.includes(group)),
      };
    }
    loggedOut.value = undefined;
    identity.value = answer.value;
  }
  return answer;
}

export function sameGroups(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((group) => b.includes(group));
}

export function get<T>(path: string, stop?: AbortSignal): Promise<Answer<T>> {
  return request<T>("GET", path, undefined, stop);
}

export function post<T>(path: string, body: object): Promise<Answer<T>> {
  return request<T>("POST", path, body);
}

export function put<T>(path: string, body: object): Promise<Answer<T>> {
  return request<T>("PUT", path, body);
}

async function request<T>(
  method: string,
  path: string,
  body?: object,
  stop?: AbortSignal,
): Promise<Answer<T>> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      credentials: "same-origin",
      headers: {
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(method === "GET" ? {} : { "sally-csrf": identity.peek()?.csrf ?? "" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(stop === undefined ? {} : { signal: stop }),
    });
  } catch {
    return err(UNREACHABLE);
  }
  if (response.status === 204) return ok(undefined as T);
  const parsed: unknown = await response.json().catch(() => undefined);
  if (response.status === 401) {
    if (identity.peek()) loggedOut.value = problemOf(401, parsed).code;
    identity.value = null;
  }
  if (response.ok && parsed !== undefined) return ok(parsed as T);
  return err(problemOf(response.status, parsed));
}

function problemOf(status: number, body: unknown): Problem {
  const given = (typeof body === "object" && body !== null ? body : {}) as {
    title?: unknown;
    code?: unknown;
    hint?: unknown;
    errors?: unknown;
  };
  return {
    status,
    code: typeof given.code === "string" ? given.code : `http_${status}`,
    message: typeof given.title === "string" ? given.title : `the gateway answered ${status}`,
    ...(typeof given.hint === "string" ? { hint: given.hint } : {}),
    ...(Array.isArray(given.errors) ? { errors: given.errors as ConfigError[] } : {}),
  };
}

/** Whether policy lets the viewer do this (`session:kill`) to the resource. The gateway decides it again. */
export function may(action: string, resource?: string): boolean {
  const granted = identity.value?.may;
  if (granted === undefined) return false;
  return resource === undefined
    ? granted.gateway.includes(action)
    : (granted.resources[resource] ?? []).includes(action);
}
