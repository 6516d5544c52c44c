"""POSIX ACLs: who is let in, what goes with the mode, what is inherited. All of it as on ext4."""

import os
import shutil
import socket
import stat
import struct
import subprocess

from common import as_user, errno, get, link_open, main, put, refuses

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
OWNER, FRIEND, STRANGER = 1000, 2000, 5000
GROUP, CREW, BOARD = 1000, 3000, 3001


def setfacl(*args):
    subprocess.run(["setfacl", *args], check=True)


def getfacl(path):
    """Entries as numbers, without comments on what is effective."""
    out = subprocess.run(["getfacl", "-ncpE", path], check=True, capture_output=True, text=True).stdout
    return out.split()


def value(*entries):
    """The xattr of entries (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def can(uid, groups, path, flags):
    """Whether somebody may open path."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            os.setgroups(groups)
            os.setgid(groups[0])
            os.setuid(uid)
            os.close(os.open(path, flags))
            code = 0
        except OSError as e:
            code = e.errno
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, errno.EACCES), os.strerror(code)
    return code == 0


NONE = 0xFFFFFFFF
R, W, RW = os.O_RDONLY, os.O_WRONLY, os.O_RDWR


def named_users_and_groups_are_let_in():
    put("f", b"x")
    os.chown("f", OWNER, GROUP)
    os.chmod("f", 0o600)
    assert not can(FRIEND, [FRIEND], "f", R)
    setfacl("-m", f"u:{FRIEND}:r,g:{CREW}:rw,g:{BOARD}:r", "f")
    assert mode("f") == 0o660, oct(mode("f"))
    assert can(FRIEND, [FRIEND], "f", R) and not can(FRIEND, [FRIEND], "f", W)
    # The entry for a user counts, whatever the groups may.
    assert not can(FRIEND, [CREW], "f", W)
    assert can(STRANGER, [STRANGER, CREW], "f", RW) and can(STRANGER, [CREW], "f", RW)
    assert can(STRANGER, [BOARD], "f", R) and not can(STRANGER, [BOARD], "f", W)
    assert not can(STRANGER, [STRANGER], "f", R) and not can(STRANGER, [GROUP], "f", R)
    assert can(OWNER, [GROUP], "f", RW)
    # No two groups are added up.
    setfacl("-m", f"g:{CREW}:w", "f")
    both = [STRANGER, CREW, BOARD]
    assert can(STRANGER, both, "f", R) and can(STRANGER, both, "f", W) and not can(STRANGER, both, "f", RW)
    # The mask limits all but the owner and others.
    setfacl("-m", "m::r,o::w", "f")
    assert not can(STRANGER, [CREW], "f", W) and can(STRANGER, [STRANGER], "f", W) and can(OWNER, [GROUP], "f", RW)
    setfacl("-x", f"u:{FRIEND}", "f")
    assert not can(FRIEND, [FRIEND], "f", R)


def search_through_directories_by_acl():
    os.makedirs("d/e")
    put("d/e/f", b"x")
    for path, bits in [("d/e/f", 0o644), ("d/e", 0o755), ("d", 0o700)]:
        os.chmod(path, bits)
    assert not can(FRIEND, [FRIEND], "d/e/f", R)
    setfacl("-m", f"u:{FRIEND}:x", "d")
    assert can(FRIEND, [FRIEND], "d/e/f", R) and not can(FRIEND, [FRIEND], "d", R)
    assert not can(STRANGER, [STRANGER], "d/e/f", R)
    setfacl("-m", f"u:{FRIEND}:---", "d/e")
    assert not can(FRIEND, [FRIEND], "d/e/f", R) and not can(FRIEND, [FRIEND], "d/e", R)
    setfacl("-m", f"u:{FRIEND}:rwx", "d/e")

    def work():
        put("d/e/made")
        os.unlink("d/e/f")
        refuses(errno.EACCES, put, "d/made")

    as_user(FRIEND, work)
    assert os.stat("d/e/made").st_uid == FRIEND


