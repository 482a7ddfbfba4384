/**
 * The part of xmldom that is used, as it is in version 0.8. Its own types bring those of the whole DOM along,
 * and with them globals that a Worker does not have.
 */
declare module "@xmldom/xmldom/lib/index.js" {
  export type Node = {
    readonly nodeType: number;
    readonly nodeValue: string | null;
    readonly firstChild: Node | null;
    readonly nextSibling: Node | null;
    readonly parentNode: Node | null;
  };
  export type Attr = Node & { readonly name: string; readonly value: string };
  export type Element = Node & {
    readonly localName: string;
    readonly namespaceURI: string | null | undefined;
    readonly attributes: { readonly length: number; item(index: number): Attr | null };
    hasAttribute(name: string): boolean;
    getAttribute(name: string): string | null;
  };
  export type Document = Node & { readonly documentElement: Element | null };
  type Report = (message: string) => void;
  export class DOMParser {
    constructor(options: { errorHandler: { warning: Report; error: Report; fatalError: Report } });
    parseFromString(text: string, type: string): Document | undefined;
  }
}
