"""Pipes, sockets, renames with flags, and listings that are wound back."""

import ctypes
import os
import socket
import stat

from common import as_user, checked, ended, errno, get, in_child, libc, main, put, refuses

NOREPLACE, EXCHANGE = 1, 2


def rename2(old, new, flags):
    checked(libc.renameat2(-100, old.encode(), -100, new.encode(), flags))


def pipes_between_processes():
    os.mkfifo("p", 0o600)
    refuses(errno.ENXIO, os.open, "p", os.O_WRONLY | os.O_NONBLOCK)

    def writer():
        fd = os.open("p", os.O_WRONLY)
        for n in range(200):
            os.write(fd, b"%04d" % n * 100)

    pid = in_child(writer)
    with open("p", "rb") as f:
        # While it is open it may be renamed and unlinked.
        os.rename("p", "q")
        os.unlink("q")
        assert f.read() == b"".join(b"%04d" % n * 100 for n in range(200))
    ended(pid)
    os.mkfifo("r", 0o600)
    as_user(1000, lambda: refuses(errno.EACCES, os.open, "r", os.O_RDONLY | os.O_NONBLOCK))


def sockets_have_names_here():
    server = socket.socket(socket.AF_UNIX)
    server.bind("s")
    server.listen()
    assert stat.S_ISSOCK(os.stat("s").st_mode)
    os.chmod("s", 0o600)
    refuses(errno.EADDRINUSE, socket.socket(socket.AF_UNIX).bind, "s")
    refuses(errno.ENXIO, os.open, "s", os.O_RDONLY)

    def client():
        with socket.socket(socket.AF_UNIX) as mine:
            mine.connect("moved")
            mine.sendall(b"hello")

    os.rename("s", "moved")
    pid = in_child(client)
    peer, _ = server.accept()
    assert peer.recv(9) == b"hello"
    ended(pid)
    as_user(1000, lambda: refuses(errno.EACCES, socket.socket(socket.AF_UNIX).connect, "moved"))
    server.close()
    refuses(errno.ECONNREFUSED, socket.socket(socket.AF_UNIX).connect, "moved")
    os.unlink("moved")


def renames_with_flags():
    put("a", b"1")
    put("b", b"2")
    os.makedirs("d/sub")
    refuses(errno.EEXIST, rename2, "a", "b", NOREPLACE)
    refuses(errno.EEXIST, rename2, "a", "a", NOREPLACE)
    rename2("a", "c", NOREPLACE)
    assert get("c") == b"1" and not os.path.exists("a")
    rename2("b", "c", EXCHANGE)
    assert (get("b"), get("c")) == (b"1", b"2")
    refuses(errno.ENOENT, rename2, "b", "absent", EXCHANGE)
    refuses(errno.EINVAL, rename2, "d", "d/sub", EXCHANGE)
    refuses(errno.EINVAL, rename2, "b", "c", NOREPLACE | EXCHANGE)
    refuses(errno.EINVAL, rename2, "b", "c", 1 << 20)
    # A file and a full directory, over directories, while both are open.
    fd = os.open("b", os.O_RDWR)
    inner = os.open("d/sub", os.O_RDONLY)
    os.mkdir("e")
    rename2("b", "e/b", 0)
    rename2("e/b", "d/sub", EXCHANGE)
    assert get("d/sub") == b"1" and os.listdir("e/b") == [] and os.listdir("d") == ["sub"]
    os.write(fd, b"9")
    put("e/b/new")
    assert get("d/sub") == b"9" and os.listdir(inner) == ["new"]
    assert os.stat("d").st_nlink == 2 and os.stat("e").st_nlink == 3
    assert os.path.samestat(os.stat("..", dir_fd=inner), os.stat("e"))
    os.link("c", "c2")
    rename2("c", "d/sub", EXCHANGE)
    assert get("c2") == b"2" and get("d/sub") == b"2" and get("c") == b"9"


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_ushort), ("kind", ctypes.c_ubyte),
                ("name", ctypes.c_char * 256)]


class Listing:
    """readdir(3), telldir(3) and seekdir(3) as programs call them."""

    def __init__(self, path):
        for name in ["opendir", "readdir"]:
            getattr(libc, name).restype = ctypes.c_void_p
        libc.telldir.restype = ctypes.c_long
        self.dir = ctypes.c_void_p(libc.opendir(path.encode()))

    def next(self):
        found = libc.readdir(self.dir)
        return ctypes.cast(found, ctypes.POINTER(Dirent)).contents.name.decode() if found else None

    def tell(self):
        return libc.telldir(self.dir)

    def seek(self, place):
        libc.seekdir(self.dir, ctypes.c_long(place))

    def rewind(self):
        libc.rewinddir(self.dir)

    def rest(self):
        names = []
        while (name := self.next()) is not None:
            names.append(name)
        return names


def listings_are_wound_back():
    os.mkdir("d")
    names = {f"{'n' * (n % 200)}-{n}" for n in range(1500)}
    for name in names:
        put(f"d/{name}")
    listing = Listing("d")
    places, order = [], []
    while True:
        place = listing.tell()
        name = listing.next()
        if name is None:
            break
        places.append(place)
        order.append(name)
    assert set(order) == names | {".", ".."} and len(order) == len(names) + 2
    assert listing.next() is None
    for n in [0, 1, 2, 700, 33, 1400, len(order) - 1]:
        listing.seek(places[n])
        assert listing.next() == order[n], n
    listing.seek(places[500])
    assert listing.rest() == order[500:]
    # Entries before a place go and come: what is behind it stays as it was.
    for name in order[3:400]:
        if name not in (".", ".."):
            os.unlink(f"d/{name}")
    for n in range(50):
        put(f"d/new-{n}")
    listing.seek(places[500])
    assert set(order[500:]) <= set(listing.rest()) <= set(order[500:]) | {f"new-{n}" for n in range(50)}
    listing.rewind()
    assert set(listing.rest()) == (set(os.listdir("d")) | {".", ".."})
    # An entry that is gone is no place to fall from.
    listing.seek(places[900])
    os.unlink(f"d/{order[900]}")
    os.unlink(f"d/{order[901]}")
    assert set(order[902:]) <= set(listing.rest())


def a_directory_is_listed_by_two_at_once():
    for n in range(600):
        put(f"f{n}")
    first, second = Listing("."), Listing(".")
    half = [first.next() for _ in range(300)]
    assert len(second.rest()) == 602
    assert len(set(half) | set(first.rest())) == 602
    # A descriptor and its duplicate share their place.
    fd = os.open(".", os.O_RDONLY)
    assert len(os.listdir(fd)) == 600
    assert len(os.listdir(os.dup(fd))) == 600


main({f.__name__: f for f in [
    pipes_between_processes, sockets_have_names_here, renames_with_flags, listings_are_wound_back,
    a_directory_is_listed_by_two_at_once,
]})
