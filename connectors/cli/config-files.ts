/** The files of a configuration directory, as they are sent to the gateway. */
import { readFile, readdir, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { fromUtf8 } from "../../wire/bytes.ts";
import { LIMITS } from "../../wire/limits.ts";
import { type Result, ok } from "../../wire/result.ts";
import { type Failure, reasonOf, usage } from "./failure.ts";

const KINDS = /\.(ya?ml|cedar)$/;

/**
 * All .yaml, .yml and .cedar files under `directory` (or the one file it names), by their path relative to
 * it with `/` between the parts. Names that begin with a dot are left out, symbolic links are not followed.
 */
export async function readConfigFiles(directory: string): Promise<Result<Record<string, string>, Failure>> {
  try {
    const single = (await stat(directory)).isFile();
    const paths = single
      ? [directory]
      : (await readdir(directory, { recursive: true, withFileTypes: true }))
          .filter((entry) => entry.isFile() && KINDS.test(entry.name))
          .map((entry) => join(entry.parentPath, entry.name));
    const files: Record<string, string> = {};
    let size = 0;
    for (const path of paths.sort()) {
      const name = single ? (path.split(sep).at(-1) ?? path) : relative(directory, path).split(sep).join("/");
      if (name.split("/").some((part) => part.startsWith("."))) continue;
      const bytes = await readFile(path);
      size += bytes.length;
      if (size > LIMITS.http.apiBody)
        return usage(`the files under ${directory} are larger than ${LIMITS.http.apiBody} bytes together`);
      const text = fromUtf8(bytes);
      if (text === undefined) return usage(`${path} is not UTF-8 text`);
      files[name] = text;
    }
    if (Object.keys(files).length === 0)
      return usage(`there is no .yaml, .yml or .cedar file in ${directory}`);
    return ok(files);
  } catch (error) {
    return usage(`cannot read ${directory}: ${reasonOf(error)}`);
  }
}
