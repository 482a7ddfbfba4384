/**
 * What each kind of statement may do over a resource with masks, for a principal from whom something is hidden.
 * A kind that is not listed is refused. Whether a statement is allowed at all is policy's matter.
 */
import { fieldsOf, list, object, tagged, text, type Fields } from "../sql/walk.ts";
import { copyStatement } from "./copy.ts";
import {
  alterTable,
  createIndex,
  createTable,
  creates,
  definesView,
  refuseSensitive,
} from "./definitions.ts";
import type { Tree } from "./edit.ts";
import { explainStatement } from "./explain.ts";
import type { Rewriter } from "./rewriter.ts";
import { OWN_SETTINGS, settingProblem } from "./settings.ts";
import { refusal } from "../../../wire/refusals.ts";

/** Statements that neither read nor write rows, nor install code. */
const HARMLESS = new Set([
  ...["DeallocateStmt", "ClosePortalStmt", "DiscardStmt", "UnlistenStmt", "NotifyStmt"],
  ...["CheckPointStmt", "DropStmt", "LockStmt", "CommentStmt", "GrantStmt", "GrantRoleStmt"],
  ...[
    "AlterDefaultPrivilegesStmt",
    "CreateRoleStmt",
    "AlterRoleStmt",
    "DropRoleStmt",
    "CreateEnumStmt",
    "AlterEnumStmt",
  ],
]);

/** What installs code, moves rows elsewhere or changes later sessions, in words. */
const REFUSED: Readonly<Record<string, string>> = {
  DoStmt: "DO runs code that no mask can reach",
  ListenStmt: "LISTEN delivers what other sessions send, which can hold masked values",
  LoadStmt: "LOAD runs code that no mask can reach",
  CreateFunctionStmt: "CREATE FUNCTION installs code that could read masked columns",
  AlterFunctionStmt: "ALTER FUNCTION changes code that could read masked columns",
  CreateTrigStmt: "CREATE TRIGGER installs code that could read masked columns",
  RuleStmt: "CREATE RULE installs code that could read masked columns",
  CreatePolicyStmt: "CREATE POLICY installs code that could read masked columns",
  AlterPolicyStmt: "ALTER POLICY installs code that could read masked columns",
  CreateExtensionStmt: "CREATE EXTENSION installs code that could read masked columns",
  CreateCastStmt: "CREATE CAST installs code that could read masked columns",
  DefineStmt: "CREATE AGGREGATE, OPERATOR and the like install code that could read masked columns",
  CreateStatsStmt: "CREATE STATISTICS collects statistics on columns",
  CreatePublicationStmt: "CREATE PUBLICATION sends rows past the masks",
  CreateSubscriptionStmt: "CREATE SUBSCRIPTION writes rows past the masks",
  CreateForeignTableStmt: "CREATE FOREIGN TABLE reads relations past the masks",
  ImportForeignSchemaStmt: "IMPORT FOREIGN SCHEMA reads relations past the masks",
  CreateForeignServerStmt: "CREATE SERVER reads relations past the masks",
  AlterSystemStmt: "ALTER SYSTEM changes the server for everybody",
  AlterDatabaseSetStmt: "ALTER DATABASE SET changes later sessions",
  AlterRoleSetStmt: "ALTER ROLE SET changes later sessions",
  ClusterStmt: "CLUSTER puts rows in the order of a column, which can be masked",
};

