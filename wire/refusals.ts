/**
 * Every reason for which Sallyport refuses something, and the one map from a reason to what each kind of
 * client is told: HTTP status, SQLSTATE (PostgreSQL docs, appendix A) and the exit code of `sally`.
 * It lives in `wire` because the objects, the routes, the connector and the command all speak it
 * (docs/decisions/001).
 */

/** Exit codes of `sally` (DESIGN section 10). */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  denied: 3,
  held: 4,
  unauthenticated: 5,
  unreachable: 6,
} as const;

type Mapping = { readonly http: number; readonly sqlstate: string; readonly exit: number };

export const REFUSALS = {
  // Policy.
  denied_by_policy: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  no_policy_permits: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  policy_error: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  no_policy_loaded: { http: 503, sqlstate: "57P03", exit: EXIT.unreachable },
  unknown_operation: { http: 403, sqlstate: "0A000", exit: EXIT.denied },
  statement_not_parsed: { http: 400, sqlstate: "42601", exit: EXIT.denied },
  statement_over_limit: { http: 413, sqlstate: "54000", exit: EXIT.denied },
  setting_not_allowed: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  function_not_allowed: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  prepared_statement_unknown: { http: 400, sqlstate: "26000", exit: EXIT.denied },
  cursor_unknown: { http: 400, sqlstate: "34000", exit: EXIT.denied },
  prepared_statement_stale: { http: 409, sqlstate: "0A000", exit: EXIT.denied },
  feature_not_supported: { http: 501, sqlstate: "0A000", exit: EXIT.denied },
  // Masks.
  mask_cannot_rewrite: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  mask_reads_column: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  mask_written_back: { http: 409, sqlstate: "42501", exit: EXIT.denied },
  redirect_not_allowed: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  mask_value_withheld: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  relation_unknown: { http: 404, sqlstate: "42P01", exit: EXIT.failed },
  catalogue_missing: { http: 503, sqlstate: "57P03", exit: EXIT.unreachable },
  // Approval.
  approval_required: { http: 403, sqlstate: "42501", exit: EXIT.held },
  approval_denied: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  approval_expired: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  approval_withdrawn: { http: 409, sqlstate: "57014", exit: EXIT.denied },
  config_changed: { http: 409, sqlstate: "55000", exit: EXIT.failed },
  approval_not_pending: { http: 409, sqlstate: "55000", exit: EXIT.failed },
  approval_own_request: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  approval_not_reviewer: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  // Identity.
  token_missing: { http: 401, sqlstate: "28000", exit: EXIT.unauthenticated },
  token_invalid: { http: 401, sqlstate: "28000", exit: EXIT.unauthenticated },
  token_expired: { http: 401, sqlstate: "28000", exit: EXIT.unauthenticated },
  principal_revoked: { http: 401, sqlstate: "28000", exit: EXIT.unauthenticated },
  ticket_invalid: { http: 401, sqlstate: "28000", exit: EXIT.unauthenticated },
  proof_invalid: { http: 401, sqlstate: "28000", exit: EXIT.unauthenticated },
  origin_refused: { http: 403, sqlstate: "28000", exit: EXIT.denied },
  csrf_refused: { http: 403, sqlstate: "28000", exit: EXIT.denied },
  delegation_not_enough: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  connector_not_trusted: { http: 401, sqlstate: "28000", exit: EXIT.unauthenticated },
  // Tasks.
  task_not_permitted: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  task_budget_spent: { http: 403, sqlstate: "53400", exit: EXIT.denied },
  task_ended: { http: 403, sqlstate: "28000", exit: EXIT.denied },
  task_too_wide: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  // Resources and reach.
  resource_unknown: { http: 404, sqlstate: "3D000", exit: EXIT.failed },
  resource_not_in_token: { http: 403, sqlstate: "42501", exit: EXIT.denied },
  connector_offline: { http: 503, sqlstate: "08006", exit: EXIT.unreachable },
  upstream_unreachable: { http: 502, sqlstate: "08006", exit: EXIT.unreachable },
  upstream_login_failed: { http: 502, sqlstate: "08006", exit: EXIT.unreachable },
  upstream_lost: { http: 502, sqlstate: "08006", exit: EXIT.unreachable },
  gateway_restarted: { http: 503, sqlstate: "57P01", exit: EXIT.unreachable },
  session_killed: { http: 410, sqlstate: "57P01", exit: EXIT.denied },
  not_found: { http: 404, sqlstate: "58000", exit: EXIT.failed },
  // Form.
  request_invalid: { http: 400, sqlstate: "08P01", exit: EXIT.usage },
  config_invalid: { http: 422, sqlstate: "F0000", exit: EXIT.usage },
  protocol_violation: { http: 400, sqlstate: "08P01", exit: EXIT.failed },
  over_limit: { http: 413, sqlstate: "54000", exit: EXIT.failed },
  cannot_record: { http: 503, sqlstate: "58000", exit: EXIT.failed },
  internal: { http: 500, sqlstate: "XX000", exit: EXIT.failed },
} as const satisfies Record<string, Mapping>;

export type RefusalCode = keyof typeof REFUSALS;

/**
 * A refusal as the user meets it. `message` says what was refused and why, `hint` what to do about it.
 * Neither ever holds a secret, a masked value or a stack.
 */
export type Refusal = {
  readonly code: RefusalCode;
  readonly message: string;
  readonly hint?: string;
  /** Identifier of the approval that this refusal is about, where there is one. */
  readonly approval?: string;
  /** Where in a statement the reason is, in characters from 1; `hint` says the same as line and column. */
  readonly position?: number;
};

export function refusal(
  code: RefusalCode,
  message: string,
  more: Pick<Refusal, "hint" | "approval" | "position"> = {},
): Refusal {
  return { code, message, ...more };
}

export function isRefusalCode(value: string): value is RefusalCode {
  return Object.hasOwn(REFUSALS, value);
}
