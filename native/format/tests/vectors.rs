//! Sections 2, 5 and 9 of docs/format-vectors.json: keys, blocks, headers, geometry, the log.
#![allow(clippy::unwrap_used)]

use kmsfs_format::block::{block_aad, AeadKey, Entry, FileKey, ENTRY_LEN};
use kmsfs_format::commit::{self, Builder, Commit, Straight};
use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_format::layout::{Layout, DIRECT, SUBTREES};
use kmsfs_format::{header, segment};
use serde_json::Value;

fn unhex(v: &Value) -> Vec<u8> {
    let s = v.as_str().unwrap();
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

fn array<const N: usize>(v: &Value) -> [u8; N] {
    unhex(v).try_into().unwrap()
}

/// Numbers stand as numbers or, since some exceed a double, as decimal strings.
fn number(v: &Value) -> u64 {
    v.as_u64().unwrap_or_else(|| v.as_str().unwrap().parse().unwrap())
}

fn list(v: &Value) -> &[Value] {
    v.as_array().unwrap()
}

fn vectors() -> (Value, DomainKeys) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format-vectors.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let uuid = array(&all["volume"]["uuidBytes"]);
    let keys = DomainKeys::derive(&uuid, &Secret::take(&mut array(&all["volume"]["domainKey"]))).unwrap();
    (all, keys)
}

#[test]
fn keys_derive_as_the_vectors_say() {
    let (all, keys) = vectors();
    let v = &all["keys"];
    let sub = &v["subkeys"];
    assert_eq!(keys.content.expose(), &array(&sub["content"]));
    assert_eq!(keys.names.expose(), &array(&sub["names"]));
    assert_eq!(keys.xattrs.expose(), &array(&sub["xattrs"]));
    assert_eq!(keys.links.expose(), &array(&sub["links"]));
    assert_eq!(keys.records.expose(), &array(&sub["records"]));
    assert_eq!(keys.log.expose(), &array(&sub["log"]));
    assert_eq!(keys.header.expose(), &array(&sub["header"]));
    assert_eq!(keys.commitment, array(&sub["commitment"]));
    let file = keys.file(&array(&v["file"]["fileId"]), number(&v["file"]["epoch"]) as u32).unwrap();
    assert_eq!(file.key.expose(), &array(&v["file"]["fileKey"]));
    assert_eq!(file.commitment, array(&v["file"]["commitment"]));
    assert_eq!(keys.log_mac().unwrap().expose(), &array(&v["log"]["macKey"]));
    assert_eq!(keys.segment(&array(&v["log"]["salt"])).unwrap().expose(), &array(&v["log"]["segmentKey"]));
}

#[test]
fn blocks_open_as_the_vectors_say() {
    let (all, keys) = vectors();
    let id = array(&all["blocks"]["fileId"]);
    for case in list(&all["blocks"]["cases"]) {
        let (level, index) = (number(&case["level"]) as u8, number(&case["index"]));
        assert_eq!(block_aad(level, index), array(&case["aad"]));
        let entry = Entry::from_bytes(array(&case["entry"]));
        assert_eq!(u64::from(entry.epoch()), number(&case["epoch"]));
        assert_eq!(entry.nonce(), array(&case["nonce"]));
        let (clear, sealed) = (unhex(&case["clear"]), unhex(&case["sealed"]));
        let mut out = vec![0; sealed.len()];
        let key = FileKey::derive(&keys, &id, entry.epoch()).unwrap();
        assert!(key.open(level, index, &entry, &sealed, &mut out).is_ok());
        assert_eq!(out, clear);
        assert!(key.open(level, index + 1, &entry, &sealed, &mut out).is_err());
        assert!(key.open(level + 1, index, &entry, &sealed, &mut out).is_err());
        // Sealing gives the same bytes under the same nonce.
        let material = keys.file(&id, entry.epoch()).unwrap();
        let mut data = clear;
        let tag = AeadKey::new(&material.key).unwrap().seal_with(entry.nonce(), &block_aad(level, index), &mut data);
        assert_eq!((data, tag.unwrap().as_slice()), (sealed, entry.tag()));
    }
}

#[test]
fn the_header_opens_as_the_vectors_say() {
    let (all, keys) = vectors();
    let v = &all["header"];
    let page: [u8; 4096] = array(&v["header"]);
    let clear = header::parse(&page).unwrap();
    assert_eq!(1 << clear.block_shift, number(&v["blockSize"]));
    assert_eq!(clear.file_id, array(&v["fileId"]));
    assert_eq!(clear.domain_id, array(&v["domainId"]));
    assert_eq!(clear.commit, number(&v["commit"]));
    assert_eq!(u64::from(clear.epoch), number(&v["epoch"]));
    let key = FileKey::derive(&keys, &clear.file_id, clear.epoch).unwrap();
    assert_eq!(clear.commitment, key.commitment);
    let root = header::open(&page, &key).unwrap();
    assert_eq!(root.size, number(&v["size"]));
    let bytes = |entries: &[Entry]| entries.iter().flat_map(|e| *e.bytes()).collect::<Vec<u8>>();
    assert_eq!(bytes(&root.direct), unhex(&v["direct"]));
    assert_eq!(bytes(&root.subtrees), unhex(&v["subtrees"]));
}

