//! Wiping plaintext.

/// Sets every byte to zero, in a way that the compiler does not leave out (explicit_bzero(3)). For what is longer than a key:
/// `zeroize` writes byte by byte, which for a block costs more than sealing it.
pub fn wipe(bytes: &mut [u8]) {
    // Miri has no explicit_bzero, and leaves no write out.
    if cfg!(miri) {
        return bytes.fill(0);
    }
    // SAFETY: the range is the slice's own.
    unsafe { libc::explicit_bzero(bytes.as_mut_ptr().cast(), bytes.len()) };
}
