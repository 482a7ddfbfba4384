/** Logging in to the real server (RFC 4252, RFC 4256): one way, as the config says, and no other is tried. */
import { concat } from "../../../wire/bytes.ts";
import { type SshMessage, Message } from "../../../wire/ssh/messages.ts";
import { Reader, boolean, byte, string, uint32 } from "../../../wire/ssh/reader.ts";
import type { Identity } from "./identity.ts";

export type Proof =
  | { readonly kind: "identity"; readonly identity: Identity }
  | { readonly kind: "password"; readonly password: string };

export type AuthenticationStep =
  | { readonly kind: "send"; readonly message: SshMessage }
  | { readonly kind: "done" }
  | { readonly kind: "failed"; readonly why: string };

/** Prompts that one keyboard-interactive dialogue may have, all answered with the password or not at all. */
const MAX_PROMPTS = 4;
const MAX_DIALOGUES = 3;

/** The client's side of authentication. `start` once, then every message until it says done or failed. */
export class Authentication {
  readonly #user: string;
  readonly #proof: Proof;
  readonly #sessionId: Uint8Array;
  #stage: "service" | "publickey" | "password" | "keyboard-interactive" = "service";
  #dialogues = 0;

  constructor(user: string, proof: Proof, sessionId: Uint8Array) {
    this.#user = user;
    this.#proof = proof;
    this.#sessionId = sessionId;
  }

  start(): SshMessage {
    return { kind: "serviceRequest", service: "ssh-userauth" };
  }

  take(message: SshMessage): AuthenticationStep {
    switch (message.kind) {
      case "serviceAccept":
        return this.#stage === "service"
          ? this.#first()
          : { kind: "failed", why: "unexpected SERVICE_ACCEPT" };
      case "userauthSuccess":
        return this.#stage === "service"
          ? { kind: "failed", why: "success before a request" }
          : { kind: "done" };
      case "userauthFailure":
        if (message.partial) return { kind: "failed", why: "the server asks for a second factor" };
        if (this.#stage === "password" && message.methods.includes("keyboard-interactive"))
          return this.#keyboard();
        return {
          kind: "failed",
          why: `refused, the server takes ${message.methods.join(", ") || "nothing more"}`,
        };
      case "userauth60":
        if (this.#stage === "keyboard-interactive") return this.#answer(message.data);
        return {
          kind: "failed",
          why: this.#stage === "password" ? "the password has expired" : "unexpected answer",
        };
      default:
        return { kind: "failed", why: `unexpected ${message.kind}` };
    }
  }

  #first(): AuthenticationStep {
    if (this.#proof.kind === "password") {
      this.#stage = "password";
      return this.#request("password", concat([boolean(false), string(this.#proof.password)]));
    }
    this.#stage = "publickey";
    const { identity } = this.#proof;
    const head = concat([boolean(true), string(identity.algorithm), string(identity.blob)]);
    const signed = concat([
      string(this.#sessionId),
      byte(Message.USERAUTH_REQUEST),
      string(this.#user),
      string("ssh-connection"),
      string("publickey"),
      head,
    ]);
    return this.#request("publickey", concat([head, string(identity.sign(signed))]));
  }

  #keyboard(): AuthenticationStep {
    this.#stage = "keyboard-interactive";
    return this.#request("keyboard-interactive", concat([string(""), string("")]));
  }

  #answer(data: Uint8Array): AuthenticationStep {
    this.#dialogues += 1;
    const reader = new Reader(data);
    reader.text(1024);
    reader.text(4096);
    reader.text(64);
    const count = reader.uint32();
    let hidden = 0;
    for (let i = 0; i < Math.min(count, MAX_PROMPTS + 1); i++) {
      reader.text(1024);
      if (!reader.boolean()) hidden += 1;
    }
    // Only a single prompt that hides its answer is taken for the password's.
    const usable = count === 0 || (count === 1 && hidden === 1);
    if (reader.failed || !usable || this.#dialogues > MAX_DIALOGUES || this.#proof.kind !== "password") {
      return { kind: "failed", why: "the server asks for more than a password" };
    }
    const answers = count === 0 ? [] : [string(this.#proof.password)];
    return {
      kind: "send",
      message: { kind: "userauth61", data: concat([uint32(answers.length), ...answers]) },
    };
  }

  #request(method: string, data: Uint8Array): AuthenticationStep {
    return {
      kind: "send",
      message: { kind: "userauthRequest", user: this.#user, service: "ssh-connection", method, data },
    };
  }
}
