"""Attributes at their limits: links, sizes, times, modes, extended attributes."""

import os
import stat

from common import ended, errno, get, in_child, main, put, refuses


def appends_through_the_second_name():
    put("a", b"first,")
    os.link("a", "b")
    assert (os.stat("a").st_nlink, os.stat("b").st_nlink) == (2, 2)
    with open("b", "ab") as f:
        f.write(b"second,")
        f.flush()
        assert os.stat("a").st_size == 13
        with open("a", "ab") as g:
            g.write(b"third")
        assert os.stat("b").st_size == 18 and get("b") == b"first,second,third"
    os.unlink("a")
    assert os.stat("b").st_nlink == 1 and get("b") == b"first,second,third"


def sparse_file_of_a_tebibyte():
    fd = os.open("s", os.O_RDWR | os.O_CREAT)
    size = 1 << 40
    os.ftruncate(fd, size)
    os.pwrite(fd, b"head", 0)
    os.pwrite(fd, b"middle", size // 2 + 5)
    os.pwrite(fd, b"tail", size - 4)
    os.fsync(fd)
    s = os.fstat(fd)
    assert s.st_size == size and s.st_blocks < 4096, s
    assert os.pread(fd, 10, size - 4) == b"tail" and os.pread(fd, 6, size // 2 + 5) == b"middle"
    assert os.pread(fd, 4096, size // 4) == b"\0" * 4096
    data = os.lseek(fd, 1 << 20, os.SEEK_DATA)
    assert size // 2 - (1 << 16) < data <= size // 2 + 5, data
    assert os.lseek(fd, 0, os.SEEK_HOLE) <= 1 << 16
    os.ftruncate(fd, size // 2 + 8)
    assert os.pread(fd, 10, size // 2 + 5) == b"mid"
    os.close(fd)
    os.unlink("s")


def times_of_other_centuries():
    put("t")
    os.symlink("nowhere", "link")
    os.mkdir("dir")
    for name in ["t", "link", "dir"]:
        # ext4's inodes end in 1901 and 2446.
        for seconds in [1 - (1 << 31), -1, 0, 1, 1 << 31, (1 << 32) + 7, 15_032_385_534]:
            times = (seconds * 10**9 + 123456789, seconds * 10**9 + 987654321)
            os.utime(name, ns=times, follow_symlinks=False)
            s = os.lstat(name)
            assert (s.st_atime_ns, s.st_mtime_ns) == times, (name, seconds, s)
    # What is set after a write stays through its way home.
    with open("t", "wb", buffering=0) as f:
        f.write(b"x")
        os.utime(f.fileno(), ns=(5, 7))
        os.fsync(f.fileno())
    assert os.stat("t").st_mtime_ns == 7


def set_bits_go_with_a_write():
    def mode(change, before=0o6755):
        put("f", b"0123456789")
        os.chown("f", 1000, 1000)
        os.chmod("f", before)
        os.chmod(".", 0o777)

        def work():
            os.setgroups([])
            os.setgid(1000)
            os.setuid(1000)
            change()

        ended(in_child(work))
        return stat.S_IMODE(os.stat("f").st_mode)

    def write():
        fd = os.open("f", os.O_WRONLY)
        os.write(fd, b"x")
        os.close(fd)

    assert mode(write) == 0o755
    # Without group execution setgid is no privilege, and stays only for a member of the group.
    assert mode(write, 0o2745) == 0o2745
    assert mode(lambda: os.truncate("f", 3)) == 0o755
    assert mode(lambda: os.close(os.open("f", os.O_WRONLY | os.O_TRUNC))) == 0o755
    assert mode(lambda: os.chown("f", 1000, 1000)) == 0o755
    os.chmod("f", 0o6755)
    os.chown("f", -1, -1)
    assert stat.S_IMODE(os.stat("f").st_mode) == 0o755, "chown to nobody else"
    os.setxattr("f", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    put("f", b"another program")
    refuses(errno.ENODATA, os.getxattr, "f", "security.capability")


def chown_to_nobody_else_sets_ctime():
    os.mkfifo("p")
    before = os.stat("p").st_ctime_ns
    while os.stat("p").st_ctime_ns == before:
        os.chown("p", -1, -1)


def sticky_and_setgid_directories():
    os.mkdir("shared")
    os.chown("shared", 0, 77)
    os.chmod("shared", 0o3777)
    put("shared/roots")

    def someone():
        os.setgroups([])
        os.setgid(1000)
        os.setuid(1000)
        refuses(errno.EPERM, os.unlink, "shared/roots")
        refuses(errno.EPERM, os.rename, "shared/roots", "shared/mine")
        put("shared/own")
        os.mkdir("shared/sub")
        os.symlink("x", "shared/link")
        os.rename("shared/own", "shared/owned")

    os.chmod(".", 0o755)
    ended(in_child(someone))
    for name in ["owned", "sub", "link"]:
        assert (os.lstat(f"shared/{name}").st_uid, os.lstat(f"shared/{name}").st_gid) == (1000, 77), name
    assert stat.S_IMODE(os.stat("shared/sub").st_mode) == 0o2755


def xattrs_on_all_kinds():
    put("f")
    os.mkdir("d")
    os.symlink("f", "l")
    os.mkfifo("p")
    for name in ["f", "d", "l", "p"]:
        os.setxattr(name, "trusted.t", b"value", follow_symlinks=False)
        assert os.getxattr(name, "trusted.t", follow_symlinks=False) == b"value"
        assert os.listxattr(name, follow_symlinks=False) == ["trusted.t"], name
        refuses(errno.EEXIST, os.setxattr, name, "trusted.t", b"", os.XATTR_CREATE, follow_symlinks=False)
        os.removexattr(name, "trusted.t", follow_symlinks=False)
        refuses(errno.ENODATA, os.removexattr, name, "trusted.t", follow_symlinks=False)
    # user.* is for files and directories alone (xattr(7)).
    refuses(errno.EPERM, os.setxattr, "l", "user.u", b"v", follow_symlinks=False)
    os.setxattr("f", "user.empty", b"")
    assert os.getxattr("l", "user.empty") == b""
    os.setxattr("f", "user." + "n" * 100, b"v" * 1000)
    assert os.getxattr("f", "user." + "n" * 100) == b"v" * 1000


def symlink_of_4095_bytes():
    target = "t" * 4095
    os.symlink(target, "l")
    assert os.readlink("l") == target and os.lstat("l").st_size == 4095
    os.rename("l", "l2")
    os.link("l2", "l3", follow_symlinks=False)
    os.unlink("l2")
    assert os.readlink("l3") == target


main({f.__name__: f for f in [
    appends_through_the_second_name, sparse_file_of_a_tebibyte, times_of_other_centuries, set_bits_go_with_a_write,
    chown_to_nobody_else_sets_ctime, sticky_and_setgid_directories, xattrs_on_all_kinds, symlink_of_4095_bytes,
]})
