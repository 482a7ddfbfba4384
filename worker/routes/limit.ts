/** The `limit` of a request: a whole number from 1 to `most`, else `most`. */
export function limitOf(text: string | undefined, most: number): number {
  const limit = Number(text ?? most);
  return Number.isInteger(limit) && limit > 0 ? Math.min(limit, most) : most;
}
