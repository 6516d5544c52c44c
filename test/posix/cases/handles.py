"""name_to_handle_at(2) before a remount, open_by_handle_at(2) after it. Arguments: directory, "give" or "take"."""

import ctypes
import json
import os
import sys

from common import checked, errno, libc, put, refuses

AT_FDCWD, HANDLE_BYTES = -100, 128


def handle_of(path):
    raw = ctypes.create_string_buffer(HANDLE_BYTES + 8)
    ctypes.memmove(raw, HANDLE_BYTES.to_bytes(4, sys.byteorder), 4)
    mount = ctypes.c_int()
    checked(libc.name_to_handle_at(AT_FDCWD, path.encode(), raw, ctypes.byref(mount), 0))
    return raw.raw[: 8 + int.from_bytes(raw.raw[:4], sys.byteorder)].hex()


def open_handle(root, handle, flags):
    raw = ctypes.create_string_buffer(bytes.fromhex(handle))
    return checked(libc.open_by_handle_at(root, raw, flags))


def give():
    os.makedirs("d/e")
    put("d/e/file", b"content")
    put("removed", b"gone")
    paths = [".", "d", "d/e", "d/e/file", "removed"]
    print(json.dumps({path: handle_of(path) for path in paths}))


def take():
    handles = json.load(sys.stdin)
    os.unlink("removed")
    root = os.open(".", os.O_RDONLY)
    fd = open_handle(root, handles["d/e/file"], os.O_RDWR)
    assert os.read(fd, 99) == b"content"
    assert os.fstat(fd).st_ino == os.stat("d/e/file").st_ino
    os.write(fd, b", more")
    os.close(fd)
    with open("d/e/file", "rb") as f:
        assert f.read() == b"content, more"
    directory = open_handle(root, handles["d/e"], os.O_RDONLY)
    assert os.listdir(directory) == ["file"]
    assert os.path.samestat(os.stat("..", dir_fd=directory), os.stat("d"))
    assert os.path.samestat(os.fstat(open_handle(root, handles["."], os.O_RDONLY)), os.stat("."))
    refuses(errno.ESTALE, open_handle, root, handles["removed"], os.O_RDONLY)
    # Handles that were never given out: an errno, and the mount lives on.
    for place in range(16, len(handles["d"]), 2):
        forged = handles["d"][:place] + "5a" + handles["d"][place + 2 :]
        try:
            os.close(open_handle(root, forged, os.O_RDONLY))
        except OSError as e:
            assert e.errno in (errno.ESTALE, errno.EIO), e
    assert os.listdir("d") == ["e"]


os.chdir(sys.argv[1])
{"give": give, "take": take}[sys.argv[2]]()
