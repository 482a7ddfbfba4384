/** Where a redirect of the upstream's leads, as the gateway may tell it to the client. */

/**
 * @param base the resource's address; its path ends without a slash
 * @param target path and query of the request that was answered, below the base
 */
export function relocate(
  location: string,
  base: URL,
  target: string,
): { readonly same: boolean; readonly target: string } {
  const prefix = base.pathname.replace(/\/+$/, "");
  const url = URL.parse(location, `${base.origin}${prefix}${target}`);
  if (url === null) return { same: false, target: location };
  const below = url.pathname === prefix || url.pathname.startsWith(`${prefix}/`);
  if (url.origin !== base.origin || !below || url.username !== "" || url.password !== "")
    return { same: false, target: url.href };
  const path = url.pathname.slice(prefix.length);
  return { same: true, target: `${path === "" ? "/" : path}${url.search}${url.hash}` };
}