def mode_and_acl_change_together():
    put("f")
    os.mkdir("d")
    os.mkfifo("p")
    os.mknod("c", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    for path in ["f", "d", "p", "c"]:
        os.chmod(path, 0o640)
        setfacl("-m", f"u:{FRIEND}:rwx", path)
        assert mode(path) == 0o670, path
        assert getfacl(path) == ["user::rw-", f"user:{FRIEND}:rwx", "group::r--", "mask::rwx", "other::---"], path
        fd = os.open(path, os.O_PATH)
        os.chmod(path, 0o604)
        assert mode(path) == 0o604 and stat.S_IMODE(os.fstat(fd).st_mode) == 0o604
        assert getfacl(path) == ["user::rw-", f"user:{FRIEND}:rwx", "group::r--", "mask::---", "other::r--"], path
        setfacl("-m", "m::rx,u::rwx", path)
        assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o754
        os.close(fd)
        os.chmod(path, 0o5771)
        assert mode(path) == 0o5771 and "mask::rwx" in getfacl(path) and "other::--x" in getfacl(path)
        # What says no more than a mode becomes one; the rest of the mode stays.
        os.setxattr(path, ACCESS, value((1, 6, NONE), (4, 4, NONE), (32, 0, NONE)))
        assert mode(path) == 0o5640 and os.listxattr(path) == [], path
        refuses(errno.ENODATA, os.getxattr, path, ACCESS)
        # An ACL that goes leaves the mask behind as the group's bits.
        setfacl("-m", f"g:{CREW}:rwx", path)
        assert os.listxattr(path) == [ACCESS]
        os.removexattr(path, ACCESS)
        assert mode(path) == 0o5670 and os.listxattr(path) == []
        setfacl("-b", path)
        assert getfacl(path) == ["user::rw-", "group::rwx", "other::---"], path


def acl_lives_with_its_inode():
    put("f", b"x")
    os.chown("f", OWNER, GROUP)
    os.link("f", "second")
    setfacl("-m", f"u:{FRIEND}:rw", "second")
    wanted = getfacl("f")
    assert f"user:{FRIEND}:rw-" in wanted and getfacl("second") == wanted
    os.rename("f", "third")
    os.unlink("second")
    assert getfacl("third") == wanted
    os.chown("third", STRANGER, CREW)
    assert getfacl("third") == wanted and mode("third") == 0o664
    with open("third", "ab") as f:
        f.write(b"more")
    os.truncate("third", 1)
    os.utime("third", (1, 2))
    os.setxattr("third", "user.a", b"v")
    assert getfacl("third") == wanted and sorted(os.listxattr("third")) == [ACCESS, "user.a"]
    fd = os.open("third", os.O_RDWR)
    os.unlink("third")
    friend, other = struct.pack("<I", FRIEND), struct.pack("<I", 7)
    os.setxattr(fd, ACCESS, os.getxattr(fd, ACCESS).replace(friend, other))
    os.fchmod(fd, 0o600)
    assert other in os.getxattr(fd, ACCESS) and stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
    os.close(fd)


def made_under_a_umask():
    """Files, directories, fifos, sockets and unnamed files: name to mode and ACL."""
    made = {}
    put("file")
    fd = os.open("exact", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o640)
    os.close(fd)
    os.mkdir("dir", 0o777)
    os.mkdir("private", 0o700)
    os.mkfifo("fifo", 0o666)
    os.mknod("node", 0o604 | stat.S_IFREG)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("socket")
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o666)
    made["unnamed"] = (stat.S_IMODE(os.fstat(fd).st_mode), os.listxattr(fd))
    link_open(fd, "linked")
    os.close(fd)
    os.symlink("file", "symlink")
    for name in ["file", "exact", "dir", "private", "fifo", "node", "socket", "linked"]:
        made[name] = (mode(name), getfacl(name))
    assert os.listxattr("symlink", follow_symlinks=False) == []
    return made


