//! A volume as the session calls it.

use super::nodes::answer;
use super::Volume;
use crate::ops::{Attr, Caller, DirSink, Entry, Errno, FileSystem, Handle, NodeId, Result, SetAttr, Statfs, Writing};
use kmsfs_format::names::NAME_MAX;
use kmsfs_format::record::Device;

impl FileSystem for Volume {
    fn keeps_acls(&self) -> bool {
        self.backing.keeps_acls
    }
    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Entry> {
        answer(self, parent, self.look_up(parent, name))
    }
    fn forget(&self, node: NodeId, count: u64) {
        self.table.forget(node, count);
    }
    fn getattr(&self, node: NodeId, _handle: Option<Handle>) -> Result<Attr> {
        answer(self, node, self.get_attr(node))
    }
    fn setattr(&self, caller: Caller, node: NodeId, set: &SetAttr) -> Result<Attr> {
        answer(self, node, self.set_attr(caller, node, set))
    }
    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        answer(self, node, self.read_link(node))
    }
    fn mknod(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32, major: u32, minor: u32) -> Result<Entry> {
        answer(self, parent, self.make_node(caller, parent, name, mode, Device { major, minor }))
    }
    fn mkdir(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32) -> Result<Entry> {
        answer(self, parent, self.make_directory(caller, parent, name, mode))
    }
    fn symlink(&self, caller: Caller, parent: NodeId, name: &[u8], target: &[u8]) -> Result<Entry> {
        answer(self, parent, self.make_symlink(caller, parent, name, target))
    }
    fn link(&self, node: NodeId, parent: NodeId, name: &[u8]) -> Result<Entry> {
        answer(self, node, self.make_link(node, parent, name))
    }
    fn unlink(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        answer(self, parent, self.remove_file(parent, name))
    }
    fn rmdir(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        answer(self, parent, self.remove_directory(parent, name))
    }
    fn rename(&self, parent: NodeId, name: &[u8], new_parent: NodeId, new_name: &[u8], flags: u32) -> Result<()> {
        answer(self, parent, self.rename_entry((parent, name), (new_parent, new_name), flags))
    }

    fn open(&self, node: NodeId, flags: u32) -> Result<Handle> {
        answer(self, node, self.open_file(node, flags))
    }
    fn create(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32, flags: u32) -> Result<(Entry, Handle)> {
        answer(self, parent, self.create_file(caller, parent, name, mode, flags))
    }
    fn tmpfile(&self, caller: Caller, parent: NodeId, mode: u32, flags: u32) -> Result<(Entry, Handle)> {
        answer(self, parent, self.create_unnamed(caller, parent, mode, flags))
    }
    fn read(&self, node: NodeId, handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        answer(self, node, self.read_file(handle, offset, buf))
    }
    fn write(&self, node: NodeId, handle: Handle, offset: u64, data: &[u8], how: Writing) -> Result<usize> {
        answer(self, node, self.write_file(handle, offset, data, how))
    }
    fn flush(&self, node: NodeId, handle: Handle) -> Result<()> {
        answer(self, node, self.flush_file(handle))
    }
    fn release(&self, node: NodeId, handle: Handle) -> Result<()> {
        answer(self, node, self.close_file(handle))
    }
    fn fsync(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()> {
        answer(self, node, self.sync_file(handle, data_only))
    }
    fn fallocate(&self, node: NodeId, handle: Handle, mode: u32, offset: u64, length: u64) -> Result<()> {
        answer(self, node, self.allocate(handle, mode, offset, length))
    }
    fn lseek(&self, node: NodeId, handle: Handle, offset: u64, whence: u32) -> Result<u64> {
        answer(self, node, self.seek(handle, offset, whence))
    }
    fn copy_file_range(
        &self,
        _from: NodeId,
        from_handle: Handle,
        from_offset: u64,
        to: NodeId,
        to_handle: Handle,
        to_offset: u64,
        length: u64,
    ) -> Result<u64> {
        answer(self, to, self.copy((from_handle, from_offset), (to_handle, to_offset), length))
    }

    fn opendir(&self, node: NodeId) -> Result<Handle> {
        answer(self, node, self.open_dir(node))
    }
    fn readdir(&self, node: NodeId, handle: Handle, offset: u64, sink: &mut dyn DirSink) -> Result<()> {
        answer(self, node, self.list(handle, offset, sink))
    }
    fn releasedir(&self, node: NodeId, handle: Handle) -> Result<()> {
        answer(self, node, self.close_dir(handle))
    }
    fn fsyncdir(&self, node: NodeId, handle: Handle, _data_only: bool) -> Result<()> {
        answer(self, node, self.sync_dir(handle))
    }

    fn statfs(&self) -> Result<Statfs> {
        let s = rustix::fs::fstatvfs(&self.backing.root).map_err(|e| Errno(e.raw_os_error()))?;
        Ok(Statfs {
            blocks: s.f_blocks,
            bfree: s.f_bfree,
            bavail: s.f_bavail,
            files: s.f_files,
            ffree: s.f_ffree,
            bsize: s.f_bsize as u32,
            namelen: NAME_MAX as u32,
            frsize: s.f_frsize as u32,
        })
    }
    fn getxattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>> {
        answer(self, node, self.get_xattr(node, name))
    }
    fn setxattr(&self, node: NodeId, name: &[u8], value: &[u8], flags: u32, kill_sgid: bool) -> Result<()> {
        answer(self, node, self.set_xattr(node, name, value, flags, kill_sgid))
    }
    fn listxattr(&self, node: NodeId) -> Result<Vec<u8>> {
        answer(self, node, self.list_xattrs(node))
    }
    fn removexattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        answer(self, node, self.remove_xattr(node, name))
    }

    fn destroy(&self) {
        // What did not get home is in the log, and the next mount recovers it; whoever wants to know calls `close`.
        let _ = self.close();
    }
}
