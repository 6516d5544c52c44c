"""Locks and leases beyond the plain case: who holds them, what ends them, what upgrades them."""

import fcntl
import os
import signal
import struct
import time

from common import ended, errno, in_child, main, put, refuses

OFD_GETLK, OFD_SETLK, OFD_SETLKW = 36, 37, 38
LAYOUT = "hhqqi4x"


def locking(command, kind, start=0, length=0):
    def call(fd):
        return fcntl.fcntl(fd, command, struct.pack(LAYOUT, kind, os.SEEK_SET, start, length, 0))

    return call


def open_descriptions_own_locks():
    put("f", b"0" * 100)
    a, b = os.open("f", os.O_RDWR), os.open("f", os.O_RDWR)
    locking(OFD_SETLK, fcntl.F_WRLCK, 0, 50)(a)
    refuses(errno.EAGAIN, locking(OFD_SETLK, fcntl.F_RDLCK, 49, 1), b)
    locking(OFD_SETLK, fcntl.F_WRLCK, 50, 50)(b)
    # Against record locks of processes they hold too; the owner is no process.
    kind, _, start, length, pid = struct.unpack(LAYOUT, locking(fcntl.F_GETLK, fcntl.F_WRLCK, 0, 10)(b))
    assert (kind, start, length, pid) == (fcntl.F_WRLCK, 0, 50, -1), (kind, start, length, pid)
    refuses(errno.EAGAIN, fcntl.lockf, b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
    # Closing another descriptor of the file takes nothing away; the last of its own does.
    os.close(os.open("f", os.O_RDWR))
    twin = os.dup(a)
    os.close(a)
    refuses(errno.EAGAIN, locking(OFD_SETLK, fcntl.F_WRLCK, 0, 50), b)

    def inheritor():
        os.close(b)
        locking(OFD_SETLK, fcntl.F_WRLCK, 0, 50)(twin)

    ended(in_child(inheritor))
    os.close(twin)
    locking(OFD_SETLK, fcntl.F_WRLCK, 0, 50)(b)


def flock_is_upgraded_and_downgraded():
    put("f")
    a, b = os.open("f", os.O_RDONLY), os.open("f", os.O_RDONLY)
    fcntl.flock(a, fcntl.LOCK_SH)
    fcntl.flock(b, fcntl.LOCK_SH)
    refuses(errno.EWOULDBLOCK, fcntl.flock, a, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(b, fcntl.LOCK_UN)
    fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
    refuses(errno.EWOULDBLOCK, fcntl.flock, b, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(a, fcntl.LOCK_SH)
    fcntl.flock(b, fcntl.LOCK_SH | fcntl.LOCK_NB)
    # The two kinds of lock know nothing of each other.
    writer = os.open("f", os.O_RDWR)
    fcntl.lockf(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)


def locks_end_with_their_process():
    put("f")

    def holder(end):
        def work():
            fd = os.open("f", os.O_RDWR)
            fcntl.flock(fd, fcntl.LOCK_EX)
            fcntl.lockf(fd, fcntl.LOCK_EX)
            os.write(ready, b"!")
            end()

        return work

    for end, signalled in [(lambda: None, 0), (lambda: os.kill(os.getpid(), signal.SIGKILL), signal.SIGKILL)]:
        told, ready = os.pipe()
        pid = in_child(holder(end))
        assert os.read(told, 1) == b"!"
        _, status = os.waitpid(pid, 0)
        assert status == signalled
        fd = os.open("f", os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)


def waiting_for_a_lock_ends():
    put("f", b"0" * 100)
    fd = os.open("f", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 10, 0)

    def waiter():
        mine = os.open("f", os.O_RDWR)
        fcntl.lockf(mine, fcntl.LOCK_EX, 10, 50)
        os.write(ready, b"1")
        # Each waits for what the other holds: one of them is told (fcntl(2)).
        fcntl.lockf(mine, fcntl.LOCK_EX, 10, 0)
        os.write(ready, b"2")

    told, ready = os.pipe()
    pid = in_child(waiter)
    assert os.read(told, 1) == b"1"
    time.sleep(0.1)
    while True:
        # The child may not wait yet: then this is EAGAIN and not yet EDEADLK.
        signal.setitimer(signal.ITIMER_REAL, 5)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX, 10, 50)
        except OSError as e:
            assert e.errno == errno.EDEADLK, e
            break
    signal.setitimer(signal.ITIMER_REAL, 0)
    fcntl.lockf(fd, fcntl.LOCK_UN, 10, 0)
    assert os.read(told, 1) == b"2"
    ended(pid)
    # A wait is interrupted by a signal.
    fcntl.flock(fd, fcntl.LOCK_EX)

    class Rung(Exception):
        pass

    def ring(*_):
        raise Rung

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        fcntl.flock(os.open("f", os.O_RDWR), fcntl.LOCK_EX)
        raise AssertionError("got a lock that is held")
    except Rung:
        pass


def leases_are_broken_by_opens():
    put("f", b"x")
    fd = os.open("f", os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    assert fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_WRLCK
    rung = []
    signal.signal(signal.SIGIO, lambda *_: rung.append(True))
    ended(in_child(lambda: refuses(errno.EWOULDBLOCK, os.open, "f", os.O_RDONLY | os.O_NONBLOCK)))
    deadline = time.monotonic() + 30
    while not rung and time.monotonic() < deadline:
        time.sleep(0.01)
    assert rung, "the holder was not told"
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    ended(in_child(lambda: os.close(os.open("f", os.O_RDONLY | os.O_NONBLOCK))))
    # A read lease does not go with an open for writing.
    refuses(errno.EAGAIN, fcntl.fcntl, fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)


main({f.__name__: f for f in [
    open_descriptions_own_locks, flock_is_upgraded_and_downgraded, locks_end_with_their_process,
    waiting_for_a_lock_ends, leases_are_broken_by_opens,
]})
