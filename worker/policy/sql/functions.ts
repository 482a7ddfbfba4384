/**
 * Functions that do more than compute. Calling one is a `postgres:select` like any other call, and also the
 * action named here, so that a policy that only permits reading does not permit them. All else about
 * functions (user-defined ones, what they may tell of masked columns) is decided by policy over
 * `facts.functions` and by the masks' allow-list.
 */
import type { PostgresVerb } from "../types.ts";

/**
 * Runs SQL, or reads relations, given as text that no grammar has seen (PostgreSQL docs 9.15.3, 9.13, F.11).
 */
const OPAQUE: readonly string[] = [
  "query_to_xml",
  "query_to_xmlschema",
  "query_to_xml_and_xmlschema",
  "table_to_xml",
  "table_to_xml_and_xmlschema",
  "schema_to_xml",
  "schema_to_xml_and_xmlschema",
  "database_to_xml",
  "database_to_xml_and_xmlschema",
  "ts_stat",
  "ts_rewrite",
  "dblink",
  "dblink_exec",
  "dblink_open",
  "dblink_fetch",
  "dblink_connect",
  "dblink_connect_u",
  "dblink_send_query",
  "dblink_get_result",
  "crosstab",
  "crosstab2",
  "crosstab3",
  "crosstab4",
  "crosstabn",
  "connectby",
  "xpath_table",
  "pg_logical_slot_get_changes",
  "pg_logical_slot_get_binary_changes",
  "pg_logical_slot_peek_changes",
  "pg_logical_slot_peek_binary_changes",
];

const EFFECTS = {
  call: [
    // Large objects: rows of pg_largeobject written without naming it.
    "lo_create",
    "lo_creat",
    "lo_from_bytea",
    "lo_open",
    "lo_put",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "lowrite",
    // Writes a sequence.
    "setval",
  ],
  // Files of the server, or programs.
  copy_program: [
    "lo_import",
    "lo_export",
    "pg_read_file",
    "pg_read_binary_file",
    "pg_stat_file",
    "pg_ls_dir",
    "pg_ls_logdir",
    "pg_ls_waldir",
    "pg_ls_archive_statusdir",
    "pg_ls_summariesdir",
    "pg_ls_tmpdir",
    "pg_ls_logicalsnapdir",
    "pg_ls_logicalmapdir",
    "pg_ls_replslotdir",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_show_all_file_settings",
    "pg_file_write",
    "pg_file_sync",
    "pg_file_rename",
    "pg_file_unlink",
    "pg_logdir_ls",
    "get_raw_page",
  ],
  // The server and other people's sessions.
  maintenance: [
    "pg_terminate_backend",
    "pg_cancel_backend",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_log_backend_memory_contexts",
    "pg_promote",
    "pg_switch_wal",
    "pg_create_restore_point",
    "pg_backup_start",
    "pg_backup_stop",
    "pg_start_backup",
    "pg_stop_backup",
    "pg_wal_replay_pause",
    "pg_wal_replay_resume",
    "pg_create_physical_replication_slot",
    "pg_create_logical_replication_slot",
    "pg_copy_physical_replication_slot",
    "pg_copy_logical_replication_slot",
    "pg_drop_replication_slot",
    "pg_replication_slot_advance",
    "pg_sync_replication_slots",
    "pg_replication_origin_create",
    "pg_replication_origin_drop",
    "pg_replication_origin_advance",
    "pg_replication_origin_session_setup",
    "pg_replication_origin_session_reset",
    "pg_replication_origin_xact_setup",
    "pg_replication_origin_xact_reset",
    "pg_logical_emit_message",
    "pg_stat_reset",
    "pg_stat_reset_shared",
    "pg_stat_reset_slru",
    "pg_stat_reset_single_table_counters",
    "pg_stat_reset_single_function_counters",
    "pg_stat_reset_backend_stats",
    "pg_stat_reset_replication_slot",
    "pg_stat_reset_subscription_stats",
    "pg_stat_statements_reset",
    "pg_restore_relation_stats",
    "pg_restore_attribute_stats",
    "pg_clear_relation_stats",
    "pg_clear_attribute_stats",
    "pg_import_system_collations",
    "pg_prewarm",
    "brin_summarize_new_values",
    "brin_summarize_range",
    "brin_desummarize_range",
    "gin_clean_pending_list",
  ],
  session: ["set_config", "pg_notify", "pg_listening_channels"],
} satisfies Partial<Record<PostgresVerb, readonly string[]>>;

export type FunctionEffect = {
  readonly verb: PostgresVerb;
  /** What it does cannot be known from the statement. */
  readonly opaque: boolean;
};

const BY_NAME: ReadonlyMap<string, FunctionEffect> = new Map<string, FunctionEffect>([
  ...OPAQUE.map((name) => [name, { verb: "call", opaque: true }] as const),
  ...Object.entries(EFFECTS).flatMap(([verb, names]) =>
    names.map((name) => [name, { verb: verb as keyof typeof EFFECTS, opaque: false }] as const),
  ),
]);

/**
 * The action that calling this function is besides a select, if any. By bare name, in whatever schema, as an
 * extension may be installed anywhere.
 */
export function effectOf(bareName: string): FunctionEffect | undefined {
  return BY_NAME.get(bareName);
}
