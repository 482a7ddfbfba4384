/** A browser as far as signing in needs one: redirects, cookies, and a form with the user's name. */

export type Page = { readonly status: number; readonly url: string; readonly text: string };

/** Follows an address as a browser would, and picks `user` on the login page. `stopAt` gets a URL before it is opened. */
export async function browse(address: string, user: string, stopAt?: (url: URL) => boolean): Promise<Page> {
  const cookies = new Map<string, string>();
  let url = new URL(address);
  let body: string | undefined;
  for (let step = 0; step < 15; step++) {
    if (stopAt?.(url) === true) return { status: 0, url: url.href, text: "" };
    const response = await fetch(url, {
      redirect: "manual",
      method: body === undefined ? "GET" : "POST",
      headers: {
        cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; "),
        ...(body === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" }),
      },
      ...(body === undefined ? {} : { body }),
    });
    body = undefined;
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (name !== undefined && value !== undefined) cookies.set(name, value);
    }
    const location = response.headers.get("location");
    const text = await response.text();
    if (location !== null) url = new URL(location, url);
    else if (response.status === 200 && text.includes("<form"))
      body = new URLSearchParams({ user }).toString();
    else return { status: response.status, url: url.href, text };
  }
  throw new Error("too many redirects");
}
