#!/bin/bash
# What the volumes of the corpus hold: tree.sh clean|before|after BLOCK_SIZE, in the mount, as root. Small, since what is
# sealed does not compress: a file takes its header's 4096 bytes at least, a node a block.
set -eu
B=$2

# Bytes that tell where they are: NAME OFFSET LENGTH
put() {
  local text
  text=$(printf "$1 %06d. " $(seq $(($3 / 8 + 1))))
  printf %s "${text:0:$3}" | dd of="$1" bs=64K oflag=seek_bytes seek="$2" conv=notrunc status=none
}

case $1 in
clean)
  put byte 0 1
  put part 0 700
  put 'hole, then a byte' "$B" 1
  truncate -s 5M 'nothing but a hole'
  mkdir dir dir/empty
  put "$(printf 'n%.0s' {1..200})" 0 10
  ln byte dir/linked
  ln -s dir/inside link; ln -s /nowhere dangling; ln -s "$(printf 'x%.0s' {1..3000})" far
  mkfifo fifo; mknod device c 1 5
  if [ "$B" -le 16384 ]; then put 'under a node' $((112 * B)) 100; fi
  if [ "$B" = 4096 ]; then
    : >empty; : >$'a\nline'
    put 'a block and a byte' 0 $((B + 1)); put 'under two nodes' $((240 * B)) 77
    put 'a hole behind' 0 50; truncate -s 1M 'a hole behind'; chown 1234:5678 'a hole behind'
    put dir/inside 0 200; put Größe 0 10
    mkdir "$(printf 'd%.0s' {1..255})"
  fi

  put a 0 100
  setfattr -n user.x -v x a; setfattr -n user.empty a; setfattr -n trusted.t -v 0x00ff0a a
  setfattr -n user.long -v "$(printf 'v%.0s' {1..1000})" a
  setfattr -n user.dir -v d dir; setfattr -h -n trusted.link -v l link
  setfacl -m u:1234:rw,g:5678:r,u:4321:--- part
  setfacl -m u:1234:rwx,d:u:1234:rx,d:m::rwx dir; put dir/inherits 0 10
  chmod 4755 byte; chmod 1777 dir/empty; chown -h 77:88 dangling
  touch -d '1955-11-05 06:15:00.123456789' byte; touch -d '2105-01-01 00:00:00.987654321' part
  touch -h -d '1999-12-31 23:59:59.999999999' link
  ;;
before)
  mkdir dir
  for name in rewritten deleted 'former name'; do put "$name" 0 600; done
  put punched 0 $((B > 4096 ? 100 : 2 * B + 10))
  if [ "$B" = 4096 ]; then
    put 'under a node' $((112 * B)) 1000
    for name in grown cut dir/inside; do put "$name" 0 600; done
  fi
  setfattr -n user.x -v old rewritten
  ;;
after)
  printf REWRITTEN | dd of=rewritten bs=1 seek=100 conv=notrunc status=none
  fallocate -p -o 0 -l $((B > 4096 ? 50 : B)) punched
  put 'new with a hole' $((3 * B)) 10; : >'new and empty'
  printf DELETED >>deleted; sync deleted; rm deleted
  mv 'former name' 'new name'; printf MOVED >>'new name'
  setfattr -n user.x -v new rewritten
  if [ "$B" = 4096 ]; then
    put 'under a node' $((112 * B + 500)) 1000
    put grown 600 $B; truncate -s 300 cut
    mv dir/inside inside; ln inside dir/linked; ln -s inside link; put dir/new 0 10
    chmod 600 grown; setfacl -m u:1234:r cut
  fi
  ;;
esac
find . -type f -exec sync {} +
sync -f .
