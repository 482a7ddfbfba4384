/** A browser as far as logging in to the console needs one: redirects, cookies by origin, the provider's form. */
import type { OidcUserName } from "../../scripts/lib/oidc-users.ts";

export type ConsoleBrowser = {
  /** The gateway's session cookie, as `name=value`. */
  readonly cookie: string;
  readonly csrf: string;
  /** A request as a page of the console sends it. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
};

class Jar {
  readonly #cookies = new Map<string, Map<string, string>>();
  /** Every Set-Cookie line of the gateway's, as it came. */
  readonly lines: string[] = [];

  header(url: URL): string {
    return [...(this.#cookies.get(url.host) ?? [])].map(([name, value]) => `${name}=${value}`).join("; ");
  }

  take(url: URL, response: Response): void {
    const own = this.#cookies.get(url.host) ?? new Map<string, string>();
    this.#cookies.set(url.host, own);
    for (const line of response.headers.getSetCookie()) {
      this.lines.push(line);
      const [pair = ""] = line.split(";");
      const at = pair.indexOf("=");
      const [name, value] = [pair.slice(0, at), pair.slice(at + 1)];
      if (value === "" || /max-age=0/i.test(line)) own.delete(name);
      else own.set(name, value);
    }
  }
}

/** Follows the login from `/console/login` to the page that it ends on; the user is picked at the provider. */
export async function logIn(
  gateway: string,
  user: OidcUserName,
  path = "/console/login?return=/console/sessions",
): Promise<{ readonly ended: URL; readonly jar: Jar }> {
  const jar = new Jar();
  let url = new URL(path, gateway);
  for (let step = 0; step < 20; step++) {
    const atProvider = url.origin !== gateway;
    const form = atProvider && url.pathname.startsWith("/login/");
    const response = await fetch(url, {
      redirect: "manual",
      headers: {
        cookie: jar.header(url),
        ...(form ? { "content-type": "application/x-www-form-urlencoded" } : {}),
      },
      ...(form ? { method: "POST", body: `user=${user}` } : {}),
    });
    await response.text();
    jar.take(url, response);
    const location = response.headers.get("location");
    if (location === null) throw new Error(`the login stopped at ${url.href} with ${response.status}`);
    url = new URL(location, url);
    const ended = url.origin === gateway && !/^\/console\/(login|callback)/.test(url.pathname);
    if (ended) return { ended: url, jar };
  }
  throw new Error("the login goes in circles");
}

/** A browser in which that user is logged in. */
export async function openConsole(gateway: string, user: OidcUserName): Promise<ConsoleBrowser> {
  const { jar } = await logIn(gateway, user);
  const cookie = jar.header(new URL(gateway));
  const session = await fetch(`${gateway}/console/session`, { headers: { cookie } });
  const { csrf } = (await session.json()) as { csrf: string };
  return {
    cookie,
    csrf,
    fetch: (path, init = {}) =>
      fetch(`${gateway}${path}`, {
        ...init,
        headers: {
          cookie,
          origin: gateway,
          "sec-fetch-site": "same-origin",
          "content-type": "application/json",
          "sally-csrf": csrf,
          ...(init.headers as Record<string, string> | undefined),
        },
      }),
  };
}
