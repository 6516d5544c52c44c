//! Locks, condition variables, threads, and the atomics on which something depends: parking_lot's and std's, or those of
//! shuttle, whose every use is a point where a test's scheduler may go on with another thread (feature `shuttle`).

#[cfg(not(feature = "shuttle"))]
pub use {
    parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockWriteGuard},
    std::sync::atomic::{AtomicBool, AtomicU64},
    std::thread,
};

#[cfg(feature = "shuttle")]
pub use controlled::{Condvar, Mutex, MutexGuard, RwLock, RwLockWriteGuard};
#[cfg(feature = "shuttle")]
pub use shuttle::{
    sync::atomic::{AtomicBool, AtomicU64},
    thread,
};

/// shuttle's locks as parking_lot's: no poisoning, and a guard that waits stays the caller's.
#[cfg(feature = "shuttle")]
mod controlled {
    use shuttle::sync as inner;
    use std::ops::{Deref, DerefMut};
    use std::sync::{LockResult, PoisonError};
    use std::time::Duration;

    fn take<G>(locked: LockResult<G>) -> G {
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    #[derive(Debug, Default)]
    pub struct Mutex<T>(inner::Mutex<T>);

    /// `held` is empty only while it waits.
    pub struct MutexGuard<'a, T> {
        mutex: &'a inner::Mutex<T>,
        held: Option<inner::MutexGuard<'a, T>>,
    }

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Mutex(inner::Mutex::new(value))
        }
        pub fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard { mutex: &self.0, held: Some(take(self.0.lock())) }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.held.as_ref().expect("not waiting")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.held.as_mut().expect("not waiting")
        }
    }

    #[derive(Default)]
    pub struct Condvar(inner::Condvar);

    impl Condvar {
        pub fn new() -> Self {
            Self::default()
        }
        pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            guard.held = guard.held.take().map(|held| take(self.0.wait(held)));
        }
        /// The time has passed as soon as others had a chance to run.
        pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) {
            guard.held = None;
            shuttle::thread::yield_now();
            guard.held = Some(take(guard.mutex.lock()));
        }
        pub fn notify_one(&self) {
            self.0.notify_one();
        }
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    pub type RwLockWriteGuard<'a, T> = inner::RwLockWriteGuard<'a, T>;

    pub struct RwLock<T>(inner::RwLock<T>);

    impl<T> RwLock<T> {
        pub fn new(value: T) -> Self {
            RwLock(inner::RwLock::new(value))
        }
        pub fn read(&self) -> inner::RwLockReadGuard<'_, T> {
            take(self.0.read())
        }
        pub fn write(&self) -> RwLockWriteGuard<'_, T> {
            take(self.0.write())
        }
        pub fn get_mut(&mut self) -> &mut T {
            take(self.0.get_mut())
        }
    }
}
