//! The messages between the engine and TypeScript: the one definition of docs/engine-protocol.md. The schema that
//! TypeScript checks against, `protocol.schema.json`, is generated from here; the test below fails when it is stale.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const VERSION: u32 = 1;

/// Daemon to engine, on the control channel.
#[derive(Deserialize, Debug, PartialEq)]
#[cfg_attr(test, derive(Serialize, schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Control {
    /// The first message, once.
    Start {
        version: u32,
        /// Absolute path of the backing directory.
        backing: String,
        read_only: bool,
        cache_bytes: u64,
        writeback: bool,
        mlock: Mlock,
        debug: bool,
    },
    Status {
        id: u64,
    },
    /// Write everything home and stop writing, once the kernel is read-only; or write again, before it is read-write.
    Remount {
        id: u64,
        read_only: bool,
    },
    /// Commit everything and make it durable; the mount goes on.
    Flush {
        id: u64,
    },
    /// Write everything home; the engine ends with the unmount.
    Stop {},
    /// Verify the volume in the background, from where an earlier scrub came to.
    Scrub {
        /// Bytes a second, at most; 0: no limit.
        rate: u64,
        /// The whole of it, where an earlier scrub has counted; 0: count.
        total_bytes: u64,
        from: Option<Cursor>,
        counts: ScrubCounts,
    },
    /// End the scrub; its last `scrub` message says where it is to go on.
    ScrubStop {},
}

/// How far a scrub has come: everything up to this sealed name in each of the directories that lead to it.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    pub path: Vec<String>,
    /// Above zero: the blocks of that file before this one; else all of it.
    pub block: u64,
}

#[derive(Deserialize, Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ScrubCounts {
    pub directories: u64,
    pub files: u64,
    pub symlinks: u64,
    pub special: u64,
    pub blocks: u64,
    pub nodes: u64,
    /// Sealed bytes of files.
    pub bytes: u64,
}

#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Deserialize, schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ScrubState {
    Counting,
    Running,
    Done,
    Stopped,
    Failed,
}

#[derive(Clone, Copy, Deserialize, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Serialize, schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Mlock {
    /// Lock all memory if allowed, else warn.
    Try,
    /// Lock all memory or do not mount.
    Require,
}

/// Engine to daemon, on the control channel.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(Deserialize, schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Event {
    Opened {
        recovery: Recovery,
    },
    /// FUSE_INIT was answered.
    Serving {},
    Status {
        id: u64,
        counters: BTreeMap<String, u64>,
        /// Upper bounds, in nanoseconds, of the buckets of every latency.
        latency_bounds: Vec<u64>,
        latencies: BTreeMap<String, Latency>,
        /// Why nothing is written any more; null while the log is sound.
        failure: Option<String>,
    },
    /// `error` says why the volume is as it was.
    Remounted {
        id: u64,
        error: Option<String>,
    },
    /// `error` says why not everything is durable.
    Flushed {
        id: u64,
        error: Option<String>,
    },
    #[serde(rename = "event")]
    Incident {
        event: EventKind,
        /// The file's id, 32 hex digits.
        file: Option<String>,
        /// Where it lies in the backing directory.
        place: Option<String>,
        /// The number of the data block, where it is one.
        block: Option<u64>,
        detail: Option<String>,
    },
    /// How a scrub goes, once a second and at its end.
    Scrub {
        state: ScrubState,
        /// About what all of it will come to; 0 while it is not known.
        total_bytes: u64,
        counts: ScrubCounts,
        cursor: Option<Cursor>,
        /// Why it failed.
        message: Option<String>,
    },
    /// Something that a scrub found. An event has told of it too, unless it only cannot be read.
    ScrubFinding {
        file: String,
        place: Option<String>,
        /// On the mount, in clear: never to be logged.
        path: Option<String>,
        block: Option<u64>,
        detail: String,
    },
    Warning {
        message: String,
    },
    Failed {
        code: FailureCode,
        message: String,
    },
}

#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Deserialize, schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    Tamper,
}

/// How long things took, since the mount.
#[derive(Serialize, Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Deserialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// One for each bound, and one for what took longer. Not cumulative.
    pub counts: Vec<u64>,
    /// Sum of the durations.
    pub nanos: u64,
}

/// What recovery did.
#[derive(Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Deserialize, schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recovery {
    pub commits: u64,
    pub files: u64,
    pub gone: u64,
    pub dropped_tail: bool,
}

/// CLI to engine, on the key channel; 32 raw bytes of key follow it.
#[derive(Deserialize, Debug, PartialEq)]
#[cfg_attr(test, derive(Serialize, schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Unlock {
    Unlock {
        version: u32,
        uuid: String,
        block_size: u32,
        generation: u64,
        features: Vec<String>,
        log: LogShape,
        /// The `commitment` subkey (docs/format.md §2), base64.
        commitment: String,
    },
}

