/** The auditor's page as a browser shows it: what it says, what it cannot do, and that it can be read. */

import { readFileSync, writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import type { Report } from "../../src/report/facts.js";
import { reportPage } from "../../src/report/html/page.js";
import {
  accessibilityProblems,
  CHROMIUM,
  openPage,
  overflowing,
  startBrowser,
  visibleText,
} from "../support/browser.js";
import { cannotRun } from "../support/programs.js";
import { CLEAR_NAME, HOSTILE_CONTEXT, HOSTILE_LABEL, makeEstate } from "../support/report-estate.js";
import { showsKey } from "../support/run-kmsfs.js";

const LOOKS = [360, 1280].flatMap((width) =>
  (["light", "dark"] as const).map((colorScheme) => ({ width, colorScheme })),
);

t.test("the page in a browser", { skip: cannotRun(CHROMIUM) }, async (t: Test) => {
  const estate = await makeEstate(t);
  const { clinic, trial, forged, kmsfs, path } = estate;
  const names = [clinic, trial.dir, forged];
  const report = await estate.report("--verify", ...names);
  const written = await kmsfs("report", "--verify", "-o", path("report.html"), ...names);
  t.equal(written.code, "Ok", written.stderr);
  const browser = await startBrowser(t);

  await t.test("says what an auditor asks for", async (t) => {
    const { page, deeds } = await openPage(browser, path("report.html"), {
      width: 1280,
      colorScheme: "light",
    });
    const text = await visibleText(page);
    const requestId = report.volumes.find(({ backing }) => backing === clinic)?.trail.lastOpened?.requestId;
    const shown = [
      ...estate.keyArns,
      requestId ?? "no request",
      "us-east-1, 123456789012",
      "eu-central-1, 123456789012",
      `team=${HOSTILE_CONTEXT}`,
      HOSTILE_LABEL,
      "in the safe",
      clinic,
      trial.dir,
      "AES-256-GCM",
      "AES-256-SIV",
      "HKDF-SHA-512",
      "MAC and key commitment verified",
      "What is protected, and what is not",
      "Lines were altered, removed, inserted or cut off",
      "The key of this volume is not in AWS KMS",
    ];
    for (const each of shown) t.ok(text.includes(each), each);
    t.match(text, /The last complete check \(verify, .*\) found \d+ problem/);
    t.match(text, /\d+ tamper events?, the latest on/);
    t.match(text, /uid 0.*\n.*kmsfs mount/);
    t.same(deeds, [], "no request, no message, no dialog");
    t.equal(await page.locator("h1").count(), 1);
    t.equal(await page.getAttribute("html", "lang"), "en");
    t.equal(await page.locator("section.volume").count(), 3);
  });

  await t.test("can be read: narrow and wide, light and dark, and by assistive programs", async (t) => {
    for (const look of LOOKS) {
      const { page, deeds } = await openPage(browser, path("report.html"), look);
      const name = `${look.width} px, ${look.colorScheme}`;
      t.same(await overflowing(page), [], `nothing overflows: ${name}`);
      t.same(await accessibilityProblems(page), [], `axe: ${name}`);
      t.same(deeds, [], name);
      await page.close();
    }
  });

  await t.test("prints on A4, a volume on pages of its own", async (t) => {
    const { page } = await openPage(browser, path("report.html"), { width: 1280, colorScheme: "dark" });
    const pdf = (await page.pdf({ preferCSSPageSize: true })).toString("latin1");
    t.match(pdf, /^%PDF-/);
    const pages = [...pdf.matchAll(/\/MediaBox\s*\[([^\]]*)\]/g)].map(([, box]) =>
      box?.trim().split(/\s+/).map(Number),
    );
    t.ok(pages.length >= 4 && pages.length < 30, `${pages.length} pages`);
    for (const [, , width = 0, height = 0] of pages.map((box) => box ?? [])) {
      t.ok(Math.abs(width - 595) < 2 && Math.abs(height - 842) < 2, `${width} x ${height}`);
    }
    await page.emulateMedia({ media: "print" });
    const background = await page.evaluate("getComputedStyle(document.body).backgroundColor");
    t.equal(background, "rgb(255, 255, 255)", "on paper it is light");
  });

  await t.test("refers to nothing outside, holds no key and no name in clear", async (t) => {
    const source = readFileSync(path("report.html"), "utf8");
    const references = [...source.matchAll(/(?:href|src|action|srcset|data)\s*=\s*"([^"]*)"/g)].map(
      ([, to]) => to ?? "",
    );
    t.ok(references.length > 0);
    t.same(
      references.filter((to) => !to.startsWith("#")),
      [],
    );
    t.notMatch(source, /url\(|@import|<script|<img|<link|<iframe/i);
    t.match(source, /Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'/);
    t.notMatch(source + JSON.stringify(report), CLEAR_NAME);
    t.notOk(showsKey(source, [readFileSync(trial.keyfile), readFileSync(path("forged.key"))]));
    t.notMatch(source, readFileSync(path("recovery"), "utf8").trim());
    t.notMatch(source, /"blob"|wrappedKey/);
  });

  await t.test("markup in whatever was read stays text", async (t) => {
    const payload = `'"></title></style><img src=x onerror=alert(1)><script>alert(2)</script>\u202e\u0000`;
    const hostile = JSON.parse(JSON.stringify(report), (_, value) =>
      typeof value === "string" ? value + payload : value,
    ) as Report;
    writeFileSync(path("hostile.html"), reportPage(hostile));
    const { page, deeds } = await openPage(browser, path("hostile.html"), {
      width: 360,
      colorScheme: "light",
    });
    t.same(deeds, []);
    t.equal(await page.locator("img, script, iframe, form").count(), 0);
    t.equal(await page.locator("section.volume").count(), 3);
    const text = await visibleText(page);
    t.match(text, "<script>alert(2)</script>\\u{202e}\\u{0}", "shown as it stands");
    t.notMatch(text, "\u202e");
    t.same(await overflowing(page), []);
  });
});
