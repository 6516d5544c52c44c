"""Several processes on one file: locks, mappings, appends, events."""

import fcntl
import mmap
import os
import struct

from common import checked, ended, errno, get, in_child, libc, main, put, refuses


def flock_between_processes():
    put("f")
    fd = os.open("f", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)

    def other():
        mine = os.open("f", os.O_RDWR)
        refuses(errno.EWOULDBLOCK, fcntl.flock, mine, fcntl.LOCK_SH | fcntl.LOCK_NB)

    ended(in_child(other))
    fcntl.flock(fd, fcntl.LOCK_SH)

    def reader():
        fcntl.flock(os.open("f", os.O_RDWR), fcntl.LOCK_SH | fcntl.LOCK_NB)

    ended(in_child(reader))
    os.close(fd)
    fd = os.open("f", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


def record_locks_between_processes():
    put("f", b"0" * 100)
    fd = os.open("f", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 10, 20)

    def other():
        mine = os.open("f", os.O_RDWR)
        refuses(errno.EAGAIN, fcntl.lockf, mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 29)
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 30)
        # F_GETLK names the owner.
        asked = fcntl.fcntl(mine, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 20, 1, 0))
        kind, _, start, length, pid = struct.unpack("hhqqi4x", asked)
        assert (kind, start, length, pid) == (fcntl.F_WRLCK, 20, 10, os.getppid()), (kind, start, length, pid)

    ended(in_child(other))
    # POSIX: any close of the file by the process gives its locks up.
    os.close(os.open("f", os.O_RDONLY))
    ended(in_child(lambda: fcntl.lockf(os.open("f", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)))
    os.close(fd)


def mapping_between_processes():
    size = 3 * 65536 + 123
    put("f", b"\0" * size)
    fd = os.open("f", os.O_RDWR)
    view = mmap.mmap(fd, size)

    def other():
        mine = os.open("f", os.O_RDWR)
        theirs = mmap.mmap(mine, size)
        theirs[65530:65540] = b"0123456789"
        theirs[size - 1 : size] = b"!"

    ended(in_child(other))
    assert view[65530:65540] == b"0123456789" and view[size - 1 : size] == b"!"
    # read(2) sees what the mapping wrote, the mapping what write(2) wrote.
    assert os.pread(fd, 10, 65530) == b"0123456789"
    os.pwrite(fd, b"written", 100)
    assert view[100:107] == b"written"
    view[0:4] = b"last"
    view.flush()
    view[4:8] = b"kept"
    view.close()
    os.close(fd)
    assert get("f")[:8] == b"lastkept"
    # A mapping outlives the descriptor and the name.
    fd = os.open("f", os.O_RDWR)
    view = mmap.mmap(fd, size)
    os.close(fd)
    os.unlink("f")
    view[0:4] = b"gone"
    view.flush()
    assert view[0:8] == b"gonekept"
    view.close()


def mapping_of_an_appender():
    put("f", b"0" * 10000)
    fd = os.open("f", os.O_RDWR | os.O_APPEND)
    view = mmap.mmap(fd, 10000)
    view[5000:5003] = b"abc"
    view.flush()
    assert os.fstat(fd).st_size == 10000
    os.write(fd, b"end")
    view.close()
    os.close(fd)
    assert get("f") == b"0" * 5000 + b"abc" + b"0" * 4997 + b"end"


def mapped_pages_are_data():
    put("f")
    fd = os.open("f", os.O_RDWR)
    os.ftruncate(fd, 1 << 20)
    view = mmap.mmap(fd, 1 << 20)
    view[700000:700003] = b"abc"
    assert 600000 < os.lseek(fd, 0, os.SEEK_DATA) <= 700000
    view.close()
    os.close(fd)


def appends_of_many_processes():
    put("log")
    line, each, writers = b"x" * 99, 200, 6

    def append(n):
        def work():
            fd = os.open("log", os.O_WRONLY | os.O_APPEND)
            for i in range(each):
                assert os.write(fd, b"%d %d " % (n, i) + line + b"\n") > 99

        return work

    for pid in [in_child(append(n)) for n in range(writers)]:
        ended(pid)
    lines = get("log").split(b"\n")
    assert lines.pop() == b""
    seen = [tuple(map(int, text.split(b" ")[:2])) for text in lines]
    assert sorted(seen) == [(n, i) for n in range(writers) for i in range(each)]
    # Each writer's own lines are in their order.
    assert all([i for m, i in seen if m == n] == list(range(each)) for n in range(writers))


def inotify_tells():
    fd = checked(libc.inotify_init())
    checked(libc.inotify_add_watch(fd, b".", 0xFFF))
    put("new", b"1")
    os.rename("new", "newer")
    os.unlink("newer")
    events, data = [], os.read(fd, 65536)
    while data:
        _, mask, _, length = struct.unpack("iIII", data[:16])
        events.append((mask, data[16 : 16 + length].rstrip(b"\0")))
        data = data[16 + length :]
    for due in [(0x100, b"new"), (0x2, b"new"), (0x8, b"new"), (0x40, b"new"), (0x80, b"newer"), (0x200, b"newer")]:
        assert due in events, (due, events)
    os.close(fd)


main({f.__name__: f for f in [
    flock_between_processes, record_locks_between_processes, mapping_between_processes,
    mapping_of_an_appender, mapped_pages_are_data, appends_of_many_processes, inotify_tells,
]})
