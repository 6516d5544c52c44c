import t from "tap";
import { UserError } from "../../src/errors.js";
import { mountArguments } from "../../src/mount/fuse-mount.js";
import { parseMountOptions } from "../../src/mount/options.js";

t.test("without options: read-write, write-back, 64 MiB, no set-uid programs and no devices", async (t) => {
  t.same(parseMountOptions([]), {
    readOnly: false,
    allowOther: false,
    writeback: true,
    cacheBytes: 67108864,
    mlock: "try",
    debug: false,
    netdev: false,
    kernelFlags: ["nosuid", "nodev"],
  });
});

t.test("the last option of a kind counts, over several -o", async (t) => {
  const options = parseMountOptions([
    "ro,suid,cache=1M,noatime",
    "rw,cache=2g,relatime,nowriteback,mlock=require",
  ]);
  t.match(options, { readOnly: false, writeback: false, cacheBytes: 2 ** 31, mlock: "require" });
  t.same(options.kernelFlags, ["suid", "nodev", "relatime"]);
});

t.test("what is for fstab's other readers is ignored", async (t) => {
  const line = "defaults,nofail,auto,noauto,nouser,x-systemd.requires=network-online.target,,X-a,comment=b";
  t.same(parseMountOptions([line]), parseMountOptions([]));
});

for (const option of [
  "bogus",
  "cache=",
  "cache=10",
  "cache=2000G",
  "cache=-1",
  "mlock=maybe",
  "uid=0",
  "fd=7",
  "constructor",
]) {
  t.test(`refuses ${option} as a usage error that names it`, async (t) => {
    try {
      parseMountOptions(["ro", option]);
      t.fail("accepted");
    } catch (error) {
      t.ok(
        error instanceof UserError && error.code === "Usage" && error.line.includes(option),
        String(error),
      );
    }
  });
}

t.test("mount(8) is always told default_permissions, and allow_other only when asked for", async (t) => {
  t.equal(
    mountArguments(parseMountOptions(["ro,noexec"])),
    "fd=3,rootmode=40000,user_id=0,group_id=0,default_permissions,ro,nosuid,nodev,noexec,uhelper=kmsfs",
  );
  t.match(mountArguments(parseMountOptions(["allow_other"])), /,allow_other,rw,/);
});
