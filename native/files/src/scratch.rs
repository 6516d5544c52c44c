//! A buffer per thread for sealed bytes on their way between a request and the store, so that no I/O allocates.

use std::cell::RefCell;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` bytes of undefined content. They only ever hold ciphertext when `f` returns. Nested calls get
/// a buffer of their own.
pub fn with<R>(len: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with(|cell| match cell.try_borrow_mut() {
        Ok(mut buffer) => {
            if buffer.len() < len {
                buffer.resize(len, 0);
            }
            f(&mut buffer[..len])
        }
        Err(_) => f(&mut vec![0; len]),
    })
}
