"""Files and directories that lose or change their names while they are open."""

import os
import stat

from common import errno, get, link_open, main, put, refuses


def life_after_unlink():
    put("f", b"a" * 5000)
    fd = os.open("f", os.O_RDWR)
    os.unlink("f")
    assert os.fstat(fd).st_nlink == 0
    os.fchmod(fd, 0o640)
    os.fchown(fd, 7, 8)
    os.utime(fd, ns=(1_000_000_001, 2_000_000_002))
    os.fsync(fd)
    s = os.fstat(fd)
    assert (stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid) == (0o640, 7, 8), s
    assert (s.st_atime_ns, s.st_mtime_ns) == (1_000_000_001, 2_000_000_002), s
    assert os.pwrite(fd, b"b" * 100_000, 4000) == 100_000
    os.fdatasync(fd)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    assert os.pread(again, 200_000, 0) == b"a" * 4000 + b"b" * 100_000
    os.ftruncate(fd, 10)
    os.setxattr(fd, "user.late", b"x")
    assert os.getxattr(again, "user.late") == b"x"
    os.close(fd)
    assert os.pread(again, 100, 0) == b"a" * 10
    # The last link is gone for good: ext4 does not take it back.
    refuses(errno.ENOENT, link_open, again, "back")
    os.close(again)


def unnamed_file_gets_a_name():
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"c" * 70_000)
    assert os.fstat(fd).st_nlink == 0
    link_open(fd, "named")
    assert os.fstat(fd).st_nlink == 1
    os.write(fd, b"d")
    os.close(fd)
    assert get("named") == b"c" * 70_000 + b"d"
    # With O_EXCL it never may.
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    refuses(errno.ENOENT, link_open, fd, "never")
    os.close(fd)
    os.unlink("named")


def renamed_while_open():
    put("a", b"1")
    put("b", b"2")
    a, b = os.open("a", os.O_RDWR), os.open("b", os.O_RDWR)
    os.rename("a", "b")
    os.pwrite(a, b"11", 0)
    os.pwrite(b, b"22", 0)
    assert (os.pread(a, 9, 0), os.pread(b, 9, 0), get("b")) == (b"11", b"22", b"11")
    assert os.fstat(b).st_nlink == 0
    os.fsync(b)
    os.close(a)
    os.close(b)
    assert get("b") == b"11"
    os.unlink("b")


def directories_move_while_open():
    os.makedirs("x/y/z")
    os.mkdir("elsewhere")
    put("x/y/z/f", b"deep")
    z = os.open("x/y/z", os.O_RDONLY)
    f = os.open("x/y/z/f", os.O_RDWR)
    os.rename("x/y", "elsewhere/y2")
    os.write(f, b"DEEP")
    os.close(f)
    put(os.path.join("/proc/self/fd", str(z), "g"), b"new")
    assert get("elsewhere/y2/z/f") == b"DEEP" and get("elsewhere/y2/z/g") == b"new"
    refuses(errno.EINVAL, os.rename, "elsewhere", "elsewhere/y2/z/inside")
    # Over an open, empty target.
    os.mkdir("empty")
    empty = os.open("empty", os.O_RDONLY)
    os.rename("elsewhere", "empty")
    assert os.listdir(empty) == [] and os.listdir("empty") == ["y2"]
    refuses(errno.ENOENT, os.mkdir, "late", dir_fd=empty)
    os.close(empty)
    os.close(z)
    refuses(errno.ENOTEMPTY, os.rename, "x", "empty")


def removed_symlink_keeps_its_target():
    for target in ["short", "t" * 4095]:
        os.symlink(target, "l")
        fd = os.open("l", os.O_PATH | os.O_NOFOLLOW)
        os.rename("l", "m")
        os.unlink("m")
        assert os.fstat(fd).st_size == len(target) and os.fstat(fd).st_nlink == 0
        assert os.readlink("", dir_fd=fd) == target
        os.close(fd)


def removed_directory_stays_usable():
    os.mkdir("gone")
    fd = os.open("gone", os.O_RDONLY)
    os.rmdir("gone")
    assert os.listdir(fd) == []
    assert os.fstat(fd).st_nlink == 0
    os.fchmod(fd, 0o711)
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o711
    refuses(errno.ENOENT, os.open, "f", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.close(fd)


main({f.__name__: f for f in [
    life_after_unlink, unnamed_file_gets_a_name, renamed_while_open, directories_move_while_open,
    removed_directory_stays_usable, removed_symlink_keeps_its_target,
]})
