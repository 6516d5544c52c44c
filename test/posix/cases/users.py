"""Users without the right to look: every operation by several users, groups and real ids."""

import os
import stat

from common import as_user, ended, errno, get, in_child, main, put, refuses

ME, OTHER, TEAM = 1000, 2000, 77


def owned(path, mode, uid=ME, gid=ME):
    os.chown(path, uid, gid)
    os.chmod(path, mode)


def directory(path, mode, uid=ME, gid=ME):
    os.mkdir(path)
    owned(path, mode, uid, gid)


def nothing_is_reached_without_search():
    directory("closed", 0o700)
    directory("open", 0o777)
    put("closed/f", b"secret")
    os.mkdir("closed/d")
    os.symlink("f", "closed/l")
    os.chmod("closed/f", 0o666)
    os.chmod("closed/d", 0o777)

    def other():
        put("open/mine")
        fd = os.open("open", os.O_RDONLY)
        for call, *args in [
            (os.stat, "closed/f"), (os.stat, "closed/absent"), (os.lstat, "closed/l"), (os.readlink, "closed/l"),
            (os.open, "closed/f", os.O_RDONLY), (os.open, "closed/f", os.O_PATH), (os.listdir, "closed"),
            (os.open, "closed/new", os.O_CREAT | os.O_WRONLY), (os.open, "closed", os.O_TMPFILE | os.O_WRONLY),
            (os.mkdir, "closed/new"), (os.rmdir, "closed/d"), (os.unlink, "closed/f"), (os.mkfifo, "closed/p"),
            (os.symlink, "x", "closed/s"), (os.link, "closed/f", "open/f"), (os.link, "open/mine", "closed/m"),
            (os.rename, "closed/f", "open/f"), (os.rename, "open/mine", "closed/f"), (os.chdir, "closed"),
            (os.truncate, "closed/f", 0), (os.chmod, "closed/f", 0o777), (os.utime, "closed/f"),
            (os.chown, "closed/f", OTHER, OTHER), (os.getxattr, "closed/f", "user.x"), (os.listxattr, "closed/f"),
            (os.setxattr, "closed/f", "user.x", b""), (os.stat, "open/../closed/f"), (os.stat, "closed/d/.."),
        ]:
            refuses(errno.EACCES, call, *args)
        refuses(errno.EACCES, os.stat, "../closed/f", dir_fd=fd)
        assert not os.access("closed/f", os.F_OK)

    as_user(OTHER, other)
    assert get("closed/f") == b"secret" and sorted(os.listdir("closed")) == ["d", "f", "l"]


def reading_a_directory_and_searching_it_differ():
    for name, mode in [("listed", 0o400), ("searched", 0o100), ("both", 0o500)]:
        directory(name, mode)
        put(f"{name}/f", b"x")
        owned(f"{name}/f", 0o644)

    def owner():
        assert os.listdir("listed") == ["f"]
        refuses(errno.EACCES, os.stat, "listed/f")
        refuses(errno.EACCES, os.open, "listed/f", os.O_RDONLY)
        refuses(errno.EACCES, os.chdir, "listed")
        # An entry's type is in the listing; its attributes are not.
        assert [e.is_file() for e in os.scandir("listed")] == [True]
        refuses(errno.EACCES, os.listdir, "searched")
        assert get("searched/f") == b"x" and get("both/f") == b"x"
        for call, *args in [(put, "both/g"), (os.unlink, "both/f"), (os.mkdir, "both/d"), (os.link, "both/f", "both/g"),
                            (os.rename, "both/f", "both/g")]:
            refuses(errno.EACCES, call, *args)

    as_user(ME, owner)
    # A directory opened before the right went still lists, and gives nothing more.
    fd = os.open("both", os.O_RDONLY)
    os.chmod("both", 0)

    def inheritor():
        assert os.listdir(fd) == ["f"]
        refuses(errno.EACCES, os.open, "f", os.O_RDONLY, dir_fd=fd)
        refuses(errno.EACCES, os.fchdir, fd)

    as_user(ME, inheritor)


