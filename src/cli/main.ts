#!/usr/bin/env node

/** The command. Mounting is a program of its own in the bundle: a boot waits for as few files as can be (decision 0013). */

const [name] = process.argv.slice(2);
void (name === "mount" || name === "mount-helper" ? import("./mount-alone.js") : import("./all.js"));
