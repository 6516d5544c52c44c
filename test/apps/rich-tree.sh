#!/bin/bash
# One of everything that a backup must bring back, in the empty directory that it is run in, as root.
set -eu
mkdir links kinds modes sparse names attributes times acls

for n in 1 2 3; do mkdir links/$n; done
echo shared >links/1/a; ln links/1/a links/2/b; ln links/1/a links/3/c
head -c 300000 /dev/urandom >links/1/big; ln links/1/big links/2/big
ln -s ../../kinds links/2/relative; ln -s /nowhere/at/all links/2/dangling
ln -s "$(printf 'x%.0s' {1..3000})" links/3/long; ln links/3/long links/1/long

mkfifo kinds/fifo; mknod kinds/zero c 1 5; mknod kinds/block b 259 1234

for m in 0000 0001 0400 0644 1755 2755 4755 6711 7777; do echo $m >modes/$m; mkdir modes/d$m; done
chown 1234:5678 modes/0644 modes/d0644; chown 4000000000:4000000001 modes/0400; chown -h 77:88 links/2/dangling
for m in 0000 0001 0400 0644 1755 2755 4755 6711 7777; do chmod $m modes/$m modes/d$m; done

truncate -s 20M sparse/hole; printf end >>sparse/hole
dd if=/dev/urandom of=sparse/islands bs=64K count=1 seek=100 status=none
dd if=/dev/urandom of=sparse/islands bs=64K count=1 seek=200 conv=notrunc status=none
truncate -s 16M sparse/islands; head -c 1000000 /dev/zero >sparse/zeros; truncate -s 5000000 sparse/empty

: >$'names/a\nline'; echo x >$'names/\377\376 not UTF-8'; echo x >names/-rf; echo x >'names/*'; echo x >'names/ '
echo x >'names/"quoted" \back $dollar'; echo x >names/...; mkdir 'names/~'; echo x >$'names/~/tab\t'
echo x >"names/$(printf 'n%.0s' {1..255})"; echo x >names/Größe-大きさ; mkdir "names/$(printf 'd%.0s' {1..255})"

echo x >attributes/file; mkdir attributes/dir; ln -s file attributes/link; cp /bin/true attributes/able
setfattr -n user.text -v hello attributes/file; setfattr -n user.empty attributes/file
setfattr -n user.binary -v 0x00ff0a0d00 attributes/file; setfattr -n user.big -v "$(printf 'v%.0s' {1..2000})" attributes/file
setfattr -n user.dir -v d attributes/dir; setfattr -n trusted.dir -v t attributes/dir
setfattr -n trusted.file -v t attributes/file; setfattr -h -n trusted.link -v t attributes/link
setfattr -n "user.$(printf 'n%.0s' {1..150})" -v long attributes/file
setcap cap_net_bind_service,cap_net_raw+ep attributes/able

for n in past future exact; do echo $n >times/$n; done; mkdir times/dir; ln -s exact times/link
touch -d '1955-11-05 06:15:00.123456789' times/past; touch -d '2105-01-01 00:00:00.987654321' times/future
touch -d '2001-02-03 04:05:06.000000001' times/exact times/dir
touch -h -d '1999-12-31 23:59:59.999999999' times/link

mkdir acls/dir; echo x >acls/file; echo x >acls/everything; chown 1234:5678 acls/everything
setfacl -m u:1234:rw,g:5678:r,u:4321:--- acls/file
setfacl -m u:1234:rwx,d:u:1234:rx,d:g:5678:rwx,d:m::rwx acls/dir; echo x >acls/dir/inherited; mkdir acls/dir/below
setfacl -m u::rw,u:1:r,u:2:w,u:3:x,g::r,g:1:rw,g:2:-,m::r,o::- acls/everything
