"""What must fail, and how: names, paths, kinds, borders, programs that run."""

import ctypes
import os
import resource
import shutil
import stat
import subprocess
import tempfile

from common import checked, ended, errno, get, in_child, libc, main, put, refuses


def names_of_256_bytes_are_refused():
    long, longest = "n" * 256, "n" * 255
    put("f")
    os.mkdir("d")
    for call, *args in [
        (os.stat, long), (put, long), (os.mkdir, long), (os.rmdir, long), (os.unlink, long), (os.mkfifo, long),
        (os.symlink, "x", long), (os.link, "f", long), (os.rename, "f", long), (os.rename, long, "g"),
        (os.readlink, long), (os.stat, f"{long}/f"), (os.stat, f"d/../{long}"), (os.truncate, long, 0),
        (os.symlink, "t" * 4096, "l"), (os.stat, "d/" * 2048 + "f"), (os.chmod, "./" * 2100, 0o700),
    ]:
        refuses(errno.ENAMETOOLONG, call, *args)
    refuses(errno.ENOENT, os.stat, longest)
    refuses(errno.ENOENT, os.stat, "")
    put(longest, b"x")
    os.link(longest, "m" * 255)
    os.rename(longest, "o" * 255)
    assert sorted(os.listdir(".")) == ["d", "f", "m" * 255, "o" * 255]


def names_that_look_like_ours():
    names = [".kmsfs", ".t-init-x", ".t-0123456789abcdef", "lost+found", "~", "~x", ".fuse_hidden0001", "a\nb", "\x01",
             " ", "...", "-rf", "\\", "*", "ünïcödé", "con", "x" * 200 + ".tmp"]
    for name in names:
        put(name, name.encode())
    os.mkdir("d")
    for name in names:
        os.mkdir(f"d/{name}")
        put(f"d/{name}/{name}")
    assert sorted(os.listdir(".")) == sorted([*names, "d"])
    assert sorted(os.listdir("d")) == sorted(names)
    for name in names:
        assert get(name) == name.encode()
        os.unlink(name)
        shutil.rmtree(f"d/{name}")
    os.rmdir("d")


def paths_beyond_path_max():
    top, name, depth = os.open(".", os.O_RDONLY), "d" * 200, 60
    for _ in range(depth):
        os.mkdir(name)
        os.chdir(name)
    put("f", b"bottom")
    fd = os.open("f", os.O_RDWR)
    os.rename("f", "g")
    assert os.pread(fd, 9, 0) == b"bottom" and get("g") == b"bottom"
    os.fsync(fd)
    os.close(fd)
    for _ in range(depth):
        os.chdir("..")
    assert os.path.samestat(os.stat("."), os.fstat(top))
    # A whole chain moves at once, with what is open below it.
    os.rename(name, "moved")
    refuses(errno.ENAMETOOLONG, os.stat, "moved/" + f"{name}/" * (depth - 1) + "g")


