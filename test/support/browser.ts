/** Debian's Chromium without a window, which may not reach anything, as a reader of pages that kmsfs wrote. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type Browser, chromium, type Page } from "playwright-core";
import type { Test } from "tap";

export const CHROMIUM = "/usr/bin/chromium";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** With a profile of its own, gone when the test ends. */
export async function startBrowser(t: Test): Promise<Browser> {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  t.teardown(() => browser.close());
  return browser;
}

export interface Look {
  readonly width: number;
  readonly colorScheme: "light" | "dark";
}

export interface Opened {
  readonly page: Page;
  /** What the page did that a document should not: requests beside its own, messages, dialogs, errors */
  readonly deeds: readonly string[];
}

export async function openPage(
  browser: Browser,
  file: string,
  { width, colorScheme }: Look,
): Promise<Opened> {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
  const page = await context.newPage();
  const deeds: string[] = [];
  const url = `file://${file}`;
  page.on("request", (request) => {
    if (request.url() !== url) deeds.push(`request ${request.url()}`);
  });
  page.on("console", (message) => deeds.push(`console ${message.text()}`));
  page.on("pageerror", (error) => deeds.push(`error ${error.message}`));
  page.on("dialog", (dialog) => {
    deeds.push(`dialog ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.goto(url, { waitUntil: "networkidle" });
  return { page, deeds };
}

/** The text that is shown, and not what is only there. */
export async function visibleText(page: Page): Promise<string> {
  return String(await page.evaluate("document.body.innerText"));
}

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** What axe finds wrong with the page's accessibility, contrast included: rule, place, what to do. */
export async function accessibilityProblems(page: Page): Promise<string[]> {
  await page.evaluate(readFileSync(AXE, "utf8"));
  const found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
  const { violations } = found as {
    violations: { id: string; nodes: { target: string[]; failureSummary: string }[] }[];
  };
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary}`),
  );
}

/** Elements that reach beyond the right edge of the window. */
export async function overflowing(page: Page): Promise<string[]> {
  const found = await page.evaluate(`(() => {
    const width = document.documentElement.clientWidth;
    const wide = document.documentElement.scrollWidth > width ? ["the page: " + document.documentElement.scrollWidth] : [];
    for (const element of document.querySelectorAll("body *")) {
      const box = element.getBoundingClientRect();
      if (box.right > width + 1) wide.push(element.tagName + " " + element.textContent.slice(0, 40) + " " + box.right);
    }
    return wide;
  })()`);
  return found as string[];
}