#[test]
fn homes_and_lengths_are_those_of_the_vectors() {
    let (all, _) = vectors();
    for v in list(&all["geometry"]) {
        let block = number(&v["blockSize"]);
        let l = Layout::new(block.trailing_zeros() as u8).unwrap();
        assert_eq!(l.fanout(), number(&v["fanout"]));
        let largest = number(&v["maxSize"]);
        assert_eq!(l.max_size(u64::MAX), largest);
        for k in 1..=SUBTREES {
            assert_eq!(l.subtree(k), (number(&v["first"][k - 1]), number(&v["base"][k - 1])), "S{k} at {block}");
        }
        for (level, span) in list(&v["span"]).iter().enumerate() {
            // Nothing of the last level is ever reached where it would not fit 64 bits.
            assert!(
                l.span(level as u8) == span.as_str().unwrap().parse().unwrap_or(u64::MAX),
                "span({level}) at {block}"
            );
        }
        for home in list(&v["homes"]) {
            assert_eq!(l.home(number(&home["block"])), number(&home["home"]));
        }
        for case in list(&v["lengths"]) {
            let (size, physical) = (number(&case["size"]), number(&case["physicalLength"]));
            assert_eq!(l.physical(size), physical, "size {size}");
            assert_eq!(l.size_of(physical), Some(size), "length {physical}");
        }
        for none in list(&v["lengthsOfNoSize"]) {
            assert_eq!(l.size_of(number(none)), None, "length {none}");
        }
        assert_eq!(l.size_of(u64::MAX), None);
        assert!(l.blocks(largest) > DIRECT);
    }
}

#[test]
fn segments_and_records_are_those_of_the_vectors() {
    let (all, keys) = vectors();
    let v = &all["log"]["segment"];
    let header = segment::SegmentHeader {
        uuid: array(&all["volume"]["uuidBytes"]),
        sequence: number(&v["sequence"]),
        first_commit: number(&v["firstCommit"]),
        checkpointed: number(&v["checkpointed"]),
        volume_generation: number(&v["generation"]),
        salt: array(&v["salt"]),
        previous_mac: array(&v["previousMac"]),
        root_handle_kind: number(&v["handleType"]) as i32,
        root_handle: unhex(&v["handle"]),
        file_system: array(&v["fileSystemId"]),
    };
    let mac_key = keys.log_mac().unwrap();
    let bytes: [u8; segment::SEGMENT_HEADER_LEN] = array(&v["header"]);
    assert_eq!(header.encode(&mac_key), bytes);
    assert_eq!(segment::SegmentHeader::decode(&bytes, &mac_key), Some(header.clone()));

    let key = AeadKey::new(&keys.segment(&header.salt).unwrap()).unwrap();
    for v in list(&all["log"]["records"]) {
        let mtime = &v["mtime"];
        let straight = list(&v["straight"]).iter().map(|s| Straight {
            index: number(&s["index"]),
            len: number(&s["length"]) as u32,
            entry: Entry::from_bytes(array::<ENTRY_LEN>(&s["entry"])),
        });
        let commit = Commit {
            number: number(&v["number"]),
            durable_through: number(&v["durable"]),
            file_id: array(&v["fileId"]),
            handle_kind: number(&v["handleType"]) as i32,
            handle: unhex(&v["handle"]),
            physical: number(&v["physicalLength"]),
            mtime: mtime.is_object().then(|| {
                let secs = &mtime["seconds"];
                let secs = secs.as_i64().unwrap_or_else(|| secs.as_str().unwrap().parse().unwrap());
                (secs, number(&mtime["nanoseconds"]) as u32)
            }),
            punched: list(&v["punched"]).iter().map(|p| (number(&p["offset"]), number(&p["length"]))).collect(),
            straight: straight.collect(),
            images: Vec::new(),
        };
        let images: Vec<(u64, Vec<u8>)> =
            list(&v["images"]).iter().map(|i| (number(&i["offset"]), unhex(&i["bytes"]))).collect();
        let borrowed: Vec<(u64, &[u8])> = images.iter().map(|(home, bytes)| (*home, bytes.as_slice())).collect();
        let record = unhex(&v["record"]);
        let previous = array(&v["previousMac"]);
        let mut builder = Builder::new(&commit, &borrowed);
        let built = builder.finish(commit.number, commit.durable_through, &previous, &key);
        assert!(built.unwrap().0 == record);

        let read = commit::read(&record, &key).unwrap();
        assert_eq!((read.len, read.previous_mac, read.mac.as_slice()), (record.len(), previous, &record[..16]));
        assert_eq!((read.commit.number, read.commit.durable_through), (commit.number, commit.durable_through));
        assert_eq!((read.commit.physical, read.commit.mtime), (commit.physical, commit.mtime));
        assert_eq!((read.commit.handle_kind, &read.commit.handle), (commit.handle_kind, &commit.handle));
        assert_eq!(read.commit.punched, commit.punched);
        assert!(read.commit.straight == commit.straight);
        for (image, (home, bytes)) in read.commit.images.iter().zip(&images) {
            let at = image.at as usize;
            assert!(image.home == *home && record[at..at + image.len as usize] == bytes[..]);
        }
        let mut broken = record;
        broken[200] ^= 1;
        assert!(commit::read(&broken, &key).is_none());
    }
}
