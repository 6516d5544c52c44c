"""What changes which time, and who sets it."""

import ctypes
import os
import time

from common import checked, get, libc, main, put

COARSE = 5


def later_than(moment):
    """Waits until the clock that stamps inodes has passed a time, in ns."""
    while time.clock_gettime_ns(COARSE) <= moment:
        time.sleep(0.001)


def times(path):
    s = os.lstat(path)
    return s.st_mtime_ns, s.st_ctime_ns


def every_change_sets_ctime_and_content_mtime():
    put("f", b"0123456789")
    put("over")
    os.mkdir("d")

    def write(path):
        with open(path, "ab") as f:
            f.write(b"more")
            os.fsync(f.fileno())

    def link_and_unlink(path):
        os.link(path, "second")
        os.unlink("second")

    def there_and_back(path):
        os.rename(path, "moved")
        os.rename("moved", path)

    for changes_content, change in [
        (True, write), (True, lambda p: os.truncate(p, 3)), (True, lambda p: os.truncate(p, 30)),
        (False, lambda p: os.chmod(p, 0o600)), (False, lambda p: os.chown(p, 5, 6)), (False, link_and_unlink),
        (False, there_and_back), (False, lambda p: os.setxattr(p, "user.x", b"v")),
        (False, lambda p: os.removexattr(p, "user.x")),
    ]:
        mtime, ctime = times("f")
        later_than(max(mtime, ctime))
        change("f")
        new_mtime, new_ctime = times("f")
        assert new_ctime > ctime, (change, ctime, new_ctime)
        assert (new_mtime > mtime) == changes_content, (change, mtime, new_mtime)
    before = times("f")
    later_than(max(before))
    os.stat("f")
    get("f")
    os.listxattr("f")
    assert times("f") == before, "reading changes neither"
    os.utime("f", ns=(5, 7))
    assert times("f")[0] == 7 and times("f")[1] > before[1]


def directories_change_with_their_entries():
    os.mkdir("d")
    os.mkdir("e")
    put("f")

    def changed(path, change):
        before = times(path)
        later_than(max(before))
        change()
        after = times(path)
        assert after[0] > before[0] and after[1] > before[1], (change, before, after)

    changed("d", lambda: put("d/f"))
    changed("d", lambda: os.rename("d/f", "d/g"))
    changed("d", lambda: os.rename("d/g", "e/g"))
    changed("e", lambda: os.link("f", "e/f"))
    changed("e", lambda: os.unlink("e/g"))
    changed("e", lambda: os.mkdir("e/sub"))
    changed("e", lambda: os.rmdir("e/sub"))
    changed("e", lambda: os.symlink("x", "e/l"))
    # A failed attempt and a change of what is below are none of the directory's.
    os.mkdir("d/sub")
    before = times("d")
    later_than(max(before))
    put("d/sub/f")
    try:
        os.mkdir("d/sub")
    except FileExistsError:
        pass
    assert times("d") == before


def omitted_times_stay():
    put("t")
    now, omit = (1 << 30) - 1, (1 << 30) - 2
    def utimens(atime, mtime):
        spec = (ctypes.c_long * 4)(*atime, *mtime)
        checked(libc.utimensat(-100, b"t", spec, 0))
        s = os.stat("t")
        return s.st_atime_ns, s.st_mtime_ns

    assert utimens((10, 11), (20, 21)) == (10_000_000_011, 20_000_000_021)
    assert utimens((0, omit), (30, 31)) == (10_000_000_011, 30_000_000_031)
    assert utimens((40, 41), (0, omit)) == (40_000_000_041, 30_000_000_031)
    ctime = os.stat("t").st_ctime_ns
    later_than(ctime)
    assert utimens((0, omit), (0, omit)) == (40_000_000_041, 30_000_000_031)
    assert os.stat("t").st_ctime_ns == ctime, "nothing to set, nothing changed"
    start = time.time_ns() - 10**9
    assert utimens((0, now), (0, omit))[0] > start
    assert utimens((7, 8), (0, now))[1] > start and os.stat("t").st_atime_ns == 7_000_000_008


main({f.__name__: f for f in [
    every_change_sets_ctime_and_content_mtime, directories_change_with_their_entries, omitted_times_stay,
]})