def symbolic_links_end_somewhere():
    os.symlink("self", "self")
    os.symlink("b", "a")
    os.symlink("a", "b")
    for path in ["self", "a", "self/x"]:
        refuses(errno.ELOOP, os.stat, path)
        refuses(errno.ELOOP, os.open, path, os.O_RDONLY)
    put("f", b"x")
    os.symlink("f", "l")
    refuses(errno.ELOOP, os.open, "l", os.O_RDONLY | os.O_NOFOLLOW)
    # path_resolution(7): 40 links are followed.
    os.symlink("f", "link-0")
    for n in range(1, 41):
        os.symlink(f"link-{n - 1}", f"link-{n}")
    assert get("link-39") == b"x"
    refuses(errno.ELOOP, get, "link-40")
    os.symlink("absent", "dangling")
    refuses(errno.ENOENT, get, "dangling")
    refuses(errno.EEXIST, os.open, "dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    put("dangling", b"made through")
    assert get("absent") == b"made through"
    os.mkdir("dir")
    os.symlink("dir", "to-dir")
    refuses(errno.ENOTDIR, os.rmdir, "to-dir")
    refuses(errno.EISDIR, os.unlink, "dir")


def kinds_are_not_confused():
    put("f", b"x")
    os.mkdir("d")
    os.mkdir("full")
    put("full/f")
    os.mkfifo("p")
    for call, *args in [(os.stat, "f/x"), (os.mkdir, "f/x"), (os.rmdir, "f"), (os.listdir, "f"), (os.stat, "f/"),
                        (os.open, "f", os.O_RDONLY | os.O_DIRECTORY), (os.rename, "d", "f"), (os.chdir, "f"),
                        (os.rename, "f", "f/"), (os.listdir, "p")]:
        refuses(errno.ENOTDIR, call, *args)
    fd = os.open("d", os.O_RDONLY)
    for call, *args in [(os.open, "d", os.O_WRONLY), (os.open, "d", os.O_RDWR), (os.unlink, "d"), (os.read, fd, 1),
                        (os.rename, "f", "d"), (os.truncate, "d", 0), (os.open, "d", os.O_CREAT | os.O_RDONLY),
                        (os.open, "absent/", os.O_CREAT | os.O_WRONLY)]:
        refuses(errno.EISDIR, call, *args)
    refuses(errno.EBADF, os.write, fd, b"x")
    refuses(errno.EINVAL, os.ftruncate, fd, 0)
    for call, *args in [(os.rmdir, "full"), (os.rename, "d", "full")]:
        refuses(errno.ENOTEMPTY, call, *args)
    refuses(errno.EINVAL, os.rmdir, "d/.")
    refuses(errno.ENOTEMPTY, os.rmdir, "d/..")
    refuses(errno.EINVAL, os.rename, "d", "d/below")
    refuses(errno.EEXIST, os.mkdir, "f")
    refuses(errno.EEXIST, os.symlink, "x", "d")
    refuses(errno.EEXIST, os.link, "f", "d")
    refuses(errno.EPERM, os.link, "d", "d2")
    refuses(errno.EINVAL, os.truncate, "f", -1)
    refuses(errno.EINVAL, os.readlink, "f")
    refuses(errno.ESPIPE, os.lseek, os.open("p", os.O_RDONLY | os.O_NONBLOCK), 0, os.SEEK_SET)
    refuses(errno.EBADF, os.write, os.open("f", os.O_RDONLY), b"x")
    refuses(errno.EBADF, os.read, os.open("f", os.O_WRONLY), 1)
    # Renaming to another name of the same inode does nothing (rename(2)).
    os.link("f", "f2")
    os.rename("f", "f2")
    assert get("f") == b"x" and get("f2") == b"x"


def borders_of_the_file_system():
    put("f", b"x")
    os.mkdir("d")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as outside:
        put(f"{outside}/f", b"y")
        for call, *args in [(os.link, "f", f"{outside}/g"), (os.link, f"{outside}/f", "g"),
                            (os.rename, "f", f"{outside}/g"), (os.rename, f"{outside}/f", "g"),
                            (os.rename, "d", f"{outside}/d")]:
            refuses(errno.EXDEV, call, *args)
        # mv(1) and cp(1) then copy.
        subprocess.run(["mv", "f", f"{outside}/g"], check=True)
        subprocess.run(["cp", "-a", outside, "back"], check=True)
        assert get("back/g") == b"x" and get("back/f") == b"y"
        source, sink = os.open("back/f", os.O_RDONLY), os.open("sent", os.O_CREAT | os.O_WRONLY)
        assert os.sendfile(sink, source, 0, 100) == 1 and get("sent") == b"y"


def programs_that_run_are_not_written():
    shutil.copy("/bin/sleep", "sleep")
    with open("sleep", "r+b"):
        refuses(errno.ETXTBSY, subprocess.run, ["./sleep", "0"])
    running = subprocess.Popen(["./sleep", "60"])
    try:
        refuses(errno.ETXTBSY, os.open, "sleep", os.O_WRONLY)
        refuses(errno.ETXTBSY, os.truncate, "sleep", 0)
        # Replaced by another inode it may be.
        shutil.copy("/bin/sleep", "new")
        os.rename("new", "sleep")
        os.close(os.open("sleep", os.O_RDWR))
    finally:
        running.kill()
        running.wait()
    subprocess.run(["./sleep", "0"], check=True)


def sizes_beyond_the_limits():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    for size in [1 << 62, (1 << 63) - 1]:
        refuses(errno.EFBIG, os.ftruncate, fd, size)
    refuses(errno.EINVAL, os.pwrite, fd, b"x", -1)
    refuses(errno.EFBIG, os.posix_fallocate, fd, 1 << 62, 1 << 20)
    refuses(errno.EINVAL, os.posix_fallocate, fd, 0, 0)
    refuses(errno.ENXIO, os.lseek, fd, 0, os.SEEK_DATA)
    refuses(errno.ENXIO, os.lseek, fd, 1, os.SEEK_HOLE)
    refuses(errno.EINVAL, os.lseek, fd, -1, os.SEEK_SET)
    assert os.fstat(fd).st_size == 0
    assert os.pread(fd, 10, 1 << 40) == b""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        mine = os.open("limited", os.O_CREAT | os.O_RDWR)
        assert os.write(mine, b"x" * 20_000) == 10_000
        refuses(errno.EFBIG, os.write, mine, b"x")
        refuses(errno.EFBIG, os.ftruncate, mine, 10_001)
        assert os.fstat(mine).st_size == 10_000

    ended(in_child(limited))


def fallocate_in_its_common_modes():
    def fallocate(mode, offset, length):
        checked(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))

    keep, punch, zero = 1, 2, 16
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    fallocate(0, 0, 10_000)
    assert os.fstat(fd).st_size == 10_000 and os.pread(fd, 20_000, 0) == b"\0" * 10_000
    fallocate(keep, 0, 100_000)
    assert os.fstat(fd).st_size == 10_000
    os.pwrite(fd, b"x" * 30_000, 0)
    fallocate(punch | keep, 5000, 10_000)
    fallocate(zero, 25_000, 10_000)
    assert os.pread(fd, 50_000, 0) == b"x" * 5000 + b"\0" * 10_000 + b"x" * 10_000 + b"\0" * 10_000
    refuses(errno.EOPNOTSUPP, fallocate, punch, 0, 10)
    refuses(errno.EINVAL, fallocate, 0, -1, 10)
    refuses(errno.EINVAL, fallocate, 0, 0, 0)
    refuses(errno.EFBIG, fallocate, 0, (1 << 62), 1 << 62)
    reader = os.open("f", os.O_RDONLY)
    refuses(errno.EBADF, os.posix_fallocate, reader, 0, 10)


def free_space_makes_sense():
    s = os.statvfs(".")
    assert s.f_namemax == 255 and s.f_bsize >= 512 and s.f_frsize >= 512, s
    assert 0 < s.f_bavail <= s.f_bfree <= s.f_blocks and 0 < s.f_ffree <= s.f_files, s
    fd = os.open(".", os.O_RDONLY)
    assert os.fstatvfs(fd).f_blocks == s.f_blocks
    put("f")
    assert os.stat("f").st_dev == os.stat(".").st_dev
    assert stat.S_ISREG(os.stat("f").st_mode) and os.stat("f").st_blksize >= 4096


main({f.__name__: f for f in [
    names_of_256_bytes_are_refused, names_that_look_like_ours, paths_beyond_path_max, symbolic_links_end_somewhere,
    kinds_are_not_confused, borders_of_the_file_system, programs_that_run_are_not_written, sizes_beyond_the_limits,
    fallocate_in_its_common_modes, free_space_makes_sense,
]})
