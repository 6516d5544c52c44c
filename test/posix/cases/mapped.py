"""Mappings and programs: what mmap(2) and exec(2) do with files here."""

import ctypes
import mmap
import os
import shutil
import signal
import subprocess

from common import get, in_child, killed_by, main, put

PAGE = mmap.PAGESIZE


def programs_and_libraries_run_from_here():
    shutil.copy("/bin/true", "true")
    subprocess.run(["./true"], check=True)
    put("script", b"#!/bin/sh\necho run by \"$0\"\n")
    os.chmod("script", 0o755)
    assert subprocess.run(["./script"], check=True, stdout=subprocess.PIPE).stdout == b"run by ./script\n"
    # execveat(2) of a descriptor.
    pid = in_child(lambda: os.execve(os.open("true", os.O_RDONLY), ["true"], {}))
    assert os.waitpid(pid, 0)[1] == 0
    with open("/proc/self/maps") as maps:
        library = next(line.split()[-1] for line in maps if "libc.so" in line or "libc-" in line)
    shutil.copy(library, "copy.so")
    assert ctypes.CDLL("./copy.so").abs(-7) == 7
    fd = os.open("true", os.O_RDONLY)
    view = mmap.mmap(fd, PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
    assert view[:4] == b"\x7fELF"


def private_mappings_keep_their_writes():
    put("f", b"a" * (3 * PAGE))
    fd = os.open("f", os.O_RDONLY)
    view = mmap.mmap(fd, 3 * PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    view[0:4] = b"mine"
    assert get("f")[:4] == b"aaaa"
    with open("f", "r+b") as f:
        f.seek(2 * PAGE)
        f.write(b"theirs")
        f.seek(0)
        f.write(b"THEIRS")
    # A page written here is a copy; the others are the file's.
    assert view[0:6] == b"mineaa" and view[2 * PAGE : 2 * PAGE + 6] == b"theirs"
    os.unlink("f")
    assert view[PAGE : PAGE + 2] == b"aa"


def mappings_grow_with_their_file():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, PAGE)
    view = mmap.mmap(fd, PAGE)
    view[:4] = b"head"
    # ftruncate(2) and mremap(2).
    view.resize(64 * PAGE)
    view[63 * PAGE : 63 * PAGE + 4] = b"tail"
    assert os.pread(fd, 4, 63 * PAGE) == b"tail" and view[:4] == b"head"
    assert view[PAGE : 63 * PAGE] == b"\0" * (62 * PAGE)
    view.resize(2 * PAGE)
    assert os.fstat(fd).st_size == 2 * PAGE
    view.flush()
    view.close()
    os.close(fd)
    assert get("f") == b"head" + b"\0" * (2 * PAGE - 4)


def truncation_under_a_mapping_is_a_bus_error():
    put("f", b"x" * (4 * PAGE))
    fd = os.open("f", os.O_RDWR)
    view = mmap.mmap(fd, 4 * PAGE)
    assert view[3 * PAGE] == ord("x")
    os.ftruncate(fd, PAGE + 100)
    assert view[0] == ord("x") and view[PAGE + 99] == ord("x")
    assert view[PAGE + 100 : 2 * PAGE] == b"\0" * (PAGE - 100), "behind the end the last page is zeros"
    assert killed_by(in_child(lambda: view[3 * PAGE])) == signal.SIGBUS
    # What a mapping writes behind the end never becomes the file's.
    view[PAGE + 200] = ord("!")
    view.flush(0, 2 * PAGE)
    os.ftruncate(fd, 4 * PAGE)
    assert get("f") == b"x" * (PAGE + 100) + b"\0" * (3 * PAGE - 100)
    assert view[3 * PAGE] == 0, "there again"
    view.close()
    assert killed_by(in_child(beyond_the_end)) == signal.SIGBUS


def beyond_the_end():
    fd = os.open("empty", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, PAGE)
    view = mmap.mmap(fd, PAGE)
    os.ftruncate(fd, 0)
    view[0] = 1


def seeks_find_what_is_not_written_yet():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 10 << 20)
    os.pwrite(fd, b"data", (5 << 20) + 3)
    found = os.lseek(fd, 0, os.SEEK_DATA)
    assert (5 << 20) - (1 << 16) < found <= (5 << 20) + 3, found
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
    view = mmap.mmap(fd, 10 << 20)
    view[8 << 20] = 1
    hole = os.lseek(fd, 5 << 20, os.SEEK_HOLE)
    assert (5 << 20) + 7 <= hole <= (5 << 20) + (1 << 16), hole
    found = os.lseek(fd, hole, os.SEEK_DATA)
    assert (8 << 20) - (1 << 16) < found <= 8 << 20, found
    # And so do programs that copy by extents.
    subprocess.run(["cp", "--sparse=always", "f", "copy"], check=True)
    assert get("copy") == get("f")


main({f.__name__: f for f in [
    programs_and_libraries_run_from_here, private_mappings_keep_their_writes, mappings_grow_with_their_file,
    truncation_under_a_mapping_is_a_bus_error, seeks_find_what_is_not_written_yet,
]})