def classes_of_a_mode_exclude_each_other():
    for name, mode in [("team", 0o640), ("not-team", 0o604), ("not-owner", 0o066), ("wr", 0o620)]:
        put(name, b"x")
        owned(name, mode, ME, TEAM)

    def reads(name):
        return lambda: get(name)

    def refused(name, flags=os.O_RDONLY):
        return lambda: refuses(errno.EACCES, os.open, name, flags)

    # The group counts as the caller's own, among a few supplementary ones, or as one of very many.
    for kind in [{"gid": TEAM}, {"groups": [5, TEAM]}, {"groups": [*range(3000, 3200), TEAM]}]:
        as_user(OTHER, reads("team"), **kind)
        as_user(OTHER, refused("team", os.O_WRONLY), **kind)
        as_user(OTHER, refused("not-team"), **kind)
        as_user(OTHER, lambda: os.close(os.open("wr", os.O_WRONLY)), **kind)
        as_user(OTHER, refused("wr", os.O_RDWR), **kind)
    as_user(OTHER, refused("team"))
    as_user(OTHER, reads("not-team"))
    as_user(ME, refused("not-owner"))
    as_user(OTHER, reads("not-owner"), groups=[])
    as_user(OTHER, refused("team"), groups=[TEAM + 1])


def access_asks_for_the_real_ids():
    put("f", b"x")
    owned("f", 0o600, OTHER, OTHER)
    put("x", b"#!/bin/sh\n")
    os.chmod("x", 0o644)

    def half():
        os.setgroups([])
        os.setresuid(ME, 0, 0)
        assert not os.access("f", os.R_OK) and os.access("f", os.R_OK, effective_ids=True)
        get("f")

    def other_half():
        os.setgroups([])
        os.setresuid(0, ME, 0)
        assert os.access("f", os.R_OK) and not os.access("f", os.R_OK, effective_ids=True)
        refuses(errno.EACCES, get, "f")

    for work in [half, other_half]:
        ended(in_child(work))
    # root reads and writes everything; it executes what somebody may execute.
    assert os.access("f", os.R_OK | os.W_OK) and not os.access("x", os.X_OK)
    refuses(errno.EACCES, os.execv, "./x", ["x"])


def descriptors_are_opened_again_by_right():
    put("f", b"secret")
    os.chmod("f", 0o600)
    fd, path = os.open("f", os.O_RDONLY), os.open("f", os.O_PATH)

    def other():
        assert os.read(fd, 9) == b"secret"
        for number in [fd, path]:
            refuses(errno.EACCES, os.open, f"/proc/self/fd/{number}", os.O_RDONLY)
        refuses(errno.EPERM, os.fchmod, fd, 0o777)
        refuses(errno.EBADF, os.read, path, 1)

    as_user(ME, other)
    os.chmod("f", 0o604)

    def later():
        assert os.read(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), 9) == b"secret"
        refuses(errno.EACCES, os.open, f"/proc/self/fd/{fd}", os.O_RDWR)

    as_user(ME, later)


def attributes_belong_to_the_owner():
    put("f", b"x")
    owned("f", 0o666)

    def other():
        refuses(errno.EPERM, os.chmod, "f", 0o777)
        refuses(errno.EPERM, os.chown, "f", OTHER, -1)
        refuses(errno.EPERM, os.chown, "f", -1, OTHER)
        # utimensat(2): who may write may set the present, the owner alone any other time.
        os.utime("f")
        refuses(errno.EPERM, os.utime, "f", (1, 1))
        refuses(errno.EPERM, os.open, "f", os.O_RDONLY | os.O_NOATIME)
        os.setxattr("f", "user.x", b"of a writer")
        refuses(errno.EPERM, os.setxattr, "f", "trusted.x", b"")
        refuses(errno.ENODATA, os.getxattr, "f", "trusted.root")
        refuses(errno.EPERM, os.setxattr, "f", "security.capability", bytes.fromhex("01000002" + "00" * 16))
        assert os.listxattr("f") == ["user.x"], os.listxattr("f")

    os.setxattr("f", "trusted.root", b"root's")
    as_user(OTHER, other)
    assert sorted(os.listxattr("f")) == ["trusted.root", "user.x"]
    os.chmod("f", 0o644)

    def reader():
        refuses(errno.EACCES, os.utime, "f")
        refuses(errno.EACCES, os.setxattr, "f", "user.x", b"")
        refuses(errno.EACCES, os.truncate, "f", 0)
        assert os.getxattr("f", "user.x") == b"of a writer"

    as_user(OTHER, reader)

    def owner():
        refuses(errno.EPERM, os.chown, "f", OTHER, -1)
        refuses(errno.EPERM, os.chown, "f", -1, TEAM + 1)
        os.chown("f", -1, TEAM)
        os.chown("f", ME, -1)
        os.close(os.open("f", os.O_RDONLY | os.O_NOATIME))
        os.utime("f", (1, 1))
        # setgid for a group one is not of: taken away without a word.
        os.chown("f", -1, ME)
        os.chmod("f", 0o2755)
        assert stat.S_IMODE(os.stat("f").st_mode) == 0o2755

    as_user(ME, owner, groups=[TEAM])
    os.chown("f", ME, TEAM)

    def no_member():
        os.chmod("f", 0o2755)
        assert stat.S_IMODE(os.stat("f").st_mode) == 0o755

    as_user(ME, no_member)


