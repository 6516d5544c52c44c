/**
 * Writes npm-shrinkwrap.json from package-lock.json, for the package alone: who installs kmsfs gets the very versions, by
 * their hashes, that it was tested with. Not kept in the checkout, where npm would take it for the lock file.
 */
import { readFileSync, writeFileSync } from "node:fs";

const { packages, ...lock } = JSON.parse(readFileSync("package-lock.json", "utf8"));
const { devDependencies: _, ...root } = packages[""];
const needed = Object.entries(packages).filter(([path, { dev }]) => path !== "" && dev !== true);
const shrinkwrap = { ...lock, packages: { "": root, ...Object.fromEntries(needed) } };
writeFileSync("npm-shrinkwrap.json", `${JSON.stringify(shrinkwrap, null, 2)}\n`);
