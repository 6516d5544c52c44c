"""Where ext4 does otherwise: the last table of docs/semantics.md."""

import ctypes
import fcntl
import os
import shutil
import stat
import subprocess

from common import as_user, checked, errno, get, libc, main, put, refuses

# docs/semantics.md: names of one inode.
MOST_LINKS = 100


def hard_links_up_to_the_limit():
    put("l0", b"one")
    for n in range(1, MOST_LINKS):
        os.link("l0", f"l{n}")
        assert os.stat("l0").st_nlink == n + 1
    refuses(errno.EMLINK, os.link, "l0", "too-many")
    assert not os.path.exists("too-many")
    assert {os.stat(f"l{n}").st_ino for n in range(MOST_LINKS)} == {os.stat("l0").st_ino}
    # Room again when one goes, also by a rename over it.
    os.unlink("l50")
    os.link("l0", "l50")
    put("other")
    os.rename("other", "l51")
    os.link("l0", "l51b")
    for name in os.listdir("."):
        os.unlink(name)


def xattr_names_to_160_bytes():
    put("f")
    longest = "user." + "n" * 155
    os.setxattr("f", longest, b"v")
    assert os.listxattr("f") == [longest]
    refuses(errno.ERANGE, os.setxattr, "f", longest + "n", b"v")
    refuses(errno.ENODATA, os.getxattr, "f", longest + "n")


def xattrs_beyond_our_namespaces():
    put("f")
    refuses(errno.EOPNOTSUPP, os.setxattr, "f", "system.name", b"v")
    refuses(errno.EOPNOTSUPP, os.setxattr, "f", "other.name", b"v")


def fallocate_modes_that_are_not_in_the_format():
    put("f", b"x" * 100_000)
    fd = os.open("f", os.O_RDWR)
    collapse, insert, unshare = 0x08, 0x20, 0x40
    place = ctypes.c_long(4096)
    for mode in [collapse, insert, unshare, 0x80]:
        refuses(errno.EOPNOTSUPP, lambda: checked(libc.fallocate(fd, mode, place, place)))
    assert get("f") == b"x" * 100_000


def ioctls_are_not_served():
    put("f", b"x" * 10_000)
    put("g")
    fd, other = os.open("f", os.O_RDWR), os.open("g", os.O_RDWR)
    ficlone, fiemap, getflags, setflags, getversion, trim = (
        0x40049409, 0xC020660B, 0x80086601, 0x40086602, 0x80087601, 0xC0185879)
    refuses(errno.EOPNOTSUPP, fcntl.ioctl, other, ficlone, fd)
    refuses(errno.EOPNOTSUPP, fcntl.ioctl, fd, fiemap, bytearray(64))
    for request in [getflags, setflags, getversion, trim, 0]:
        for number in [fd, os.open(".", os.O_RDONLY)]:
            refuses(errno.ENOTTY, fcntl.ioctl, number, request, bytearray(64))


def blocks_count_what_lies_underneath():
    put("empty")
    assert os.stat("empty").st_blocks == 0
    put("f", os.urandom(4 << 20))
    fd = os.open("f", os.O_RDWR)
    os.fsync(fd)
    stored, plain = os.fstat(fd).st_blocks * 512, 4 << 20
    assert plain <= stored < plain * 1.05, stored
    os.ftruncate(fd, 64 << 20)
    os.fsync(fd)
    assert os.fstat(fd).st_blocks * 512 < plain * 1.05


def a_write_beyond_the_largest_size_fails():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"start")
    # At the write itself, or when the kernel's write cache gives it to us.
    refuses(errno.EFBIG, lambda: (os.pwrite(fd, b"x", (1 << 62) + 5), os.fsync(fd)))
    os.ftruncate(fd, 5)
    os.fsync(fd)
    assert os.fstat(fd).st_size == 5 and get("f") == b"start"


def whiteouts_are_refused():
    put("f")
    refuses(errno.EINVAL, lambda: checked(libc.renameat2(-100, b"f", -100, b"g", 4)))
    assert os.listdir(".") == ["f"]
    # So this is no upper layer of an overlay.
    for name in ["lower", "up", "work", "merged"]:
        os.mkdir(name)
    layers = "lowerdir=lower,upperdir=up,workdir=work"
    refused = subprocess.run(["mount", "-t", "overlay", "none", "-o", layers, "merged"], stderr=subprocess.DEVNULL)
    if refused.returncode == 0:
        subprocess.run(["umount", "merged"], check=True)
    assert refused.returncode != 0


def nothing_is_swapped_to_here():
    put("swap", b"\0" * (1 << 20))
    os.chmod("swap", 0o600)
    subprocess.run(["mkswap", "swap"], check=True, stdout=subprocess.DEVNULL)
    refused = subprocess.run(["swapon", "swap"], stderr=subprocess.DEVNULL)
    if refused.returncode == 0:
        subprocess.run(["swapoff", "swap"], check=True)
    assert refused.returncode != 0


def reading_from_memory_leaves_atime():
    put("f", b"x" * 100_000)
    os.utime("f", ns=(5, 7))
    assert get("f") == b"x" * 100_000 and os.stat("f").st_atime_ns == 5


def set_user_id_programs_gain_nothing():
    shutil.copy("/usr/bin/id", "id")
    os.chmod("id", 0o6755)

    def user():
        assert subprocess.run(["./id", "-u"], stdout=subprocess.PIPE, check=True).stdout == b"1000\n"

    as_user(1000, user)


def devices_do_not_open():
    os.mknod("null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    refuses(errno.EACCES, os.open, "null", os.O_RDWR)


main({f.__name__: f for f in [
    hard_links_up_to_the_limit, xattr_names_to_160_bytes, xattrs_beyond_our_namespaces,
    fallocate_modes_that_are_not_in_the_format, ioctls_are_not_served, blocks_count_what_lies_underneath,
    a_write_beyond_the_largest_size_fails, whiteouts_are_refused, nothing_is_swapped_to_here,
    reading_from_memory_leaves_atime, set_user_id_programs_gain_nothing, devices_do_not_open,
]})
