import { mkdirSync, symlinkSync } from "node:fs";
import t from "tap";
import { parseMountinfo } from "../../src/mount/mountinfo.js";
import { isWithin, resolveExisting, resolveMountPoint, runDirectory } from "../../src/mount/places.js";
import { isAlive, processId } from "../../src/mount/process-id.js";
import { Scratch } from "../support/run-kmsfs.js";

t.test("mountinfo is read with its escapes, optional fields and several entries at one place", async (t) => {
  const text = [
    "42 27 0:39 / /srv/a\\040b\\134c rw,nosuid shared:7 master:2 - fuse.kmsfs /data/gr\\303\\266\\303\\237e rw,user_id=0",
    "43 42 0:40 / /srv/x rw - ext4 /dev/nvme1n1 rw",
    "",
  ].join("\n");
  t.same(parseMountinfo(text), [
    {
      device: "0:39",
      mountPoint: "/srv/a b\\c",
      fsType: "fuse.kmsfs",
      source: "/data/größe",
      superOptions: ["rw", "user_id=0"],
    },
    { device: "0:40", mountPoint: "/srv/x", fsType: "ext4", source: "/dev/nvme1n1", superOptions: ["rw"] },
  ]);
});

t.test("within means the directory itself or below, not a name that begins alike", async (t) => {
  t.ok(isWithin("/a/b", "/a/b"));
  t.ok(isWithin("/a/b/c", "/a/b"));
  t.ok(isWithin("/a", "/"));
  t.notOk(isWithin("/a/bc", "/a/b"));
  t.notOk(isWithin("/a", "/a/b"));
});

t.test("paths are resolved through links, as far as they exist", async (t) => {
  const scratch = new Scratch();
  t.teardown(() => scratch.remove());
  mkdirSync(scratch.file("real"));
  symlinkSync("real", scratch.file("link"));
  t.equal(resolveMountPoint(scratch.file("link")), scratch.file("real"));
  t.equal(resolveExisting(scratch.file("link/not/there")), scratch.file("real/not/there"));
  t.throws(() => resolveMountPoint(scratch.file("absent")), { code: "ENOENT" });
});

t.test("a run directory leaves room for its socket's name however long the mount point is", async (t) => {
  t.ok(`${runDirectory(`/${"x".repeat(4000)}`)}/control.sock`.length < 108);
});

t.test("a process is told apart from another under its number", async (t) => {
  const self = processId(process.pid);
  t.ok(self !== undefined && isAlive(self));
  t.notOk(isAlive({ pid: process.pid, started: "1" }));
  t.equal(processId(2 ** 22 + 1), undefined);
});
