/**
 * The statements of PostgreSQL 18's grammar (gram.y, `stmt:`) that are not queries, by the kind of action
 * that running one is. A statement that is in neither this table nor analyse.ts is refused.
 */
import type { PostgresVerb } from "../types.ts";

export type UtilityRule = {
  readonly verbs: readonly PostgresVerb[];
  /** The catalogue may be another afterwards. */
  readonly ddl: boolean;
};

const schema: UtilityRule = { verbs: ["schema"], ddl: true };
const grant: UtilityRule = { verbs: ["grant"], ddl: true };
const schemaAndGrant: UtilityRule = { verbs: ["schema", "grant"], ddl: true };
const maintenance: UtilityRule = { verbs: ["maintenance"], ddl: false };
const session: UtilityRule = { verbs: ["session"], ddl: false };
const transaction: UtilityRule = { verbs: ["transaction"], ddl: false };

/** By the statement's tag. */
export const UTILITY: ReadonlyMap<string, UtilityRule> = new Map(
  Object.entries({
    // Definitions.
    AlterCollationStmt: schema,
    AlterDatabaseRefreshCollStmt: schema,
    AlterDatabaseSetStmt: schema,
    AlterDatabaseStmt: schema,
    AlterDomainStmt: schema,
    AlterEnumStmt: schema,
    AlterEventTrigStmt: schema,
    AlterExtensionContentsStmt: schema,
    AlterExtensionStmt: schema,
    AlterFdwStmt: schema,
    AlterForeignServerStmt: schema,
    AlterFunctionStmt: schema,
    AlterObjectDependsStmt: schema,
    AlterObjectSchemaStmt: schema,
    AlterOpFamilyStmt: schema,
    AlterOperatorStmt: schema,
    AlterPublicationStmt: schema,
    AlterSeqStmt: schema,
    AlterStatsStmt: schema,
    AlterSubscriptionStmt: schema,
    AlterTSConfigurationStmt: schema,
    AlterTSDictionaryStmt: schema,
    AlterTableMoveAllStmt: schema,
    AlterTableSpaceOptionsStmt: schema,
    AlterTableStmt: schema,
    AlterTypeStmt: schema,
    CommentStmt: schema,
    CompositeTypeStmt: schema,
    CreateAmStmt: schema,
    CreateCastStmt: schema,
    CreateConversionStmt: schema,
    CreateDomainStmt: schema,
    CreateEnumStmt: schema,
    CreateEventTrigStmt: schema,
    CreateExtensionStmt: schema,
    CreateFdwStmt: schema,
    CreateForeignServerStmt: schema,
    CreateForeignTableStmt: schema,
    CreateFunctionStmt: schema,
    CreateOpClassStmt: schema,
    CreateOpFamilyStmt: schema,
    CreatePLangStmt: schema,
    CreatePublicationStmt: schema,
    CreateRangeStmt: schema,
    CreateSeqStmt: schema,
    CreateStatsStmt: schema,
    CreateStmt: schema,
    CreateSubscriptionStmt: schema,
    CreateTableSpaceStmt: schema,
    CreateTransformStmt: schema,
    CreateTrigStmt: schema,
    CreatedbStmt: schema,
    DefineStmt: schema,
    DropStmt: schema,
    DropSubscriptionStmt: schema,
    DropTableSpaceStmt: schema,
    DropdbStmt: schema,
    ImportForeignSchemaStmt: schema,
    IndexStmt: schema,
    RenameStmt: schema,
    RuleStmt: schema,
    ViewStmt: schema,
    // The server's configuration can name programs to run and libraries to load.
    AlterSystemStmt: { verbs: ["schema", "copy_program"], ddl: false },

    // Who may do what.
    AlterDefaultPrivilegesStmt: grant,
    AlterPolicyStmt: grant,
    AlterRoleSetStmt: grant,
    AlterRoleStmt: grant,
    AlterUserMappingStmt: grant,
    CreatePolicyStmt: grant,
    CreateRoleStmt: grant,
    CreateUserMappingStmt: grant,
    DropRoleStmt: grant,
    DropUserMappingStmt: grant,
    GrantRoleStmt: grant,
    GrantStmt: grant,
    ReassignOwnedStmt: grant,
    SecLabelStmt: grant,
    AlterOwnerStmt: schemaAndGrant,
    DropOwnedStmt: schemaAndGrant,

    CheckPointStmt: maintenance,
    ClusterStmt: maintenance,
    RefreshMatViewStmt: maintenance,
    ReindexStmt: maintenance,
    VacuumStmt: maintenance,

    TruncateStmt: { verbs: ["truncate"], ddl: false },
    LockStmt: { verbs: ["lock"], ddl: false },

    CallStmt: { verbs: ["call"], ddl: true },
    DoStmt: { verbs: ["call"], ddl: true },

    ClosePortalStmt: session,
    DeallocateStmt: session,
    DiscardStmt: session,
    ExecuteStmt: session,
    FetchStmt: session,
    ListenStmt: session,
    NotifyStmt: session,
    UnlistenStmt: session,
    VariableSetStmt: session,
    VariableShowStmt: session,

    ConstraintsSetStmt: transaction,
    TransactionStmt: transaction,
  } satisfies Record<string, UtilityRule>),
);

/** Statements that define queries, changes or expressions which run later, not now. */
export const DEFINES_LATER: ReadonlySet<string> = new Set([
  "AlterTableStmt",
  "CreateFunctionStmt",
  "CreatePolicyStmt",
  "CreateStmt",
  "RuleStmt",
  "ViewStmt",
]);

export type Transaction =
  | "begin"
  | "commit"
  | "rollback"
  | "savepoint"
  | "release"
  | "rollback_to"
  | "prepare"
  | "commit_prepared"
  | "rollback_prepared";

export const TRANSACTION_KINDS: ReadonlyMap<unknown, Transaction> = new Map([
  ["TRANS_STMT_BEGIN", "begin"],
  ["TRANS_STMT_START", "begin"],
  ["TRANS_STMT_COMMIT", "commit"],
  ["TRANS_STMT_ROLLBACK", "rollback"],
  ["TRANS_STMT_SAVEPOINT", "savepoint"],
  ["TRANS_STMT_RELEASE", "release"],
  ["TRANS_STMT_ROLLBACK_TO", "rollback_to"],
  ["TRANS_STMT_PREPARE", "prepare"],
  ["TRANS_STMT_COMMIT_PREPARED", "commit_prepared"],
  ["TRANS_STMT_ROLLBACK_PREPARED", "rollback_prepared"],
] as const);
