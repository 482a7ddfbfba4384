/**
 * Settings that a session over masked relations may change. Left out is what makes the server tell more than
 * it is asked (log and debug messages to the client), what changes whom it runs as, what loads code, the costs
 * by which the planner weighs the size of a relation (moved step by step they would measure it), and the
 * settings that hold the key of `hash` masks.
 */
import { fieldsOf, object, text, type Fields } from "../sql/walk.ts";

const CHANGEABLE: ReadonlySet<string> = new Set(
  `
  application_name backslash_quote bytea_output check_function_bodies client_encoding client_min_messages
  constraint_exclusion datestyle deadlock_timeout default_table_access_method default_tablespace
  default_text_search_config default_toast_compression default_transaction_deferrable
  default_transaction_isolation default_transaction_read_only effective_io_concurrency enable_async_append
  enable_bitmapscan enable_distinct_reordering enable_gathermerge enable_group_by_reordering enable_hashagg
  enable_hashjoin enable_incremental_sort enable_indexonlyscan enable_indexscan enable_material
  enable_memoize enable_mergejoin enable_nestloop enable_parallel_append enable_parallel_hash
  enable_partition_pruning enable_partitionwise_aggregate enable_partitionwise_join
  enable_presorted_aggregate enable_self_join_elimination enable_seqscan enable_sort enable_tidscan
  escape_string_warning extra_float_digits from_collapse_limit geqo geqo_effort geqo_generations
  geqo_pool_size geqo_seed gin_fuzzy_search_limit gin_pending_list_limit hash_mem_multiplier
  idle_in_transaction_session_timeout idle_session_timeout intervalstyle jit join_collapse_limit lc_messages
  lc_monetary lc_numeric lc_time lock_timeout maintenance_work_mem max_parallel_maintenance_workers
  max_parallel_workers max_parallel_workers_per_gather parallel_leader_participation plan_cache_mode
  quote_all_identifiers restrict_nonsystem_relation_kind row_security search_path seed
  standard_conforming_strings statement_timeout synchronize_seqscans synchronous_commit tcp_keepalives_count
  tcp_keepalives_idle tcp_keepalives_interval tcp_user_timeout temp_buffers temp_file_limit temp_tablespaces
  timezone timezone_abbreviations transaction_deferrable transaction_isolation transaction_read_only
  transaction_timeout transform_null_equals work_mem xmlbinary xmloption
`.match(/\S+/g),
);

/** Below `notice` the server sends what it writes to its log, such as parameters and plans. */
const QUIET_LEVELS = new Set(["notice", "warning", "error"]);

/** Prefix of the settings that are the gateway's own. */
export const OWN_SETTINGS = "sallyport.";

/** Why a setting may not be changed, or undefined. `values` are the constants of a SET. */
export function settingProblem(name: string, values: readonly string[]): string | undefined {
  const lower = name.toLowerCase();
  if (lower.startsWith(OWN_SETTINGS)) return `the setting ${lower} is the gateway's own`;
  // A name of an application's own, `app.user`, is only ever read by what the database itself defines.
  if (lower.includes(".")) return undefined;
  if (!CHANGEABLE.has(lower)) return `the setting ${lower} cannot be changed where columns are masked`;
  if (lower === "client_min_messages" && values.some((value) => !QUIET_LEVELS.has(value.toLowerCase()))) {
    return "client_min_messages may be notice, warning or error where columns are masked";
  }
  const required = REQUIRED[lower];
  if (required !== undefined && values.some((value) => !required.has(value.toLowerCase()))) {
    return `${lower} has to stay as it is where columns are masked: statements are read by it`;
  }
  return undefined;
}

/** What the gateway's reading of a statement assumes. */
const REQUIRED: Readonly<Record<string, ReadonlySet<string>>> = {
  standard_conforming_strings: new Set(["on", "true", "yes", "1"]),
  client_encoding: new Set(["utf8", "utf-8", "unicode"]),
};

/** `set_config` and `current_setting` by their argument, which has to be a constant to be judged. */
export function settingCallProblem(parts: readonly string[], args: readonly unknown[]): string | undefined {
  const name = parts.at(-1);
  if (name !== "set_config" && name !== "current_setting") return undefined;
  const setting = constantText(args[0]);
  if (setting === undefined)
    return `the setting that ${name} names has to be written as a constant where columns are masked`;
  if (setting.toLowerCase().startsWith(OWN_SETTINGS))
    return `the setting ${setting.toLowerCase()} is the gateway's own`;
  if (name === "current_setting") return undefined;
  const value = constantText(args[1]);
  return settingProblem(setting, [value ?? "?"]);
}

/** The text of a string constant, with or without a cast. */
export function constantText(node: unknown): string | undefined {
  const cast = fieldsOf(node, "TypeCast");
  const constant: Fields | undefined = fieldsOf(cast === undefined ? node : cast["arg"], "A_Const");
  return text(object(constant?.["sval"])?.["sval"]);
}