#[derive(Clone, Copy, Deserialize, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Serialize, schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogShape {
    pub segment_size: u64,
    pub segments: u32,
}

/// Engine to CLI, on the key channel.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(Deserialize, schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum KeyReply {
    Unlocked {},
    Failed { code: FailureCode, message: String },
}

#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Deserialize, schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FailureCode {
    /// Another engine holds the volume's lock.
    InUse,
    /// The key's commitment is not the volume's.
    WrongKey,
    /// The log or the root directory.
    Damaged,
    /// The backing file system lacks something, or the volume a feature that this engine knows.
    Unsupported,
    Io,
    NoSpace,
    /// A message that makes no sense.
    Usage,
    /// Memory must be locked and may not be.
    MemoryLock,
    /// Read-only, and the first mount has to write.
    NeverMounted,
    Internal,
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::generate::SchemaSettings;
    use serde_json::{json, Value};

    fn schema() -> String {
        let mut generator = SchemaSettings::draft2020_12().into_generator();
        // Each leaves its definition behind in the generator.
        generator.subschema_for::<Control>();
        generator.subschema_for::<Event>();
        generator.subschema_for::<Unlock>();
        generator.subschema_for::<KeyReply>();
        let document = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "kmsfs engine protocol",
            "description": "Generated from native/engine/src/protocol.rs: UPDATE_SCHEMA=1 cargo test -p kmsfs-engine schema",
            "$defs": generator.take_definitions(true),
        });
        serde_json::to_string_pretty(&document).unwrap() + "\n"
    }

    #[test]
    fn the_schema_on_disk_is_the_one_of_these_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol.schema.json");
        let fresh = schema();
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(path, &fresh).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stored == fresh, "protocol.schema.json is stale: UPDATE_SCHEMA=1 cargo test -p kmsfs-engine schema");
    }

    fn start() -> Value {
        json!({"type": "start", "version": 1, "backing": "/abs", "readOnly": false, "cacheBytes": 67_108_864u64,
            "writeback": true, "mlock": "try", "debug": false})
    }

    #[test]
    fn messages_read_as_the_document_writes_them() {
        let control = |value: Value| serde_json::from_value::<Control>(value).unwrap();
        assert!(matches!(control(start()), Control::Start { cache_bytes: 67_108_864, mlock: Mlock::Try, .. }));
        assert_eq!(control(json!({"type": "status", "id": 7})), Control::Status { id: 7 });
        assert_eq!(control(json!({"type": "flush", "id": 9})), Control::Flush { id: 9 });
        let remount = json!({"type": "remount", "id": 8, "readOnly": true});
        assert_eq!(control(remount), Control::Remount { id: 8, read_only: true });
        assert_eq!(control(json!({"type": "stop"})), Control::Stop {});
        let unlock = json!({"type": "unlock", "version": 1, "uuid": "u", "blockSize": 4096, "generation": 1,
            "features": ["trusted-records"], "log": {"segmentSize": 1, "segments": 2}, "commitment": "c"});
        let Unlock::Unlock { log, .. } = serde_json::from_value(unlock).unwrap();
        assert_eq!(log, LogShape { segment_size: 1, segments: 2 });
    }

    #[test]
    fn messages_are_written_as_the_document_reads_them() {
        let written = |event: Event| serde_json::to_value(event).unwrap();
        let recovery = Recovery { commits: 1, files: 2, gone: 3, dropped_tail: true };
        assert_eq!(
            written(Event::Opened { recovery }),
            json!({"type": "opened", "recovery": {"commits": 1, "files": 2, "gone": 3, "droppedTail": true}})
        );
        assert_eq!(written(Event::Serving {}), json!({"type": "serving"}));
        let failed = Event::Failed { code: FailureCode::InUse, message: "m".into() };
        assert_eq!(written(failed), json!({"type": "failed", "code": "in-use", "message": "m"}));
        assert_eq!(serde_json::to_value(KeyReply::Unlocked {}).unwrap(), json!({"type": "unlocked"}));
    }

    #[test]
    fn unknown_fields_types_and_values_are_refused() {
        let refused = |value: Value| serde_json::from_value::<Control>(value).is_err();
        for (field, value) in [("extra", json!(1)), ("mlock", json!("maybe")), ("cacheBytes", json!(-1))] {
            let mut message = start();
            message[field] = value;
            assert!(refused(message), "{field}");
        }
        assert!(refused(json!({"type": "stop", "extra": 1})));
        assert!(refused(json!({"type": "halt"})));
        assert!(refused(json!({"id": 1})));
        assert!(refused(json!({"type": "status"})));
    }
}
