/** Message types of protocol 3, by their names in PostgreSQL docs 54.7. The value is the type byte. */

export const Frontend = {
  Bind: 0x42, // B
  Close: 0x43, // C
  CopyData: 0x64, // d
  CopyDone: 0x63, // c
  CopyFail: 0x66, // f
  Describe: 0x44, // D
  Execute: 0x45, // E
  Flush: 0x48, // H
  FunctionCall: 0x46, // F
  Parse: 0x50, // P
  Query: 0x51, // Q
  Sync: 0x53, // S
  Terminate: 0x58, // X
} as const;

export const Backend = {
  Authentication: 0x52, // R
  BackendKeyData: 0x4b, // K
  BindComplete: 0x32, // 2
  CloseComplete: 0x33, // 3
  CommandComplete: 0x43, // C
  CopyBothResponse: 0x57, // W
  CopyData: 0x64, // d
  CopyDone: 0x63, // c
  CopyInResponse: 0x47, // G
  CopyOutResponse: 0x48, // H
  DataRow: 0x44, // D
  EmptyQueryResponse: 0x49, // I
  ErrorResponse: 0x45, // E
  NegotiateProtocolVersion: 0x76, // v
  NoData: 0x6e, // n
  NoticeResponse: 0x4e, // N
  NotificationResponse: 0x41, // A
  ParameterDescription: 0x74, // t
  ParameterStatus: 0x53, // S
  ParseComplete: 0x31, // 1
  PortalSuspended: 0x73, // s
  ReadyForQuery: 0x5a, // Z
  RowDescription: 0x54, // T
} as const;

/** Request codes that stand where a StartupMessage has its version (PostgreSQL docs 54.7). */
export const RequestCode = {
  CancelRequest: 80877102,
  SSLRequest: 80877103,
  GSSENCRequest: 80877104,
} as const;

/** Field codes of ErrorResponse and NoticeResponse (PostgreSQL docs 54.8). */
export const ErrorField = {
  severity: 0x53, // S, localised
  severityFixed: 0x56, // V, never localised
  code: 0x43, // C
  message: 0x4d, // M
  hint: 0x48, // H
  position: 0x50, // P
} as const;

/** Type byte and length word. */
export const HEADER = 5;

/** PQ_SMALL_MESSAGE_LIMIT of the server (libpq/libpq.h): messages that carry names only. */
export const SMALL_MESSAGE = 10_000;

/** A type byte for display; anything unprintable as hexadecimal. */
export function typeName(type: number): string {
  return type > 0x20 && type < 0x7f
    ? `'${String.fromCharCode(type)}'`
    : `0x${type.toString(16).padStart(2, "0")}`;
}
