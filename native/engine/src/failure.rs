//! Why there will be no mount, as it is told to those who wait for it.

use crate::protocol::{Event, FailureCode, KeyReply};
use std::io;

/// One line for people, and the code that decides the exit status of `kmsfs mount`. Never holds key bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: FailureCode,
    pub message: String,
}

impl Failure {
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(FailureCode::Usage, message)
    }

    /// `what` was being done when `error` came.
    pub fn io(what: &str, error: &io::Error) -> Self {
        let full = [libc::ENOSPC, libc::EDQUOT].map(Some).contains(&error.raw_os_error());
        let code = if full { FailureCode::NoSpace } else { FailureCode::Io };
        Failure::new(code, format!("{what}: {error}"))
    }

    pub fn event(&self) -> Event {
        Event::Failed { code: self.code, message: self.message.clone() }
    }

    pub fn key_reply(&self) -> KeyReply {
        KeyReply::Failed { code: self.code, message: self.message.clone() }
    }
}
