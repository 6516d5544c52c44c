#!/bin/bash
# Everything that a backup must bring back of the tree that it is run in, by programs that take no part in copying.
set -eu -o pipefail
export LC_ALL=C

# Kind, mode, owner, time; a directory's size and number of names are its file system's business.
find . -type d -printf '%P %y %m %U:%G %T@\0' -o -printf '%P %y %m %U:%G %T@ %s %n -> %l\0' | sort -z | tr '\0' '\n'
find . \( -type b -o -type c \) -print0 | sort -z | xargs -0 -r stat -c '%n %t:%T'

# Which names are one inode: each is followed by the first of them.
declare -A first
while IFS= read -r -d '' entry; do
  inode=${entry%%/*} path=${entry#*/}
  printf '%q = %q\n' "$path" "${first[$inode]:=$path}"
done < <(find . ! -type d -links +1 -printf '%i/%P\0' | sort -z -t/ -k2)

find . -type f -print0 | sort -z | xargs -0 -r sha256sum
# Access control lists are among them.
find . -print0 | sort -z | xargs -0 -r getfattr -h -d -m - -e hex
