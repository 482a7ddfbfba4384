/**
 * Every ceiling that something untrusted can push against, in one place (DESIGN section 9, rule 2).
 * Lengths are in bytes unless the name says otherwise, times in milliseconds.
 */
export const LIMITS = {
  tunnel: {
    /** One binary WebSocket frame. Workers take 32 MiB; 64 to 128 KiB is fastest. */
    frame: 1 << 20,
    /** Payload of a DATA frame that we send. */
    chunk: 64 << 10,
    /** Credit each side starts a channel with. */
    window: 1 << 20,
    /** Channels open at once on one tunnel. */
    channels: 256,
    /** JSON payload of an OPEN, OPENED or CLOSE frame. */
    json: 16 << 10,
    /** A text control message on any WebSocket. */
    control: 64 << 10,
  },
  postgres: {
    /** StartupMessage, PostgreSQL's own MAX_STARTUP_PACKET_LENGTH. */
    startup: 10_000,
    /** A frontend message that has to be held whole (Query, Parse, Bind, ...). */
    held: 16 << 20,
    /** A backend message that has to be held whole (RowDescription, ErrorResponse, ...). */
    backendHeld: 1 << 20,
    /** Any message at all: PostgreSQL's own 1 GiB. */
    message: 0x3fffffff,
    /** SQL text of one Query or Parse message. */
    sql: 256 << 10,
    /** Messages that wait behind a held one; beyond this the client has no credit left anyway. */
    parkedMessages: 10_000,
    /** Expected replies not yet answered by the server (pipeline depth). */
    pipeline: 100_000,
    /** Prepared statements and portals known at once. */
    prepared: 10_000,
  },
  sql: {
    /** Sum of squared lengths of operator-character runs: PostgreSQL's scanner is quadratic there. */
    operatorRunWork: 1_000_000,
    /** Nesting depth of the parsed tree that analysis follows. */
    depth: 400,
    /** Statements in one Query message. */
    statements: 1_000,
  },
  policy: {
    /** Text of all policies together. */
    text: 1 << 20,
    /** Characters of one policy. */
    onePolicy: 16 << 10,
    /** Policies together. */
    policies: 2_000,
    /** Nesting of brackets and conditionals in one policy: the evaluator overflows its stack below 200. */
    nesting: 64,
    /** Elements of one set in a decision's context. */
    contextSet: 1_000,
    /** Decisions kept for the same principal, resource and facts. */
    cachedDecisions: 4_096,
  },
  http: {
    /** Body of a request to our own API. */
    apiBody: 2 << 20,
    /** A token in a header or a form. */
    token: 64 << 10,
    /** Groups taken from a token. */
    groups: 1_000,
  },
  time: {
    /** A ticket for dialling back. */
    ticket: 30_000,
    /** Our own session token. */
    sessionToken: 15 * 60_000,
    /** A client that has not finished its startup. */
    startup: 20_000,
    /** The connector's connection and login to a resource. */
    upstreamOpen: 15_000,
    /** An approval that nobody decides. */
    approval: 60 * 60_000,
    /** A held operation inside a transaction that holds locks (resources may set less). */
    heldInTransaction: 5 * 60_000,
  },
} as const;
