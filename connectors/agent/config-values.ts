/** Values that every resource's config may hold. */
import { z } from "zod";
import { type SecretSource, parseSecretSource } from "../lib/credentials.ts";

/** Where a secret comes from: `env:NAME`, `file:PATH` or `exec:COMMAND`. */
export const Secret = z.string().transform((text, context): SecretSource => {
  const source = parseSecretSource(text);
  if (source.ok) return source.value;
  context.addIssue({ code: "custom", message: source.error });
  return z.NEVER;
});
