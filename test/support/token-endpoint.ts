/** Token requests as any client makes them: forms and JSON over HTTP, no code of ours. */
export type TokenAnswer = {
  readonly status: number;
  readonly body: {
    readonly access_token?: string;
    readonly token_type?: string;
    readonly expires_in?: number;
    readonly task?: string;
    readonly authorization_details?: readonly Record<string, unknown>[];
    readonly error?: string;
    readonly error_description?: string;
  };
  /** The access token; throws where there is none. */
  token(): string;
};

export const TYPES = {
  id: "urn:ietf:params:oauth:token-type:id_token",
  access: "urn:ietf:params:oauth:token-type:access_token",
  jwt: "urn:ietf:params:oauth:token-type:jwt",
} as const;

/** `details` becomes `authorization_details`; every other field goes as it is. */
export async function tokenRequest(
  gateway: string,
  { details, ...fields }: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<TokenAnswer> {
  const form = new URLSearchParams({ grant_type: "urn:ietf:params:oauth:grant-type:token-exchange" });
  for (const [name, value] of Object.entries(fields)) {
    for (const one of [value].flat()) form.append(name, String(one));
  }
  if (details !== undefined) form.set("authorization_details", JSON.stringify(details));
  const response = await fetch(`${gateway}/oauth/token`, { method: "POST", body: form, headers });
  const body = (await response.json()) as TokenAnswer["body"];
  return {
    status: response.status,
    body,
    token: () => {
      if (body.access_token === undefined) throw new Error(`${response.status} ${JSON.stringify(body)}`);
      return body.access_token;
    },
  };
}

/** A narrower token from one of ours. */
export function narrower(gateway: string, token: string, more: Readonly<Record<string, unknown>>) {
  return tokenRequest(gateway, { subject_token: token, subject_token_type: TYPES.access, ...more });
}

export type ApiAnswer = { readonly status: number; readonly body: Record<string, unknown> };

/** Calls the API with a token; resolves to status and body whatever they are. */
export async function api(
  gateway: string,
  token: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<ApiAnswer> {
  const response = await fetch(gateway + path, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: (text === "" ? {} : JSON.parse(text)) as ApiAnswer["body"] };
}