/** Visits a whole statement, edits it or refuses it. */
export function walkStatement(rewriter: Rewriter, tag: string, fields: Fields): void {
  if (HARMLESS.has(tag)) return;
  switch (tag) {
    case "SelectStmt":
      selectInto(rewriter, fields);
      rewriter.visit(tag, fields, []);
      return;
    case "InsertStmt":
    case "UpdateStmt":
    case "DeleteStmt":
    case "MergeStmt":
    case "CallStmt":
    case "DeclareCursorStmt":
    case "PrepareStmt":
      rewriter.visit(tag, fields, []);
      return;
    case "ExecuteStmt":
    case "FetchStmt":
      // What runs was rewritten when it was prepared or declared; it may write, or read through a mask that can fail.
      rewriter.errorsTell = true;
      rewriter.visit(tag, fields, []);
      return;
    case "CopyStmt":
      copyStatement(rewriter, fields);
      return;
    case "ExplainStmt":
      explainStatement(rewriter, fields);
      return;
    case "CreateTableAsStmt":
      createTableAs(rewriter, fields);
      return;
    case "VariableSetStmt":
      variableSet(rewriter, fields);
      return;
    case "VariableShowStmt":
      if (text(fields["name"])?.toLowerCase().startsWith(OWN_SETTINGS))
        notSettable(rewriter, "the setting is the gateway's own");
      return;
    case "TransactionStmt":
    case "ConstraintsSetStmt":
    // Deferred constraints and triggers speak at the end of the transaction.
    case "TruncateStmt":
    case "RefreshMatViewStmt":
      rewriter.errorsTell = true;
      return;
    case "VacuumStmt":
    case "ReindexStmt":
      maintenance(rewriter, fields);
      return;
    case "CreateStmt":
      createTable(rewriter, fields);
      return;
    case "IndexStmt":
      createIndex(rewriter, fields);
      return;
    case "ViewStmt":
      definesView(rewriter, fields);
      return;
    case "AlterTableStmt":
      alterTable(rewriter, fields);
      return;
    case "RenameStmt":
    case "AlterObjectSchemaStmt":
    case "AlterOwnerStmt":
      rename(rewriter, fields);
      return;
    case "CreateSchemaStmt":
      if (list(fields["schemaElts"]).length > 0)
        rewriter.cannot("CREATE SCHEMA with objects in it cannot be masked", "create them one by one");
      return;
    case "CreateSeqStmt":
      creates(rewriter, object(fields["sequence"]));
      return;
    case "AlterSeqStmt":
      return;
    case "CompositeTypeStmt":
      creates(rewriter, object(fields["typevar"]));
      return;
    case "CreateDomainStmt":
      rewriter.children(tag, fields, []);
      return;
    default:
      rewriter.cannot(
        REFUSED[tag] ??
          `statements of this kind (${tag.replace(/Stmt$/, "")}) are not possible where columns are masked`,
        "it needs a principal to whom no column of this resource is masked",
      );
  }
}

function selectInto(rewriter: Rewriter, fields: Tree): void {
  const into = object(fields["intoClause"]);
  if (into === undefined) {
    // INTO of the first SELECT of a set operation stands there.
    const left = object(fields["larg"]);
    if (left !== undefined) selectInto(rewriter, left);
    return;
  }
  creates(rewriter, object(into["rel"]));
  rewriter.intoClause = into;
}

function createTableAs(rewriter: Rewriter, fields: Fields): void {
  creates(rewriter, object(object(fields["into"])?.["rel"]));
  const before = rewriter.replacements;
  const query = tagged(fields["query"]);
  if (query === undefined) rewriter.cannot("the query cannot be read");
  else rewriter.visit(query.tag, query.fields, []);
  if (text(fields["objtype"]) === "OBJECT_MATVIEW" && rewriter.replacements > before) {
    rewriter.cannot(
      "a materialised view would keep masks for everybody",
      "use CREATE TEMP TABLE … AS for a copy of your own",
    );
  }
}

function variableSet(rewriter: Rewriter, fields: Fields): void {
  const kind = text(fields["kind"]);
  const name = text(fields["name"]);
  if (kind === "VAR_RESET_ALL" || kind === "VAR_SET_MULTI" || name === undefined) return;
  const values = list(fields["args"]).map(
    (value) => text(object(fieldsOf(value, "A_Const")?.["sval"])?.["sval"]) ?? "?",
  );
  const problem = settingProblem(name, kind === "VAR_SET_VALUE" ? values : []);
  if (problem !== undefined) notSettable(rewriter, problem);
}

function notSettable(rewriter: Rewriter, problem: string): never {
  return rewriter.refuse(refusal("setting_not_allowed", problem));
}

function maintenance(rewriter: Rewriter, fields: Fields): void {
  rewriter.errorsTell = true;
  for (const clause of ["options", "params"]) {
    for (const option of list(fields[clause])) {
      if (text(fieldsOf(option, "DefElem")?.["defname"]) === "verbose") {
        rewriter.cannot(
          "VERBOSE tells how large relations are, which depends on masked values",
          "leave VERBOSE out",
        );
      }
    }
  }
}

function rename(rewriter: Rewriter, fields: Fields): void {
  const relation = object(fields["relation"]);
  if (relation !== undefined)
    refuseSensitive(
      rewriter,
      relation,
      "cannot be renamed, moved or given away while columns of it are masked",
    );
  const name = text(fields["newname"]);
  const kind = text(fields["renameType"]);
  if (name !== undefined && kind !== undefined && RELATIONS.has(kind)) creates(rewriter, { relname: name });
  const functions = text(fields["objectType"]) ?? kind ?? "";
  if (functions === "OBJECT_FUNCTION" || functions === "OBJECT_PROCEDURE" || functions === "OBJECT_ROUTINE") {
    rewriter.cannot("functions cannot be renamed or moved where columns are masked");
  }
}

const RELATIONS = new Set([
  "OBJECT_TABLE",
  "OBJECT_VIEW",
  "OBJECT_MATVIEW",
  "OBJECT_SEQUENCE",
  "OBJECT_FOREIGN_TABLE",
  "OBJECT_TYPE",
]);
