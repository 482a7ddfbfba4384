/**
 * The gateway's answers (docs/api.md), as far as `sally` reads them. Objects are loose: what a newer gateway
 * adds is passed on with `--json`.
 */
import { z } from "zod";

export const Principal = z.looseObject({
  type: z.string(),
  issuer: z.string(),
  subject: z.string(),
  name: z.string(),
  groups: z.array(z.string()),
});
export type Principal = z.infer<typeof Principal>;

export const Task = z.looseObject({
  id: z.string(),
  name: z.string(),
  status: z.string(),
  parent: z.string().optional(),
  principal: Principal,
  /** Who acts, the one that acts now first. */
  actors: z.array(Principal),
  authorization_details: z.array(z.record(z.string(), z.unknown())),
  used: z.looseObject({ operations: z.number(), rows: z.number() }),
  createdAt: z.string(),
  deadline: z.string(),
  endReason: z.string().optional(),
});
export type Task = z.infer<typeof Task>;
export const Tasks = z.looseObject({ tasks: z.array(Task) });

export const Revocation = z.looseObject({
  id: z.string(),
  issuer: z.string(),
  subject: z.string(),
  at: z.string(),
  by: z.string(),
  reason: z.string().optional(),
  tokensOnly: z.boolean(),
});
export const Revocations = z.looseObject({ revocations: z.array(Revocation) });

export const SigningKeys = z.looseObject({
  keys: z.array(
    z.looseObject({
      kid: z.string(),
      status: z.string(),
      signsFrom: z.string(),
      verifiesUntil: z.string().optional(),
    }),
  ),
});

export const WhoAmI = z.looseObject({
  principal: Principal,
  expiresAt: z.string(),
  resources: z.array(z.string()).nullable(),
});

export const Resources = z.looseObject({
  resources: z.array(
    z.looseObject({
      name: z.string(),
      protocol: z.string(),
      labels: z.record(z.string(), z.string()),
      connector: z.string(),
      online: z.boolean(),
      database: z.string().optional(),
    }),
  ),
});

/** `GET /v1/ssh/host-key`. The form is checked because it goes into a file that ssh reads. */
export const SshHostKey = z.looseObject({ hostKey: z.string().regex(/^ssh-ed25519 [A-Za-z0-9+/]+=*$/) });

const PolicyNote = z.looseObject({ id: z.string(), reason: z.string().optional() });

export const Approval = z.looseObject({
  id: z.string(),
  status: z.string(),
  resource: z.string(),
  session: z.string().optional(),
  requester: Principal,
  operation: z.looseObject({
    action: z.array(z.string()),
    text: z.string(),
    parameters: z.array(z.string().nullable()).optional(),
    hash: z.string(),
    formatted: z.string().optional(),
    relations: z.looseObject({ reads: z.array(z.string()), writes: z.array(z.string()) }).optional(),
    shape: z.looseObject({ text: z.string() }).optional(),
  }),
  estimate: z
    .union([z.looseObject({ rows: z.number() }), z.looseObject({ unavailable: z.string() })])
    .optional(),
  before: z
    .array(
      z.looseObject({
        at: z.string(),
        text: z.string(),
        effect: z.string(),
        rows: z.number().optional(),
      }),
    )
    .optional(),
  similar: z
    .array(
      z.looseObject({
        id: z.string(),
        status: z.string(),
        requester: Principal,
        text: z.string(),
        comment: z.string().optional(),
      }),
    )
    .optional(),
  batchLimit: z.number().optional(),
  batch: z.looseObject({ uses: z.number(), left: z.number(), until: z.string() }).optional(),
  escalatedAt: z.string().optional(),
  reason: z.string().optional(),
  requirements: z.array(z.looseObject({ policy: z.string(), group: z.string(), quorum: z.number() })),
  decisions: z.array(
    z.looseObject({
      reviewer: Principal,
      verdict: z.string(),
      comment: z.string().optional(),
      at: z.string(),
    }),
  ),
  policies: z.array(PolicyNote),
  createdAt: z.string(),
  expiresAt: z.string(),
});
export type Approval = z.infer<typeof Approval>;
export const Approvals = z.looseObject({ approvals: z.array(Approval) });

export const Session = z.looseObject({
  id: z.string(),
  resource: z.string(),
  protocol: z.string(),
  principal: Principal,
  /** Who acts for the principal, and the tasks it runs under, the root first. */
  actors: z.array(Principal).optional(),
  tasks: z.array(z.looseObject({ id: z.string(), name: z.string() })).optional(),
  startedAt: z.string(),
  endedAt: z.string().optional(),
  status: z.string(),
  endReason: z.string().optional(),
  operations: z.number(),
  denied: z.number(),
  held: z.number(),
  rows: z.number(),
});
export type Session = z.infer<typeof Session>;
export const Sessions = z.looseObject({ sessions: z.array(Session) });

/** `json` is the exact text that was hashed; whatever else an event has is only a reading of it. */
export const RecordedEvent = z.looseObject({
  seq: z.number(),
  at: z.string(),
  hash: z.string(),
  previous: z.string(),
  json: z.string(),
});
export type RecordedEvent = z.infer<typeof RecordedEvent>;

export const Head = z.looseObject({ seq: z.number(), hash: z.string() });
export type Head = z.infer<typeof Head>;
/** No head: nothing has been recorded. */
export const Events = z.looseObject({
  events: z.array(RecordedEvent),
  head: Head.optional(),
  more: z.boolean(),
});

export const Applied = z.looseObject({
  version: z.union([z.number(), z.string()]),
  dryRun: z.boolean(),
  changes: z.array(z.string()),
});
export const Checked = z.looseObject({ ok: z.boolean() });

export const Explained = z.looseObject({
  effect: z.enum(["allow", "hold", "deny"]),
  policies: z.array(PolicyNote),
  requirements: z.array(z.looseObject({ group: z.string(), quorum: z.number() })).optional(),
  refusal: z.looseObject({ message: z.string(), hint: z.string().optional() }).optional(),
  actions: z.array(
    z.looseObject({
      action: z.string(),
      facts: z.record(z.string(), z.unknown()),
      effect: z.string(),
      policies: z.array(PolicyNote),
    }),
  ),
  rewritten: z.string().optional(),
  notes: z.array(z.string()),
});
export type Explained = z.infer<typeof Explained>;

export const JoinToken = z.looseObject({ token: z.string(), expiresAt: z.string() });

export const Connectors = z.looseObject({
  connectors: z.array(
    z.looseObject({
      name: z.string(),
      enrolledAt: z.string().nullable().optional(),
      processes: z.array(
        z.looseObject({
          process: z.string(),
          since: z.string(),
          version: z.string(),
          source: z.string().optional(),
          resources: z.array(z.string()),
        }),
      ),
      revoked: z.boolean(),
    }),
  ),
});

export const LoginIssuers = z.looseObject({
  issuers: z
    .array(
      z.looseObject({ issuer: z.string(), clientId: z.string().optional(), scopes: z.array(z.string()) }),
    )
    // Some are for the web console only.
    .transform((issuers) =>
      issuers.flatMap(({ clientId, ...issuer }) => (clientId === undefined ? [] : [{ ...issuer, clientId }])),
    ),
  saml: z.array(z.looseObject({ name: z.string(), entityId: z.string() })).default([]),
});
export type LoginSaml = z.infer<typeof LoginIssuers>["saml"][number];
export type LoginIssuers = z.infer<typeof LoginIssuers>;
export type LoginIssuer = z.infer<typeof LoginIssuers>["issuers"][number];
