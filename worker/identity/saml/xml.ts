/**
 * The subset of XML that a SAML message needs, read strictly. What parsers disagree about (document types,
 * entities, comments, CDATA sections, processing instructions) is refused in the text, before a parser sees it:
 * attacks on SAML live in such disagreements.
 */
import { type Attr, DOMParser, type Element, type Node } from "@xmldom/xmldom/lib/index.js";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";

export type { Element } from "@xmldom/xmldom/lib/index.js";

export type XmlProblem = "xml_too_large" | "xml_not_allowed" | "xml_malformed";

const DECLARATION =
  /^<\?xml version="1\.0"(?: encoding="(?:utf-8|UTF-8)")?(?: standalone="(?:yes|no)")? ?\?>/;
const OTHER_ENTITY = /&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});)/;
// XML 1.0 section 2.2, without what is not a character at all. A reference to one is caught after parsing.
const NOT_CHARACTERS = /[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/u;

/** A strictly read document: its root, and the very text that was parsed. */
export type Xml = { readonly root: Element; readonly text: string };

export function parseXml(given: string): Result<Xml, XmlProblem> {
  if (given.length > LIMITS.saml.document) return err("xml_too_large");
  const text = given.replace(DECLARATION, "").trim();
  if (text.includes("<!") || text.includes("<?") || OTHER_ENTITY.test(text) || NOT_CHARACTERS.test(text)) {
    return err("xml_not_allowed");
  }
  if (text.split("<", LIMITS.saml.tags + 2).length > LIMITS.saml.tags + 1) return err("xml_too_large");
  let root: Element;
  try {
    const refuse = (message: string): never => {
      throw new Error(message);
    };
    const parser = new DOMParser({ errorHandler: { warning: refuse, error: refuse, fatalError: refuse } });
    const document = parser.parseFromString(text, "text/xml");
    const element = document?.documentElement ?? null;
    if (document === undefined || element === null) return err("xml_malformed");
    if ([...nodes(document)].some((node) => node !== element)) return err("xml_malformed");
    root = element;
  } catch {
    return err("xml_malformed");
  }
  return checkTree(root) ? ok({ root, text }) : err("xml_malformed");
}

/** Elements and text only, not nested too deeply, every identifier there once. */
function checkTree(root: Element): boolean {
  const identifiers = new Set<string>();
  const open: { readonly node: Node; readonly depth: number }[] = [{ node: root, depth: 1 }];
  for (let item = open.pop(); item !== undefined; item = open.pop()) {
    const { node, depth } = item;
    if (node.nodeType === TEXT) {
      if (NOT_CHARACTERS.test(node.nodeValue ?? "")) return false;
      continue;
    }
    if (!isElement(node) || depth > LIMITS.saml.depth) return false;
    const element = node;
    // A prefix that is not declared, and none where there is no default namespace.
    if (element.namespaceURI === null || element.namespaceURI === undefined) return false;
    for (const attribute of attributesOf(element)) {
      if (NOT_CHARACTERS.test(attribute.value)) return false;
      if (attribute.name.toLowerCase().replace(/^.*:/, "") !== "id") continue;
      if (identifiers.has(attribute.value)) return false;
      identifiers.add(attribute.value);
    }
    for (const child of nodes(element)) open.push({ node: child, depth: depth + 1 });
  }
  return true;
}

const ELEMENT = 1;
const TEXT = 3;

function isElement(node: Node): node is Element {
  return node.nodeType === ELEMENT;
}

function* nodes(parent: Node): Generator<Node> {
  for (let child = parent.firstChild; child !== null; child = child.nextSibling) yield child;
}

export function attributesOf(element: Element): Attr[] {
  return Array.from({ length: element.attributes.length }, (_, at) => element.attributes.item(at)).filter(
    (attribute) => attribute !== null,
  );
}

export function childrenOf(parent: Element): Element[] {
  return [...nodes(parent)].filter(isElement);
}

/** Children of this name in this namespace. */
export function childrenNamed(parent: Element, namespace: string, name: string): Element[] {
  return childrenOf(parent).filter((child) => isNamed(child, namespace, name));
}

export function isNamed(element: Element, namespace: string, name: string): boolean {
  return element.namespaceURI === namespace && element.localName === name;
}

/** The one child of this name; undefined when there is none or more than one. */
export function onlyChild(parent: Element, namespace: string, name: string): Element | undefined {
  const [only, ...others] = childrenNamed(parent, namespace, name);
  return others.length === 0 ? only : undefined;
}

/** Every element of this local name in any namespace, the root included: attackers choose namespaces too. */
export function everywhere(root: Element, name: string): Element[] {
  const found: Element[] = [];
  const open: Element[] = [root];
  for (let element = open.pop(); element !== undefined; element = open.pop()) {
    if (element.localName === name) found.push(element);
    open.push(...childrenOf(element));
  }
  return found;
}

/** An element's text; undefined where it holds elements, so that no part of it is overlooked. */
export function textOf(element: Element | undefined): string | undefined {
  if (element === undefined || childrenOf(element).length > 0) return undefined;
  return [...nodes(element)].map((node) => node.nodeValue ?? "").join("");
}

/** An attribute without a namespace; undefined when it is not there. */
export function attributeOf(element: Element, name: string): string | undefined {
  return element.hasAttribute(name) ? (element.getAttribute(name) ?? undefined) : undefined;
}

/** Text as it stands between tags or in an attribute in double quotes. */
export function escapeXml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