def umask_counts_without_a_default_acl():
    os.umask(0o027)
    made = {name: bits for name, (bits, _) in made_under_a_umask().items()}
    assert made == {
        "file": 0o640, "exact": 0o640, "dir": 0o750, "private": 0o700, "fifo": 0o640, "node": 0o600,
        "socket": 0o750, "unnamed": 0o640, "linked": 0o640,
    }, {k: oct(v) for k, v in made.items()}


def default_acl_counts_instead_of_the_umask():
    os.chmod(".", 0o700)
    setfacl("-m", f"d:u::rwx,d:u:{FRIEND}:rwx,d:g::r-x,d:o::r--", ".")
    assert mode(".") == 0o700
    os.umask(0o077)
    made = made_under_a_umask()

    def acl(user, mask, other):
        return [f"user::{user}", f"user:{FRIEND}:rwx", "group::r-x", f"mask::{mask}", f"other::{other}"]

    down = [f"default:{e}" for e in acl("rwx", "rwx", "r--")]
    assert made == {
        "file": (0o664, acl("rw-", "rw-", "r--")),
        "exact": (0o640, acl("rw-", "r--", "---")),
        "dir": (0o774, acl("rwx", "rwx", "r--") + down),
        "private": (0o700, acl("rwx", "---", "---") + down),
        "fifo": (0o664, acl("rw-", "rw-", "r--")),
        "node": (0o604, acl("rw-", "---", "r--")),
        # bind(2) applies the umask by itself.
        "socket": (0o700, acl("rwx", "---", "---")),
        "unnamed": (0o664, [ACCESS]),
        "linked": (0o664, acl("rw-", "rw-", "r--")),
    }, made
    os.chmod(".", 0o755)
    assert can(FRIEND, [FRIEND], "file", RW) and not can(FRIEND, [FRIEND], "exact", W)
    assert not can(STRANGER, [STRANGER], "exact", R)


def default_acls_go_down_the_tree():
    os.mkdir("top")
    os.chmod("top", 0o2770)
    os.chown("top", 0, CREW)
    setfacl("-d", "-m", f"g:{BOARD}:rx,u:{FRIEND}:rwx", "top")
    os.makedirs("top/a/b/c")
    put("top/a/b/c/f")
    down = [e for e in getfacl("top") if e.startswith("default:")]
    assert len(down) == 6 and f"default:group:{BOARD}:r-x" in down, down
    for path in ["top/a", "top/a/b", "top/a/b/c"]:
        assert [e for e in getfacl(path) if e.startswith("default:")] == down
        assert mode(path) == 0o2770 and os.stat(path).st_gid == CREW
    assert getfacl("top/a/b/c/f") == [
        "user::rw-", f"user:{FRIEND}:rwx", "group::rwx", f"group:{BOARD}:r-x", "mask::rw-", "other::---"]
    # Taken away from one directory, what is below keeps its own.
    setfacl("-k", "top/a")
    assert sorted(os.listxattr("top/a")) == [ACCESS]
    os.umask(0o022)
    put("top/a/g")
    os.mkdir("top/a/h")
    assert mode("top/a/g") == 0o644 and os.listxattr("top/a/g") == [] and os.listxattr("top/a/h") == []
    put("top/a/b/i")
    assert f"group:{BOARD}:r-x" in getfacl("top/a/b/i")
    # One that says no more than a mode sets the mode of files and leaves no ACL on them.
    setfacl("-b", "top/a")
    setfacl("-m", "d:u::rw,d:g::r,d:o::-", "top/a")
    assert os.listxattr("top/a") == [DEFAULT]
    os.umask(0)
    put("top/a/j")
    os.mkdir("top/a/k")
    assert mode("top/a/j") == 0o640 and os.listxattr("top/a/j") == []
    assert mode("top/a/k") == 0o2640 and os.listxattr("top/a/k") == [DEFAULT]
    os.rename("top/a/j", "j")
    assert mode("j") == 0o640
    # A change shows in what is made next, not in what is there.
    setfacl("-d", "-m", f"u:{STRANGER}:r", "top/a")
    put("top/a/l")
    assert f"user:{STRANGER}:r--" in getfacl("top/a/l") and os.listxattr("top/a/k") == [DEFAULT]


