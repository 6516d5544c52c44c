"""Directories that are large, deep, or changing while they are read."""

import os
import time

from common import errno, get, main, put, refuses


def names_of_255_bytes_in_a_deep_tree():
    here = os.open(".", os.O_RDONLY)
    name = "ä" * 127 + "n"
    for depth in range(40):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        assert os.listdir(here) == [name]
        os.close(here)
        here = below
    fd = os.open(b"\xff" * 255, os.O_CREAT | os.O_RDWR, dir_fd=here)
    os.write(fd, b"deep")
    os.close(fd)
    assert os.listdir(here) == [os.fsdecode(b"\xff" * 255)]
    refuses(errno.ENAMETOOLONG, os.mkdir, "n" * 256, dir_fd=here)
    os.rename(b"\xff" * 255, b"\xfe" * 254, src_dir_fd=here, dst_dir_fd=here)
    fd = os.open(b"\xfe" * 254, os.O_RDONLY, dir_fd=here)
    assert os.read(fd, 9) == b"deep"


def listing_while_entries_come_and_go():
    stay = {f"stay-{n}" for n in range(400)}
    for n in range(400):
        put(f"stay-{n}")
        put(f"go-{n}")
    seen, n = [], 0
    with os.scandir(".") as entries:
        for entry in entries:
            seen.append(entry.name)
            if n < 400:
                os.unlink(f"go-{n}")
                put(f"come-{n}")
                n += 1
    # Each that was there all the time comes once; the others once or not at all.
    assert len(seen) == len(set(seen)), "twice"
    assert stay <= set(seen), stay - set(seen)
    assert set(os.listdir(".")) == stay | {f"come-{n}" for n in range(400)}


def emptied_while_it_is_read():
    for n in range(3000):
        put(f"f{n}")
    with os.scandir(".") as entries:
        for entry in entries:
            os.unlink(entry.name)
    assert os.listdir(".") == []


def a_hundred_thousand_entries():
    def fill(start, end):
        began = time.monotonic()
        for n in range(start, end):
            os.mknod(f"entry-{n}")
        return time.monotonic() - began

    first = fill(0, 10_000)
    fill(10_000, 90_000)
    last = fill(90_000, 100_000)
    # Not a bound on speed: what grows with the entries already there would be ninefold.
    assert last < 6 * first + 2, f"{first:.2f} s for the first 10,000, {last:.2f} s for the last"
    assert len(set(os.listdir("."))) == 100_000
    assert os.path.exists("entry-99999") and not os.path.exists("entry-100000")


main({f.__name__: f for f in [
    names_of_255_bytes_in_a_deep_tree, listing_while_entries_come_and_go, emptied_while_it_is_read,
    a_hundred_thousand_entries,
]})