def setgid_is_not_inherited_by_who_is_no_member():
    directory("shared", 0o2777, 0, TEAM)

    def mode(name, **kind):
        as_user(ME, lambda: os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o2770)), **kind)
        s = os.stat(name)
        assert (s.st_uid, s.st_gid) == (ME, TEAM)
        return stat.S_IMODE(s.st_mode)

    os.umask(0)
    assert mode("shared/a") == 0o770
    assert mode("shared/b", groups=[TEAM]) == 0o2770


def nodes_and_links_by_right():
    directory("d", 0o777)
    put("theirs")
    owned("theirs", 0o600, OTHER)
    os.mknod("null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    assert os.stat("null").st_rdev == os.makedev(1, 3)
    os.mknod("block", 0o600 | stat.S_IFBLK, os.makedev(4000, 700000))
    assert os.stat("block").st_rdev == os.makedev(4000, 700000)

    def user():
        refuses(errno.EPERM, os.mknod, "d/c", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        refuses(errno.EPERM, os.mknod, "d/b", 0o600 | stat.S_IFBLK, os.makedev(8, 0))
        for name, kind in [("r", stat.S_IFREG), ("p", stat.S_IFIFO), ("s", stat.S_IFSOCK)]:
            os.mknod(f"d/{name}", 0o640 | kind)
            assert os.stat(f"d/{name}").st_mode == 0o640 | kind
        refuses(errno.EPERM, os.chroot, "d")

    as_user(ME, user)
    # Moving a directory to another parent rewrites its "..": that takes the right to write it.
    directory("from", 0o777)
    directory("to", 0o777)
    directory("from/roots", 0o755, 0, 0)

    def mover():
        os.rename("from/roots", "from/renamed")
        refuses(errno.EACCES, os.rename, "from/renamed", "to/renamed")

    as_user(ME, mover)


def sticky_directories_keep_each_others_files():
    directory("tmp", 0o1777, OTHER, OTHER)
    for name in ["mine", "roots"]:
        put(f"tmp/{name}")
        os.chmod(f"tmp/{name}", 0o666)
    os.mkdir("tmp/roots-d")
    os.chown("tmp/mine", ME, ME)

    def user():
        for call, *args in [(os.unlink, "tmp/roots"), (os.rmdir, "tmp/roots-d"), (os.rename, "tmp/roots", "tmp/x"),
                            (os.rename, "tmp/mine", "tmp/roots")]:
            refuses(errno.EPERM, call, *args)
        os.rename("tmp/mine", "tmp/still-mine")
        os.unlink("tmp/still-mine")

    as_user(ME, user)

    def owner_of_the_directory():
        os.unlink("tmp/roots")
        os.rmdir("tmp/roots-d")

    as_user(OTHER, owner_of_the_directory)


main({f.__name__: f for f in [
    nothing_is_reached_without_search, reading_a_directory_and_searching_it_differ,
    classes_of_a_mode_exclude_each_other, access_asks_for_the_real_ids, descriptors_are_opened_again_by_right,
    attributes_belong_to_the_owner, setgid_is_not_inherited_by_who_is_no_member, nodes_and_links_by_right,
    sticky_directories_keep_each_others_files,
]})
