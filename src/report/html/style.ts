/** The page's style sheet: light and dark, narrow and wide, and A4. */

const LIGHT = `
  color-scheme: light;
  --page: #ffffff; --text: #1b2129; --quiet: #4b5563; --line: #c8cfd8; --shade: #f3f5f8; --link: #1d4f91;
  --head: #15304f; --head-text: #ffffff;
  --problem: #9b1c1c; --warning: #7a4a00; --note: #44505f; --ok: #14603a; --badge-text: #ffffff;
`;

const DARK = `
  color-scheme: dark;
  --page: #12161b; --text: #e7eaee; --quiet: #aeb8c4; --line: #3b4552; --shade: #1b2129; --link: #9cc4ff;
  --head: #1b2c42; --head-text: #f2f5f9;
  --problem: #f5a9a9; --warning: #f0c46c; --note: #b9c4d1; --ok: #8fd6ae; --badge-text: #12161b;
`;

export const STYLE = `
:root {${LIGHT}}
@media (prefers-color-scheme: dark) { :root {${DARK}} }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere; }
body > header { background: var(--head); color: var(--head-text); padding: 2rem 0; }
body > header .wide { padding: 0 1rem; }
.wide { max-width: 72rem; margin: 0 auto; }
main, nav, footer { padding: 0 1rem; }
main > section { margin: 2.5rem 0; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .25rem; }
header p { margin: 0; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 1rem; padding-bottom: .35rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p, ul { margin: .5rem 0; max-width: 52rem; }
li { margin: .25rem 0; }
a { color: var(--link); }
a:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
code { font: .875em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
.none, .quiet { color: var(--quiet); }
.skip { position: absolute; left: -100rem; }
.skip:focus { position: static; display: inline-block; padding: .5rem 1rem; }
nav { margin-top: 1rem; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; max-width: none; }
.badge { display: inline-block; padding: 0 .55em; border-radius: .25em; background: var(--note); color: var(--badge-text); font-size: .8125rem; font-weight: 600; line-height: 1.6; max-width: 100%; overflow-wrap: break-word; }
.badge.problem { background: var(--problem); }
.badge.warning { background: var(--warning); }
.badge.ok { background: var(--ok); }
.verdict { border: 1px solid var(--line); border-left: .5rem solid var(--ok); background: var(--shade); padding: .75rem 1rem; max-width: none; font-size: 1.1rem; }
.verdict.problem { border-left-color: var(--problem); }
.verdict.warning { border-left-color: var(--warning); }
.advice { color: var(--quiet); }
dl { margin: .5rem 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: .6rem 2rem; }
dt { color: var(--quiet); font-size: .8125rem; }
dd { margin: 0; }
table { width: 100%; border-collapse: collapse; margin: .75rem 0; font-size: .9375rem; }
caption { text-align: left; color: var(--quiet); font-size: .875rem; padding-bottom: .35rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); font-weight: 400; }
thead th { font-size: .8125rem; font-weight: 600; color: var(--quiet); border-bottom: 2px solid var(--line); overflow-wrap: normal; }
tbody th { min-width: 6rem; }
footer { margin: 3rem 0 2rem; color: var(--quiet); font-size: .875rem; }
@media screen and (max-width: 48rem) {
  table, tbody, tr, th, td, caption { display: block; }
  thead { position: absolute; left: -100rem; }
  tr { border: 1px solid var(--line); border-radius: .25rem; margin: .75rem 0; padding: .35rem .75rem; }
  tbody th, td { border: 0; padding: .25rem 0; display: grid; grid-template-columns: 7rem minmax(0, 1fr); gap: .75rem; }
  tbody th::before, td::before { content: attr(data-column); color: var(--quiet); font-size: .8125rem; }
}
@page { size: A4; margin: 16mm 15mm 18mm; @bottom-right { content: counter(page) " / " counter(pages); font: 9pt sans-serif; color: #4b5563; } }
@media print {
  :root {${LIGHT}}
  body { font-size: 10pt; }
  body > header { background: none; color: var(--text); padding: 0 0 6mm; border-bottom: 2pt solid var(--head); }
  main, nav, footer { padding: 0; }
  .wide { max-width: none; }
  nav, .skip { display: none; }
  .volume { break-before: page; }
  h2, h3, caption, thead { break-after: avoid; }
  tr, dl > div, li, .verdict { break-inside: avoid; }
  table { font-size: 8.5pt; }
  .badge, .verdict { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  a { color: inherit; text-decoration: none; }
}
`;
