/** The calls of docs/api.md that setting a system up needs, and that tests use to look at it. */

export type ApiError = Error & { readonly status: number; readonly code: string | undefined };

/** Calls the API; resolves to the parsed body (undefined when there is none), rejects with an `ApiError`. */
export async function callApi(
  gateway: string,
  method: string,
  path: string,
  options: { readonly token?: string; readonly body?: unknown } = {},
): Promise<unknown> {
  const response = await fetch(`${gateway}${path}`, {
    method,
    headers: {
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...(options.body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
  });
  const text = await response.text();
  const json = parse(text);
  if (response.ok) return json;
  throw apiError(`${method} ${path}`, response.status, json, text);
}

/** Trades an ID token for the gateway's session token (RFC 8693). */
export async function exchangeToken(
  gateway: string,
  idToken: string,
  resources: readonly string[] = [],
): Promise<{ readonly token: string; readonly expiresIn: number }> {
  const form = new URLSearchParams({
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token: idToken,
    subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
  });
  for (const resource of resources) form.append("resource", resource);
  const response = await fetch(`${gateway}/oauth/token`, { method: "POST", body: form });
  const text = await response.text();
  const json = parse(text);
  const answer = (typeof json === "object" && json !== null ? json : {}) as Record<string, unknown>;
  if (!response.ok || typeof answer["access_token"] !== "string") {
    throw apiError("POST /oauth/token", response.status, json, text);
  }
  return { token: answer["access_token"], expiresIn: Number(answer["expires_in"]) };
}

export type ListedResource = {
  readonly name: string;
  readonly protocol: string;
  readonly connector: string;
  readonly online: boolean;
};

export async function listResources(gateway: string, token: string): Promise<readonly ListedResource[]> {
  const { resources } = (await callApi(gateway, "GET", "/v1/resources", { token })) as {
    resources: readonly ListedResource[];
  };
  return resources;
}

function parse(text: string): unknown {
  try {
    return text === "" ? undefined : (JSON.parse(text) as unknown);
  } catch {
    return undefined;
  }
}

function apiError(what: string, status: number, json: unknown, text: string): ApiError {
  const problem = (typeof json === "object" && json !== null ? json : {}) as Record<string, unknown>;
  const title = [problem["title"], problem["error_description"], problem["error"]].find(
    (each) => typeof each === "string",
  );
  const details = Array.isArray(problem["errors"]) ? `\n${JSON.stringify(problem["errors"], null, 2)}` : "";
  const code = typeof problem["code"] === "string" ? problem["code"] : undefined;
  return Object.assign(new Error(`${what}: ${status} ${title ?? text.slice(0, 200)}${details}`), {
    status,
    code,
  });
}
