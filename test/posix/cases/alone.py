"""A mount without `-o allow_other`: whoever is not root in every respect does not get in."""

import os

from common import as_user, ended, errno, get, in_child, main, put, refuses


def others_do_not_get_in():
    put("f", b"x")
    os.chmod("f", 0o666)
    fd = os.open("f", os.O_RDONLY)
    here = os.open(".", os.O_RDONLY)

    def other():
        for call, *args in [(os.stat, "."), (os.stat, "f"), (os.open, "f", os.O_RDONLY), (os.listdir, "."), (os.mkdir, "d"),
                            (os.stat, f"/proc/self/fd/{fd}"), (os.statvfs, "."), (os.access, "f", os.F_OK)]:
            if call is os.access:
                assert not os.access(*args)
            else:
                refuses(errno.EACCES, call, *args)
        # What was opened for it is its own.
        assert os.read(fd, 9) == b"x"
        refuses(errno.EACCES, os.listdir, here)

    as_user(1000, other)

    # fuse(4): all six ids must be the mounting user's.
    for change in [lambda: os.setresuid(0, 1000, 0), lambda: os.setresuid(1000, 0, 0), lambda: os.setresuid(0, 0, 1000),
                   lambda: os.setresgid(0, 77, 0), lambda: os.setresgid(77, 0, 0), lambda: os.setresgid(0, 0, 77)]:

        def half_root(change=change):
            change()
            refuses(errno.EACCES, os.stat, "f")
            refuses(errno.EACCES, os.open, "f", os.O_RDONLY)

        ended(in_child(half_root))
    # Supplementary groups are none of them.
    ended(in_child(lambda: (os.setgroups([5, 77]), get("f"))))


main({f.__name__: f for f in [others_do_not_get_in]})
