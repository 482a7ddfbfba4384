/** Directories that say over SCIM who may act and in which groups: whose token it is, and what it means here. */
import { type Result, ok } from "../../../wire/result.ts";
import type { DirectorySettings } from "../../config/scim.ts";
import type { ScimError } from "../../identity/scim/messages.ts";
import type { RevocationDesk } from "./revocation-desk.ts";
import type { ScimAnswer, ScimRequest, ScimService } from "./scim.ts";
import type { SessionDirectory } from "./session-directory.ts";
import { principalLink } from "./sessions.ts";

export type DirectoryDeskHost = {
  readonly settings: () => readonly DirectorySettings[];
  readonly sessions: SessionDirectory;
  readonly revocations: RevocationDesk;
  /** Somebody's groups are others now. */
  readonly changed: () => void;
};

export class DirectoryDesk {
  readonly #scim: ScimService;
  readonly #host: DirectoryDeskHost;

  constructor(scim: ScimService, host: DirectoryDeskHost) {
    this.#scim = scim;
    this.#host = host;
  }

  /**
   * A SCIM request with a token of this SHA-256 (hexadecimal), or only the question whether the token is known
   * where there is no request; undefined when no directory knows the token.
   */
  async handle(
    tokenHash: string,
    request: ScimRequest | undefined,
  ): Promise<Result<ScimAnswer, ScimError> | undefined> {
    const settings = this.#host.settings().find(({ tokens }) => tokens.includes(tokenHash));
    if (settings === undefined) return undefined;
    if (request === undefined) return ok({ status: 204 });
    const handled = this.#scim.handle(settings, request, Date.now());
    if (!handled.ok) return handled;
    const { issuer, name } = settings;
    const { sessions, revocations, changed } = this.#host;
    if (handled.value.effects.length > 0) changed();
    // Answered when everybody concerned has been told: a client that hears of success may rely on it.
    for (const { subject, groups } of handled.value.effects) {
      const whom = { issuer, subject };
      if (groups !== undefined) {
        await sessions.tellEach(principalLink(whom), async (session) => session.setGroups(whom, groups));
      } else {
        const reason = `not active in the directory ${name}`;
        await revocations.remove(whom, `scim ${name}`, { blocks: false, reason });
      }
    }
    return ok(handled.value.answer);
  }
}
