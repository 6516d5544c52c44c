/** The report as one page that needs nothing else: no script, no font, no picture, nothing from the network. */

import type { Report } from "../facts.js";
import { method, protection } from "./explanation.js";
import { constant, html, type Value } from "./markup.js";
import { moment } from "./parts.js";
import { STYLE } from "./style.js";
import { overview, result } from "./summary.js";
import { sectionId, volumeName, volumeSection } from "./volume.js";

/** What a file begins with that holds such a page. */
export const PAGE_BEGINNING = `<!DOCTYPE html>
<!-- kmsfs report -->
`;

export function reportPage(report: Report): string {
  const { volumes, host, generated, kmsfs } = report;
  return html`${constant(PAGE_BEGINNING)}<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<meta name="generator" content="kmsfs ${kmsfs}">
<title>Encryption report: ${host}, ${generated.slice(0, 10)}</title>
<style>${constant(STYLE)}</style>
</head>
<body>
<a class="skip" href="#result">Skip to the result</a>
<header><div class="wide">
<h1>Encryption report: ${host}</h1>
<p>${moment(generated)}, ${madeBy(report)}, with kmsfs ${kmsfs} on ${report.system}</p>
</div></header>
<nav class="wide" aria-label="Contents"><ul>
<li><a href="#result">Result</a></li>
${volumes.map(
  (volume) => html`<li><a href="#${sectionId(volume)}">${volumeName(volume)}</a></li>
`,
)}<li><a href="#protection">What is protected</a></li>
<li><a href="#method">How this was found</a></li>
</ul></nav>
<main class="wide">
${result(report)}
${overview(report)}
${volumes.map((volume) => volumeSection(volume, report))}
${protection()}
${method(report)}
</main>
<footer class="wide"><p>Made by kmsfs ${kmsfs}. Figures are of ${moment(generated)}; nothing on this page changes by itself.</p></footer>
</body>
</html>
`.text;
}

function madeBy({ by: { name, uid, loginUid } }: Report): Value {
  const login = loginUid === null || loginUid === uid ? "" : `, logged in as uid ${loginUid}`;
  return `by ${name ?? "a user without a name"} (uid ${uid}${login})`;
}
