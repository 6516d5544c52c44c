"""What the cases share: errors that must come, and calls that Python has no name for."""

import ctypes
import errno
import os
import sys
import traceback

libc = ctypes.CDLL(None, use_errno=True)


def refuses(number, call, *args, **kwargs):
    """The call must fail with this errno."""
    try:
        call(*args, **kwargs)
    except OSError as e:
        assert e.errno == number, f"{errno.errorcode[e.errno]} where {errno.errorcode[number]} is due"
        return
    raise AssertionError(f"done where {errno.errorcode[number]} is due")


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def link_open(fd, name):
    """linkat(2) of what is open; os.link does not follow magic links."""
    here, follow = -100, 0x400
    checked(libc.linkat(here, f"/proc/self/fd/{fd}".encode(), here, name.encode(), follow))


def put(path, content=b""):
    with open(path, "wb") as f:
        f.write(content)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def in_child(work):
    """Runs work in another process; its failure is ours."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    return pid


def ended(pid):
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}"


def as_user(uid, work, gid=None, groups=()):
    """Runs work in another process, of that user, with those groups alone."""

    def run():
        gids = (uid if gid is None else gid,) * 3
        os.setgroups(list(groups))
        os.setresgid(*gids)
        os.setresuid(uid, uid, uid)
        # Its own /proc/self stays its own.
        checked(libc.prctl(4, 1, 0, 0, 0))
        work()

    ended(in_child(run))


def killed_by(pid):
    """The signal that ended a child, 0 when none did."""
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def main(cases):
    """Arguments: a directory, the name of a case. The case runs inside of the directory."""
    directory, name = sys.argv[1:]
    os.chdir(directory)
    os.umask(0o022)
    cases[name]()
