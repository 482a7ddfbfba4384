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
    /** JSON payload of an OPEN, OPENED, CLOSE or SIGNAL frame; an HTTP message's headers have to fit. */
    json: 96 << 10,
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
    /** A database's catalogue: what the connector reads for it, and its JSON. */
    catalogue: 64 << 20,
    /** Prepared statements and portals known at once. */
    prepared: 10_000,
    /** Columns of prepared statements and portals remembered at once; what is forgotten is described anew. */
    describedColumns: 20_000,
    /** DataRow and CopyData bodies longer than this pass in pieces, shorter ones whole. */
    wholeRow: 64 << 10,
  },
  sql: {
    /** Sum of squared lengths of operator-character runs: PostgreSQL's scanner is quadratic there. */
    operatorRunWork: 1_000_000,
    /** Nesting depth of the parsed tree that analysis follows. */
    depth: 400,
    /** Statements in one Query message. */
    statements: 1_000,
  },
  config: {
    /** Files of one configuration, and their text together. */
    files: 1_000,
    text: 2 << 20,
  },
  policy: {
    /** Text of all policies together. */
    text: 1 << 20,
    /** Characters of one policy. */
    onePolicy: 16 << 10,
    /** Operators in one policy: the evaluator's stack grows with a chain of them too. */
    operators: 1_000,
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
    /** Characters of a requester's reason or a reviewer's comment. */
    reason: 1_000,
    /** Characters of one name from a token: subject, display name, group. */
    identityName: 512,
    /** Resources that one session token may name. */
    tokenResources: 64,
    /** An identity provider's discovery document or key set. */
    providerDocument: 512 << 10,
    /** Path and query of a request to an HTTP resource. */
    target: 8 << 10,
    /** Segments of a path, and parameters of a query. */
    segments: 256,
    queryParameters: 1_000,
    /** Names and values of a message's headers together, and how many there are. */
    head: 32 << 10,
    headers: 128,
    /** Body of a request that has to be known before it can be decided. */
    inspectedBody: 1 << 20,
    /** Body of a request that is held: it waits in memory and is bound into the approval. */
    heldBody: 4 << 20,
    /** Requests of one session that the connector works on at once, and those that wait behind them. */
    concurrent: 200,
    waiting: 2_000,
    /** Bytes of one direction of one request that wait in the gateway. */
    buffered: 256 << 10,
    /** One message of a WebSocket. */
    webSocketMessage: 1 << 20,
    /** Messages of a WebSocket's client that wait for a service which reads more slowly. */
    webSocketBacklog: 16 << 20,
    /** Nesting of JSON, bytes of one key, and of one value that a mask has to see whole. */
    jsonDepth: 512,
    jsonKey: 4 << 10,
    jsonValue: 64 << 10,
    /** One event of a server-sent stream that is inspected. */
    streamedEvent: 1 << 20,
    /** How much longer a body may be than its compressed form. */
    inflation: 200,
    /** Values of named body fields that policy is told. */
    bodyFields: 200,
    bodyField: 1 << 10,
    /** Tokens of a GraphQL document, and operations of one batch. */
    graphqlTokens: 5_000,
    graphqlBatch: 20,
    /** Route templates of one resource. */
    routes: 5_000,
  },
  kubernetes: {
    /** Body of a request that changes something: what the API server itself takes. */
    body: 3 << 20,
    /** YAML that is read: its parser is slow. */
    yaml: 256 << 10,
    /** Nesting of an object. */
    depth: 256,
    /** One object, or one list of them, as protobuf, and one event of a watch. */
    message: 8 << 20,
    /** Steps of a field that a mask names. */
    fieldSteps: 32,
    /** One frame of a port-forward's tunnel, and its connections open at once. */
    frame: 1 << 20,
    connections: 200,
  },
  ssh: {
    /** Payload of one SSH packet that we take (RFC 4253 section 6.1 asks for 32768 plus headers at least). */
    packet: 35_000,
    /** Text of one exec request. */
    command: 32 << 10,
    /** Words of a plain command. */
    arguments: 1_000,
    /** Channels of one session open at once; one of them is a tunnel channel of its own. */
    channels: 64,
    /** Window that we grant the client on each channel, and the largest packet on it. */
    window: 1 << 20,
    channelPacket: 32 << 10,
    /** Environment variables of one channel, and bytes of one name and value. */
    environment: 32,
    environmentValue: 1 << 10,
    /** Login name. */
    user: 128,
    /** Requests for authentication, and packets of any kind, before it has succeeded. */
    authentications: 6,
    packetsBeforeAuthentication: 32,
    bytesBeforeAuthentication: 64 << 10,
    /** Requests on one channel before its program starts, and channel requests and global requests in all. */
    requestsBeforeStart: 64,
    /** Bytes waiting for the client's transport, over all channels. */
    clientBacklog: 4 << 20,
    /** Bytes after which we ask for new keys (RFC 4253 section 9). */
    rekey: 1 << 30,
    /** Address of a forward. */
    forwardHost: 255,
    /** Remote forwards of one session. */
    remoteForwards: 16,
  },
  sftp: {
    /** One SFTP packet, as OpenSSH's SFTP_MAX_MSG_LENGTH. */
    packet: 256 << 10,
    /** A path, PATH_MAX of Linux. */
    path: 4_096,
    /** Requests that the server has not answered yet. */
    outstanding: 1_024,
    /** Files and directories open at once. */
    handles: 512,
    /** A handle, draft-ietf-secsh-filexfer-02 section 6.3. */
    handle: 256,
    /** Requests that wait behind one that is being decided. */
    parked: 1_024,
  },
  tasks: {
    /** Tasks from the root to the deepest. */
    depth: 8,
    /** JSON of one request's authorization_details. */
    details: 4 << 10,
    /** Rights of one task, and values in one of their lists. */
    rights: 16,
    values: 64,
    /** Characters of a task's name. */
    name: 128,
    /** Who acts for whom in one token (RFC 8693 section 4.1), the subject aside. */
    actors: 8,
    /** Tasks of one principal that have not ended. */
    open: 10_000,
  },
  proofs: {
    /** Characters of a DPoP proof (RFC 9449). */
    length: 4 << 10,
    /** Proofs of one key, and of all keys, that are remembered at once. */
    perKey: 2_000,
    all: 100_000,
  },
  exchange: {
    /** Refused token requests of one source in a minute, before further ones are turned away unread. */
    failures: 30,
    /** Where the platform does not say who the source is, all of them together. */
    failuresUnknownSource: 600,
    /** Sources that are counted at once. */
    sources: 10_000,
  },
  saml: {
    /** Characters of a response or an assertion, and tags in it. */
    document: 256 << 10,
    tags: 10_000,
    /** Nesting of its elements. */
    depth: 32,
    /** Bits of a key that signs, at least. */
    keyBits: 2048,
    /** Logins begun at once, those of one network address, and assertions and logins remembered at once. */
    requests: 20_000,
    requestsOfSource: 100,
    remembered: 100_000,
  },
  scim: {
    /** Users and groups of one directory, and members of one group. */
    users: 100_000,
    groups: 10_000,
    members: 50_000,
    /** JSON of one user or group as it is stored. */
    resource: 64 << 10,
    /** Operations of one PATCH, and resources on one page. */
    operations: 1_000,
    page: 200,
    /** Characters of a filter or a path. */
    filter: 1_000,
  },
  approvals: {
    /** Groups in one annotation. */
    groups: 10,
    /** Uses of one batch. */
    batchUses: 1_000,
    /** Statements of the session that a reviewer sees besides, and characters kept of each. */
    before: 10,
    beforeText: 2_000,
    /** Earlier similar requests that a reviewer sees. */
    similar: 10,
    /** Notifications that wait for delivery at once; beyond this the oldest delivered ones are forgotten first. */
    outbox: 10_000,
    /** One delivery of a notification, milliseconds, and bytes read of its answer. */
    deliveryTime: 10_000,
    /** JSON of EXPLAIN's plan. */
    plan: 1 << 20,
  },
  time: {
    /** A batch, from its grant to its end. */
    batch: 24 * 60 * 60_000,
    /** A ticket for dialling back. */
    ticket: 30_000,
    /** Our own session token. */
    sessionToken: 15 * 60_000,
    /** A task, from its start to its deadline. */
    task: 24 * 60 * 60_000,
    /** A SAML login, from leaving for the provider to its answer, and the code that it gives to `sally`. */
    samlRequest: 10 * 60_000,
    samlCode: 60_000,
    /** A SAML login, whatever the provider allows. */
    samlSession: 24 * 60 * 60_000,
    /** A DPoP proof after it was made. */
    proof: 60_000,
    /** A new signing key is published this long before it signs. */
    keyPublished: 2 * 60_000,
    /** A connector's own token for its control socket. */
    connectorToken: 60_000,
    /** A join token for enrolling a connector. */
    joinToken: 60 * 60_000,
    /** Difference between two clocks that is forgiven when a token's times are checked. */
    clockSkew: 60_000,
    /** One request to an identity provider. */
    providerRequest: 5_000,
    /** Keys of an identity provider before they are read again. */
    providerKeys: 10 * 60_000,
    /** Pause before the keys are read again for a key id that they lack, or after a failure. */
    providerCooldown: 10_000,
    /** Keys that go on serving while their provider cannot be reached. */
    providerKeysStale: 24 * 60 * 60_000,
    /** A client that has not finished its startup. */
    startup: 20_000,
    /** The connector's connection and login to a resource. */
    upstreamOpen: 15_000,
    /** An approval that nobody decides. */
    approval: 60 * 60_000,
    /** A client whose operation is held is told so again, where its protocol has a way (resources may set another). */
    heldReminder: 30_000,
    /** A held operation inside a transaction that holds locks (resources may set less). */
    heldInTransaction: 5 * 60_000,
  },
} as const;
