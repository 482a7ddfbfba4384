/**
 * The pages refuse text as HTML altogether (`require-trusted-types-for 'script'`). The terminal player needs an
 * exception: it makes its own elements from constant templates, and the shapes of box-drawing characters as SVG.
 * This allows exactly the player's templates, and shapes made of nothing but numbers. Nothing of a recording ever
 * gets here: terminal output is drawn as text and on a canvas.
 */
import templates from "virtual:player-templates";

const ALLOWED: ReadonlySet<string> = new Set(templates);
/** Shapes without references, handlers or styles. */
const SHAPES =
  /^(?:\s*<(?:path|rect|polygon|circle|line|g)(?: [a-z-]+="[\w\s.,#()%+-]*")*\s*(?:\/>|>)|\s*<\/(?:path|rect|polygon|circle|line|g)>)*\s*$/;

type Factory = {
  createPolicy(name: string, rules: { createHTML(text: string): string }): unknown;
};

let installed = false;

/** Installs the exception, once. A browser without Trusted Types needs none. */
export function allowPlayerTemplates(): void {
  const { trustedTypes } = globalThis as { readonly trustedTypes?: Factory };
  if (installed || trustedTypes === undefined) return;
  installed = true;
  trustedTypes.createPolicy("default", {
    createHTML: (text) => {
      if (ALLOWED.has(text) || (SHAPES.test(text) && !/ on/i.test(text))) return text;
      throw new TypeError("text is not shown as HTML here");
    },
  });
}
