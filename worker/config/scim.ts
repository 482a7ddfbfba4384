/** Shape of one SCIM directory in configuration, `scim: { <name>: … }`. */
import { z } from "zod";
import { object, oneOrMore, text } from "./shapes.ts";

/** A directory that an identity provider keeps here, and whose people and groups it says. */
export type DirectorySettings = {
  readonly name: string;
  /** The issuer (OIDC) or the entity id (SAML) whose principals it is about. */
  readonly issuer: string;
  /** SHA-256 of the bearer tokens that may write it, hexadecimal; several while one follows another. */
  readonly tokens: readonly string[];
  /** Which attribute of a user is the subject of that issuer's tokens. */
  readonly subject: "userName" | "externalId";
};

export const scimShape = object({
  issuer: text(512),
  tokens: oneOrMore(
    z
      .string()
      .regex(
        /^[0-9a-f]{64}$/,
        "must be the SHA-256 of a token, 64 hexadecimal digits; never the token itself",
      ),
  ),
  subject: z.enum(["userName", "externalId"]).default("userName"),
});
