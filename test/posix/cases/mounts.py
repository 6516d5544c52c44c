"""What mounts, loop devices and programs of the system do with files here. Run on an ordinary mount and on ext4."""

import os
import subprocess

from common import errno, get, main, put, refuses


def run(*command, status=0):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == status, f"{' '.join(command)}: {done.returncode}: {done.stdout}"
    return done.stdout


class Mounted:
    """A mount that is gone at the end, whatever happens."""

    def __init__(self, *arguments, at):
        self.at = at
        os.makedirs(at, exist_ok=True)
        run("mount", *arguments, at)

    def __enter__(self):
        return self.at

    def __exit__(self, *_):
        # What is undone already, or is busy no more.
        subprocess.run(["umount", "-l", self.at], stderr=subprocess.DEVNULL)


def an_overlay_has_its_lower_layer_here():
    os.makedirs("lower/dir/below")
    put("lower/file", b"of the lower layer")
    put("lower/dir/gone", b"x")
    os.setxattr("lower/file", "user.kept", b"yes")
    os.symlink("file", "lower/link")
    os.chown("lower/dir", 7, 8)
    with Mounted("-t", "tmpfs", "none", at="upper"):
        os.mkdir("upper/up")
        os.mkdir("upper/work")
        layers = f"lowerdir={os.getcwd()}/lower,upperdir=upper/up,workdir=upper/work"
        with Mounted("-t", "overlay", "none", "-o", layers, at="merged"):
            assert get("merged/link") == b"of the lower layer"
            with open("merged/file", "ab") as f:
                f.write(b", and more")
            os.unlink("merged/dir/gone")
            os.rename("merged/link", "merged/dir/below/link")
            assert get("merged/file") == b"of the lower layer, and more"
            assert os.getxattr("merged/file", "user.kept") == b"yes"
            assert sorted(os.listdir("merged/dir")) == ["below"]
            assert (os.stat("merged/dir").st_uid, os.stat("merged/dir").st_gid) == (7, 8)
            assert sorted(os.listdir("merged")) == ["dir", "file"]
    assert get("lower/file") == b"of the lower layer" and os.path.exists("lower/dir/gone")


def a_loop_device_has_its_image_here():
    with open("image", "wb") as f:
        f.truncate(48 << 20)
    run("mkfs.ext4", "-q", "-F", "image")
    for n in range(2):
        with Mounted("-o", "loop", "image", at="inside"):
            if n == 0:
                put("inside/f", b"ext4 in a file" * 100_000)
                os.mkdir("inside/d")
                os.setxattr("inside/d", "user.x", b"y")
            assert get("inside/f") == b"ext4 in a file" * 100_000
            assert os.getxattr("inside/d", "user.x") == b"y"
            run("umount", "-d", "inside")
    run("e2fsck", "-f", "-n", "image")


def directories_are_bound_elsewhere():
    os.makedirs("tree/sub")
    put("tree/sub/f", b"x")
    put("file", b"1")
    put("target")
    with Mounted("--bind", "tree", at="bound"):
        assert get("bound/sub/f") == b"x"
        put("bound/sub/g", b"through the binding")
        assert get("tree/sub/g") == b"through the binding"
        refuses(errno.EBUSY, os.rmdir, "bound")
        # One file system, two mounts: neither link nor rename goes from one to the other.
        refuses(errno.EXDEV, os.link, "tree/sub/f", "bound/f2")
        refuses(errno.EXDEV, os.rename, "bound/sub/f", "tree/f2")
        run("mount", "-o", "remount,bind,ro", "bound")
        refuses(errno.EROFS, put, "bound/new")
        put("tree/new", b"")
        here = os.getcwd()
        os.chdir("bound/sub")
        assert "busy" in run("umount", f"{here}/bound", status=32)
        os.chdir(here)
        run("umount", "bound")
    run("mount", "--bind", "file", "target")
    try:
        assert get("target") == b"1"
        refuses(errno.EBUSY, os.unlink, "target")
    finally:
        run("umount", "target")


def mounts_propagate_as_they_are_told():
    os.makedirs("shared/point")
    os.makedirs("slave")
    with Mounted("--bind", "shared", at="shared"):
        run("mount", "--make-shared", "shared")
        with Mounted("--rbind", "shared", at="slave"):
            run("mount", "--make-rslave", "slave")
            run("mount", "-t", "tmpfs", "none", "shared/point")
            put("shared/point/f", b"seen")
            assert get("slave/point/f") == b"seen"
            run("umount", "shared/point")
            assert os.listdir("slave/point") == []
        # Another mount namespace has a tree of its own.
        script = "mount --bind shared/point slave && touch slave/inner && umount slave && touch slave/outer"
        run("unshare", "-m", "--propagation", "private", "sh", "-c", script)
        assert os.listdir("shared/point") == ["inner"] and os.listdir("slave") == ["outer"]
        run("umount", "shared")


main({f.__name__: f for f in [
    an_overlay_has_its_lower_layer_here, a_loop_device_has_its_image_here, directories_are_bound_elsewhere,
    mounts_propagate_as_they_are_told,
]})
