/** An object of the Kubernetes API, whatever it was encoded in. Maps, so that no key means anything to JavaScript. */
export type Value = null | boolean | number | string | readonly Value[] | ValueMap;
export type ValueMap = ReadonlyMap<string, Value>;

/**
 * Why something cannot be read. `duplicate` is a field that is there twice: Go's decoders merge such objects or take
 * either, so there is no one thing that it says.
 */
export type Unreadable = "malformed" | "duplicate" | "over_limit" | "unsupported";

export function isMap(value: Value | undefined): value is ValueMap {
  return value instanceof Map;
}

export function isList(value: Value | undefined): value is readonly Value[] {
  return Array.isArray(value);
}

/** A value as JSON text (RFC 8259). Numbers are as JavaScript has them. */
export function toJson(value: Value): string {
  if (isMap(value))
    return `{${[...value].map(([key, item]) => `${JSON.stringify(key)}:${toJson(item)}`).join(",")}}`;
  return isList(value) ? `[${value.map(toJson).join(",")}]` : JSON.stringify(value);
}
