//! Requests about attributes, extended attributes and the file system as a whole.

use super::{Call, Done};
use kmsfs_namespace::ops::{Errno, Handle, SetAttr};

impl Call<'_, '_, '_> {
    pub(super) fn getattr(&mut self, handle: Option<Handle>) -> Done {
        let attr = self.fs.getattr(self.node, handle)?;
        self.reply.attr_out(&attr, &self.context.lifetimes)
    }

    pub(super) fn setattr(&mut self, set: &SetAttr) -> Done {
        let attr = self.fs.setattr(self.caller, self.node, set)?;
        self.reply.attr_out(&attr, &self.context.lifetimes)
    }

    pub(super) fn statfs(&mut self) -> Done {
        let statfs = self.fs.statfs()?;
        self.reply.statfs(&statfs)
    }

    pub(super) fn getxattr(&mut self, name: &[u8], size: usize) -> Done {
        let value = self.fs.getxattr(self.node, name)?;
        self.sized(&value, size)
    }

    pub(super) fn listxattr(&mut self, size: usize) -> Done {
        let mut names = self.fs.listxattr(self.node)?;
        // xattr(7): only the privileged see `trusted.*`. The kernel keeps others from the values and leaves the names to
        // us; it does not say who has CAP_SYS_ADMIN, so root stands for that.
        if self.caller.uid != 0 {
            let shown = |name: &&[u8]| !name.starts_with(b"trusted.");
            names = names.split_inclusive(|&byte| byte == 0).filter(shown).flatten().copied().collect();
        }
        self.sized(&names, size)
    }

    /// getxattr(2)'s protocol: a size of 0 asks how long the answer is, one too small is ERANGE.
    fn sized(&mut self, bytes: &[u8], size: usize) -> Done {
        match size {
            0 => self.reply.count(bytes.len()),
            size if size < bytes.len() => Err(Errno(libc::ERANGE)),
            _ => self.reply.bytes(bytes),
        }
    }
}