def setgid_goes_with_an_acl_of_no_member():
    os.chmod(".", 0o777)
    entry = value((1, 7, NONE), (2, 5, FRIEND), (4, 5, NONE), (16, 5, NONE), (32, 5, NONE))
    bare = value((1, 7, NONE), (4, 5, NONE), (32, 5, NONE))
    for make in [put, os.mkdir]:
        for acl in [entry, bare]:
            for groups, left in [([GROUP], 0o755), ([GROUP, CREW], 0o2755), ([CREW], 0o2755), (None, 0o2755)]:
                make("x")
                os.chown("x", OWNER, CREW)
                os.chmod("x", 0o2755)
                if groups is None:
                    os.setxattr("x", ACCESS, acl)
                else:
                    as_user(OWNER, lambda: os.setxattr("x", ACCESS, acl), groups[0], groups)
                assert mode("x") == left, (make, groups, oct(mode("x")))
                shutil.rmtree("x") if make is os.mkdir else os.unlink("x")
    # A default ACL has nothing to do with the mode.
    os.mkdir("d")
    os.chown("d", OWNER, CREW)
    os.chmod("d", 0o2755)
    as_user(OWNER, lambda: os.setxattr("d", DEFAULT, entry), GROUP)
    assert mode("d") == 0o2755
    # Group execution that an ACL brings makes setgid a privilege, which a write takes away.
    put("f", b"x")
    os.chown("f", 0, CREW)
    os.chmod("f", 0o2666)
    as_user(STRANGER, lambda: put_into("f"), groups=[CREW])
    assert mode("f") == 0o2666
    os.setxattr("f", ACCESS, value((1, 6, NONE), (2, 7, STRANGER), (4, 7, NONE), (16, 7, NONE), (32, 6, NONE)))
    assert mode("f") == 0o2676
    as_user(STRANGER, lambda: put_into("f"))
    assert mode("f") == 0o676 and f"user:{STRANGER}:rwx" in getfacl("f")


def put_into(path):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"y")
    os.close(fd)


def only_owners_set_and_only_what_is_valid():
    os.chmod(".", 0o777)
    put("f")
    os.mkdir("d")
    os.symlink("f", "l")
    os.chown("f", OWNER, GROUP)
    good = value((1, 6, NONE), (2, 4, FRIEND), (4, 4, NONE), (16, 4, NONE), (32, 0, NONE))
    refuses(errno.EACCES, os.setxattr, "f", DEFAULT, good)
    refuses(errno.ENODATA, os.getxattr, "f", DEFAULT)
    refuses(errno.EOPNOTSUPP, os.setxattr, "l", ACCESS, good, follow_symlinks=False)
    refuses(errno.EOPNOTSUPP, os.getxattr, "l", ACCESS, follow_symlinks=False)
    for bad in [good[:-1], good[4:], b"\1" + good[1:], value((1, 6, NONE)), value((1, 8, NONE), (4, 4, NONE), (32, 0, NONE)),
                value((1, 6, NONE), (2, 4, FRIEND), (4, 4, NONE), (32, 0, NONE))]:
        try:
            os.setxattr("f", ACCESS, bad)
            raise AssertionError("set what is none")
        except OSError as e:
            assert e.errno in (errno.EINVAL, errno.EOPNOTSUPP), e
    assert os.listxattr("f") == []

    def friend():
        refuses(errno.EPERM, os.setxattr, "f", ACCESS, good)
        refuses(errno.EPERM, os.removexattr, "f", ACCESS)
        refuses(errno.EPERM, os.setxattr, "d", DEFAULT, good)

    as_user(FRIEND, friend)
    as_user(OWNER, lambda: os.setxattr("f", ACCESS, good), GROUP)
    as_user(FRIEND, friend)
    # Looking is free.
    as_user(FRIEND, lambda: getfacl("f"))
    assert os.getxattr("f", ACCESS) == good
    # As ext4 does, nothing is said of an ACL that is not there.
    os.removexattr("d", ACCESS)
    os.removexattr("d", DEFAULT)
    os.setxattr("f", ACCESS, good, os.XATTR_CREATE)


