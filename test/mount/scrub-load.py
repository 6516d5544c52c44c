"""Changes a directory at random, with all that a scrub could stumble over, until SIGTERM. Arguments: DIR SEED"""

import errno
import io
import os
import random
import signal
import sys

ORDINARY = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EINVAL, errno.ENOTDIR, errno.EISDIR, errno.EBUSY, errno.ENODATA, errno.EMLINK, errno.ENAMETOOLONG}
going = True


def stop(*_):
    global going
    going = False


def main(top, seed):
    signal.signal(signal.SIGTERM, stop)
    r = random.Random(seed)
    names = [f"n{i}" for i in range(12)] + ["x" * (150 + 7 * i) for i in range(8)]
    dirs = ["", "d1", "d2", "d1/" + "y" * 200, "d1/e"]

    def path():
        return os.path.join(top, r.choice(dirs), r.choice(names))

    def write(sync=False):
        # No fifo: nobody would read from it. No link: it may lead out.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | r.choice([0, os.O_TRUNC, os.O_APPEND])
        with os.fdopen(os.open(path(), flags, 0o644), "wb") as f:
            f.seek(r.choice([0, r.randrange(2_000_000), r.randrange(5000)]))
            f.write(os.urandom(r.choice([10, 4096, 70_000, 600_000, r.randrange(200_000)])))
            if sync:
                f.flush()
                os.fsync(f.fileno())

    def cut():
        os.truncate(path(), r.choice([0, 1, 5000, 460_000, r.randrange(2_000_000)]))

    def punch():
        fd = os.open(path(), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.posix_fallocate(fd, r.randrange(1_000_000), r.randrange(1, 300_000))
        finally:
            os.close(fd)

    def make_dirs():
        os.makedirs(os.path.join(top, r.choice(dirs[1:])), exist_ok=True)

    def tree():
        here = path() + ".tree"
        os.makedirs(os.path.join(here, "a", "b"))
        open(os.path.join(here, "a", "b", "f"), "wb").write(b"z" * 9000)
        os.rename(here, path() + ".moved")

    def drop_tree():
        import shutil
        for name in os.listdir(top):
            if name.endswith(".moved"):
                shutil.rmtree(os.path.join(top, name))

    actions = [write] * 6 + [lambda: write(True)] * 2 + [cut] * 3 + [
        punch, make_dirs, tree, drop_tree,
        lambda: os.unlink(path()), lambda: os.unlink(path()),
        lambda: os.rename(path(), path()), lambda: os.rename(path(), path()), lambda: os.rename(path(), path()),
        lambda: os.link(path(), path()),
        lambda: os.symlink(r.choice(["t", "u" * 900, "v" * 3000]), path()),
        lambda: os.mkfifo(path()),
        lambda: os.chmod(path(), r.choice([0o600, 0o644, 0o4755])),
        lambda: os.chown(path(), r.randrange(3000), r.randrange(3000), follow_symlinks=False),
        lambda: os.setxattr(path(), "user." + r.choice("abc"), os.urandom(r.choice([5, 500])), follow_symlinks=False),
        lambda: os.removexattr(path(), "user." + r.choice("abc"), follow_symlinks=False),
    ]
    make_dirs()
    while going:
        try:
            r.choice(actions)()
        except io.UnsupportedOperation:
            pass  # a fifo
        except OSError as error:
            if error.errno not in ORDINARY | {errno.EPERM, errno.ENXIO, errno.EOPNOTSUPP, errno.ELOOP, errno.ESPIPE}:
                raise


main(sys.argv[1], int(sys.argv[2]))
