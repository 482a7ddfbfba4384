/** What a TypeScript module imports and which globals it uses, read from its syntax tree. */
import { parseSync } from "oxc-parser";

export type Scan = {
  /** Module specifiers of imports (also type-only and dynamic ones), re-exports, `import("…")` types and `require`. */
  readonly imports: readonly string[];
  /** Dynamic imports and requires whose specifier is not a literal: nobody can say what they load. */
  readonly opaque: number;
  /** Free names of interest, such as `console`, `Date.now` or `Math.random`. */
  readonly globals: readonly string[];
};

type Node = { readonly type: string; readonly [key: string]: unknown };

/** Parses `source` as TypeScript. Throws when it is none. */
export function scanSource(source: string): Scan {
  const { program, errors } = parseSync("module.ts", source, { lang: "ts", sourceType: "module" });
  if (errors.length > 0) throw new Error(`cannot parse: ${errors[0]?.message}`);
  const imports: string[] = [];
  const globals = new Set<string>();
  const declared = new Set<string>();
  let opaque = 0;

  const specifier = (node: unknown): void => {
    if (isNode(node) && node.type === "Literal" && typeof node["value"] === "string")
      imports.push(node["value"]);
    else opaque++;
  };
  const visit = (node: Node, parent: Node | undefined, key: string): void => {
    switch (node.type) {
      case "ImportDeclaration":
      case "ExportAllDeclaration":
      case "ImportExpression":
      case "TSImportType":
        specifier(node["source"] ?? node["argument"]);
        break;
      case "ExportNamedDeclaration":
        if (isNode(node["source"])) specifier(node["source"]);
        break;
      case "TSExternalModuleReference":
        specifier(node["expression"]);
        break;
      case "CallExpression": {
        const callee = node["callee"];
        const args = node["arguments"];
        if (isNode(callee) && callee["name"] === "require" && Array.isArray(args)) specifier(args[0]);
        if (isNode(callee) && callee["name"] === "Date") globals.add("Date()");
        break;
      }
      case "NewExpression": {
        const callee = node["callee"];
        const args = node["arguments"];
        if (isNode(callee) && callee["name"] === "Date" && Array.isArray(args) && args.length === 0) {
          globals.add("new Date()");
        }
        break;
      }
      case "MemberExpression": {
        const { object, property } = node as { object?: unknown; property?: unknown };
        if (isNode(object) && object.type === "Identifier" && isNode(property)) {
          const name = property.type === "Literal" ? property["value"] : property["name"];
          globals.add(`${String(object["name"])}.${String(name)}`);
        }
        break;
      }
      case "Identifier":
        if (declares(parent, key)) declared.add(String(node["name"]));
        else if (!isPropertyName(parent, key)) globals.add(String(node["name"]));
        break;
    }
    for (const [childKey, child] of Object.entries(node)) {
      for (const item of Array.isArray(child) ? child : [child]) {
        if (isNode(item)) visit(item, node, childKey);
      }
    }
  };
  visit(program as unknown as Node, undefined, "");
  return {
    imports,
    opaque,
    globals: [...globals].filter((name) => !declared.has(name.split(".")[0] ?? name)),
  };
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

/** Whether an identifier in this place makes a name of its own (a variable, a parameter, an import). */
function declares(parent: Node | undefined, key: string): boolean {
  switch (parent?.type) {
    case "VariableDeclarator":
    case "FunctionDeclaration":
    case "ClassDeclaration":
    case "TSTypeAliasDeclaration":
      return key === "id" || key === "params";
    case "ArrowFunctionExpression":
    case "FunctionExpression":
      return key === "params" || key === "id";
    case "ImportSpecifier":
    case "ImportDefaultSpecifier":
    case "ImportNamespaceSpecifier":
      return key === "local";
    default:
      return false;
  }
}

/** `x` in `object.x`, `{ x: 1 }` and members of types and classes is a name of a property, not of a variable. */
function isPropertyName(parent: Node | undefined, key: string): boolean {
  if (parent === undefined) return false;
  if (parent.type === "MemberExpression") return key === "property" && parent["computed"] !== true;
  if (key === "key") return parent["computed"] !== true;
  return (
    parent.type === "ImportSpecifier" ||
    parent.type === "ExportSpecifier" ||
    parent.type.startsWith("TSQualified")
  );
}
