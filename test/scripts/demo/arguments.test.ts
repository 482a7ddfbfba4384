import { describe, expect, it } from "vitest";
import { parseDemoArguments } from "../../../scripts/demo/arguments.ts";

describe("the options of npm start", () => {
  it("are all optional", () => {
    expect(parseDemoArguments([])).toEqual({
      json: false,
      help: false,
      port: undefined,
      directory: undefined,
    });
  });

  it("take a port and JSON", () => {
    expect(parseDemoArguments(["--json", "--port", "8787"])).toEqual({
      json: true,
      help: false,
      port: 8787,
      directory: undefined,
    });
  });

  it.each(["0", "65536", "x", "-1", "80.5"])("refuse the port %s", (port) => {
    expect(parseDemoArguments([`--port=${port}`])).toContain("--port takes a number");
  });

  it("refuse what they do not know", () => {
    expect(parseDemoArguments(["--jsn"])).toContain("--jsn");
    expect(parseDemoArguments(["more"])).toContain("more");
  });
});
