"""What `-o suid,dev` gives back."""

import os
import shutil
import stat
import subprocess

from common import as_user, main


def set_user_id_programs_gain():
    shutil.copy("/usr/bin/id", "id")
    os.chmod("id", 0o4755)

    def user():
        assert subprocess.run(["./id", "-u"], stdout=subprocess.PIPE, check=True).stdout == b"0\n"

    as_user(1000, user)


def devices_open():
    os.mknod("null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod("zero", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    with open("null", "r+b", buffering=0) as f:
        assert f.write(b"x" * 10) == 10 and f.read(1) == b""
    with open("zero", "rb", buffering=0) as f:
        assert f.read(100) == b"\0" * 100


main({f.__name__: f for f in [set_user_id_programs_gain, devices_open]})
