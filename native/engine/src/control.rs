//! The control channel once `start` was read: one thread that reads, one that writes, so that neither a slow daemon
//! nor a dead one ever holds up a request of the file system.

use crate::frame::{self, FrameError};
use crate::protocol::{Control, Event};
use crate::scrub::ScrubOrder;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Events that may wait for the daemon; what comes beyond is counted and dropped.
const QUEUE: usize = 256;
/// How often a full queue is asked for room.
const ROOM_POLL: Duration = Duration::from_millis(10);

/// What the reader has done for it; called on its thread.
pub trait Handler: Send + 'static {
    fn status(&self, id: u64) -> Event;
    /// `Err` says why nothing has changed.
    fn remount(&self, read_only: bool) -> Result<(), String>;
    fn flush(&self) -> Result<(), String>;
    fn stop(&self);
    fn scrub(&self, order: ScrubOrder);
    fn stop_scrub(&self);
    /// The daemon is gone, or cannot be understood any more. The last call.
    fn closed(&self);
}

/// Where events for the daemon go, from any thread. Never waits.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    queue: Mutex<Option<SyncSender<Event>>>,
    dropped: AtomicU64,
}

impl Outbox {
    pub fn send(&self, event: Event) {
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = queue.as_ref().is_some_and(|queue| queue.try_send(event).is_ok());
        if !sent {
            self.0.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Waits for room instead of dropping the event, for as long as `go_on` says.
    pub fn send_patiently(&self, mut event: Event, go_on: impl Fn() -> bool) {
        loop {
            let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Some(queue) = queue else { break };
            match queue.try_send(event) {
                Ok(()) => return,
                Err(TrySendError::Full(back)) if go_on() => event = back,
                Err(_) => break,
            }
            std::thread::sleep(ROOM_POLL);
        }
        self.0.dropped.fetch_add(1, Relaxed);
    }

    pub fn warn(&self, message: impl Into<String>) {
        self.send(Event::Warning { message: message.into() });
    }

    /// Events that the daemon did not get.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }
}

/// The writing end; `finish` at the end of the process, so that the last event is not lost.
pub struct Writer {
    outbox: Outbox,
    thread: JoinHandle<()>,
}

impl Writer {
    pub fn start(stream: UnixStream) -> io::Result<Writer> {
        let (sender, receiver) = sync_channel(QUEUE);
        let shared = Shared { queue: Mutex::new(Some(sender)), dropped: AtomicU64::new(0) };
        let thread = Builder::new().name("control-out".to_owned()).spawn(move || write_all(stream, &receiver))?;
        Ok(Writer { outbox: Outbox(Arc::new(shared)), thread })
    }

    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Waits until everything sent so far is written, or the daemon has not read for the channel's write timeout.
    pub fn finish(self) {
        drop(self.outbox.0.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        // It does not panic, and if it did nothing more could be said.
        let _ = self.thread.join();
    }
}

fn write_all(mut stream: UnixStream, events: &Receiver<Event>) {
    let mut alive = true;
    // Goes on taking events when nobody reads them: the queue stays empty for as long as the mount is served.
    for event in events {
        // After an error the stream may end within a frame.
        alive = alive && frame::write(&mut stream, &event).is_ok();
    }
    if alive {
        let _ = stream.shutdown(Shutdown::Write);
    }
}

/// Reads what the daemon says until it is gone.
pub fn listen(mut stream: UnixStream, outbox: Outbox, handler: impl Handler) -> io::Result<()> {
    Builder::new().name("control-in".to_owned()).spawn(move || {
        loop {
            match frame::read::<Control>(&mut stream) {
                Ok(Control::Status { id }) => outbox.send(handler.status(id)),
                Ok(Control::Flush { id }) => outbox.send(Event::Flushed { id, error: handler.flush().err() }),
                Ok(Control::Remount { id, read_only }) => {
                    outbox.send(Event::Remounted { id, error: handler.remount(read_only).err() });
                }
                Ok(Control::Stop {}) => handler.stop(),
                Ok(Control::Scrub { rate, total_bytes, from, counts }) => {
                    handler.scrub(ScrubOrder { rate, total_bytes, from, counts });
                }
                Ok(Control::ScrubStop {}) => handler.stop_scrub(),
                Ok(Control::Start { .. }) => outbox.warn("control channel: a second start is ignored"),
                Err(FrameError::Unknown(e)) => outbox.warn(format!("control channel: an unknown message: {e}")),
                Err(FrameError::End) => break,
                Err(e) => {
                    outbox.warn(format!("control channel: {e}; it is not listened to any more"));
                    break;
                }
            }
        }
        handler.closed();
    })?;
    Ok(())
}