def acl_that_does_not_fit_changes_nothing():
    def naming(*users):
        return value((1, 6, NONE), *[(2, 4, u) for u in users], (4, 4, NONE), (16, 4, NONE), (32, 0, NONE))

    put("f")
    os.mkdir("d")
    few = naming(FRIEND)
    for path, name in [("f", ACCESS), ("d", ACCESS), ("d", DEFAULT)]:
        os.setxattr(path, name, few)
        before = (mode(path), getfacl(path))
        for length in [505, 2000]:
            try:
                os.setxattr(path, name, naming(*range(10_000, 10_000 + length)))
                os.setxattr(path, name, few)
            except OSError as e:
                assert e.errno in (errno.ENOSPC, errno.E2BIG), e
            assert (mode(path), getfacl(path)) == before, path
    some = naming(*range(10_000, 10_200))
    os.setxattr("f", ACCESS, some)
    assert os.getxattr("f", ACCESS) == some


def copied_with_cp_tar_and_rsync():
    os.makedirs("from/sub")
    put("from/f", b"content")
    put("from/sub/g", b"more")
    os.mkfifo("from/p")
    os.link("from/f", "from/sub/f2")
    setfacl("-m", f"u:{FRIEND}:rw,g:{CREW}:---", "from/f", "from/p")
    setfacl("-m", f"u:{FRIEND}:rx,d:u:{FRIEND}:rwx,d:g:{BOARD}:rx", "from/sub")
    os.chmod("from/f", 0o4751)
    os.setxattr("from/f", "user.a", b"v")

    def tree(root):
        run = subprocess.run(["getfacl", "-Rnp", "."], cwd=root, check=True, capture_output=True, text=True)
        # Directories have no order.
        return sorted(run.stdout.split("\n\n"))

    wanted = tree("from")
    assert len(wanted) > 5 and "default:" in str(wanted) and f"user:{FRIEND}:rw-" in str(wanted)
    # What the place would hand down itself must not show.
    setfacl("-m", f"d:u:{STRANGER}:rwx", ".")
    subprocess.run(["cp", "-a", "from", "copied"], check=True)
    assert tree("copied") == wanted, "cp -a"
    os.mkdir("untarred")
    subprocess.run(["tar", "--acls", "--xattrs", "-C", "from", "-cf", "t.tar", "."], check=True)
    subprocess.run(["tar", "--acls", "--xattrs", "-C", "untarred", "-xpf", "t.tar"], check=True)
    assert tree("untarred") == wanted, "tar --acls"
    if shutil.which("rsync"):
        subprocess.run(["rsync", "-aHAX", "from/", "synced"], check=True)
        assert tree("synced") == wanted, "rsync -A"
    assert get("untarred/sub/f2") == b"content" and os.getxattr("copied/f", "user.a") == b"v"


main({f.__name__: f for f in [
    named_users_and_groups_are_let_in, search_through_directories_by_acl, mode_and_acl_change_together,
    acl_lives_with_its_inode, umask_counts_without_a_default_acl, default_acl_counts_instead_of_the_umask,
    default_acls_go_down_the_tree, setgid_goes_with_an_acl_of_no_member, only_owners_set_and_only_what_is_valid,
    acl_that_does_not_fit_changes_nothing, copied_with_cp_tar_and_rsync,
]})
