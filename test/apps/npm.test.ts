/** npm as an application's user, without a network: packages from archives, bin links, lifecycle scripts. */

import { chownSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { packageRoot } from "../../src/package-root.js";
import { APPLICATION, cannotRun, run } from "../support/programs.js";
import { describeTree } from "../support/tree.js";
import { AppVolume } from "./app-volume.js";

const MODULES = join(packageRoot(), "node_modules");

interface Manifest {
  readonly version: string;
  readonly dependencies?: Record<string, string>;
}

/** A package of this project's and all that it needs; there must be one version of each. */
function closure(name: string, found = new Set<string>()): Set<string> {
  if (found.has(name)) return found;
  found.add(name);
  const manifest = JSON.parse(readFileSync(join(MODULES, name, "package.json"), "utf8")) as Manifest;
  for (const dependency of Object.keys(manifest.dependencies ?? {})) closure(dependency, found);
  return found;
}

/** A package that has a program and a script that runs when it is installed. */
const SCRIPTED = {
  "package.json": JSON.stringify({
    name: "scripted",
    version: "1.2.3",
    bin: { greet: "greet.sh" },
    scripts: { postinstall: 'echo "$npm_lifecycle_event of $npm_package_name" > installed.txt' },
  }),
  "greet.sh": '#!/bin/sh\necho "greetings from $(basename "$0")"\n',
};

/** npm in a project directory, with its cache beside the project. */
class Project {
  constructor(readonly dir: string) {}

  npm(...args: string[]): Promise<string> {
    return run(["npm", ...args, "--offline", "--no-audit", "--no-fund", "--no-update-notifier"], {
      cwd: this.dir,
      who: APPLICATION,
      env: { HOME: this.dir, npm_config_cache: `${this.dir}/.npm`, npm_config_loglevel: "error" },
    });
  }

  run(...argv: string[]): Promise<string> {
    return run(argv, { cwd: this.dir, who: APPLICATION });
  }
}

/** Makes archives of real packages and of one of our own. */
async function pack(dir: string, names: Iterable<string>): Promise<Record<string, string>> {
  const scripted = `${dir}/scripted`;
  mkdirSync(scripted);
  for (const [name, content] of Object.entries(SCRIPTED)) {
    writeFileSync(`${scripted}/${name}`, content, { mode: 0o755 });
  }
  const archives: Record<string, string> = {};
  const sources = [...names].map((name) => [name, join(MODULES, name)] as const);
  const options = ["--json", "--ignore-scripts", "--loglevel=error", "--pack-destination", dir];
  const paths = [...sources.map(([, path]) => path), scripted];
  const packed = JSON.parse(await run(["npm", "pack", ...options, ...paths], { cwd: dir })) as {
    name: string;
    filename: string;
  }[];
  for (const { name, filename } of packed) archives[name] = `file:../archives/${filename}`;
  return archives;
}

async function works(t: Test, project: Project): Promise<void> {
  t.equal(
    readFileSync(`${project.dir}/node_modules/scripted/installed.txt`, "utf8"),
    "postinstall of scripted\n",
  );
  t.equal(await project.run("node_modules/.bin/greet"), "greetings from greet\n");
  const program = 'console.log(typeof require("ajv").default, typeof require("fast-check").assert)';
  t.equal(await project.run("node", "-e", program), "function function\n");
}

t.test("install, ci, uninstall", { skip: cannotRun("npm") }, async (t) => {
  const app = await AppVolume.make(t, APPLICATION);
  const archives = `${app.plain}/archives`;
  mkdirSync(archives);
  const dependencies = await pack(archives, closure("fast-check", closure("ajv")));
  // Beside the project on the mount as well: lock files name archives by relative paths.
  cpSync(archives, `${app.dir}/archives`, { recursive: true });
  t.ok(Object.keys(dependencies).length > 6, Object.keys(dependencies).join(" "));

  const [project, mirror] = [app.dir, app.plain].map((place) => {
    const made = new Project(`${place}/project`);
    mkdirSync(made.dir);
    writeFileSync(
      `${made.dir}/package.json`,
      JSON.stringify({ name: "project", version: "1.0.0", dependencies }),
    );
    for (const path of [made.dir, `${made.dir}/package.json`])
      chownSync(path, APPLICATION.uid, APPLICATION.gid);
    return made;
  }) as [Project, Project];
  // Times are the day's; the rest must be the same.
  const modules = (of: Project): string[] =>
    describeTree(`${of.dir}/node_modules`).map((line) => line.replace(/ \d+(\.\d+)? ([0-9a-f]{64})$/, " $2"));
  const same = async (t: Test, what: string): Promise<void> => {
    t.same(modules(project), modules(mirror), what);
    t.same(readFileSync(`${project.dir}/package-lock.json`), readFileSync(`${mirror.dir}/package-lock.json`));
  };

  await Promise.all([project.npm("install"), mirror.npm("install")]);
  await same(t, "npm install");
  await works(t, project);

  await app.volume.down(t);
  await app.mount(t);
  await works(t, project);
  await project.npm("ci");
  await same(t, "npm ci, over what was there");
  await works(t, project);

  await project.npm("uninstall", "ajv");
  await project.npm("ls", "--all");
  t.notMatch(modules(project).join("\n"), /^ajv /m);
  await app.endClean(t);
});
