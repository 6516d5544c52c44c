import type { ExitStatus } from "./man-pages.js";

/** The table of docs/exit-codes.md, of which a test says that it is complete. */
export function readExitStatuses(markdown: string): ExitStatus[] {
  return markdown.split("\n").flatMap((line) => {
    const cells = line.split("|").map((cell) => cell.trim().replaceAll("`", ""));
    const [, code = "", name = "", meaning = "", remedy = ""] = cells;
    if (!/^\d+$/.test(code)) return [];
    return [{ code: Number(code), name, meaning, remedy }];
  });
}
