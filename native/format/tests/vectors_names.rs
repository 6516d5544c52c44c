//! Sections 4, 6, 7 and 8 of docs/format-vectors.json: records, names, symlink targets, xattrs.
#![allow(clippy::unwrap_used)]

use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_format::{names, record};
use record::{Device, Kind, Owner, Record};
use serde_json::Value;

fn unhex(v: &Value) -> Vec<u8> {
    let s = v.as_str().unwrap();
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

fn id(v: &Value) -> [u8; 16] {
    unhex(v).try_into().unwrap()
}

fn vectors() -> (Value, DomainKeys) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format-vectors.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut key: [u8; 32] = unhex(&all["volume"]["domainKey"]).try_into().unwrap();
    let keys = DomainKeys::derive(&id(&all["volume"]["uuidBytes"]), &Secret::take(&mut key)).unwrap();
    (all, keys)
}

fn owner(v: &Value) -> Owner {
    let n = |name: &str| v[name].as_u64().unwrap();
    Owner { mode: n("mode") as u16, uid: n("uid") as u32, gid: n("gid") as u32 }
}

fn kind(v: &Value) -> Kind {
    match v.as_str().unwrap() {
        "file" => Kind::File,
        "directory" => Kind::Directory,
        "symlink" => Kind::Symlink,
        "fifo" => Kind::Fifo,
        "socket" => Kind::Socket,
        "chardev" => Kind::CharDevice,
        "blockdev" => Kind::BlockDevice,
        other => unreachable!("type {other}"),
    }
}

#[test]
fn records_encode_and_decode_as_the_vectors_say() {
    let (all, keys) = vectors();
    for case in all["records"]["cases"].as_array().unwrap() {
        let device = &case["device"];
        let number = |name: &str| device[name].as_u64().unwrap_or(0) as u32;
        let device = Device { major: number("major"), minor: number("minor") };
        let mut r = Record::new(kind(&case["type"]), id(&case["id"]), owner(&case["attributes"]), device);
        r.growing = case["growing"].as_bool().unwrap();
        r.old = Some(&case["oldAttributes"]).filter(|v| !v.is_null()).map(owner);
        r.acl = Some(&case["aclHash"]).filter(|v| !v.is_null()).map(id);
        r.old_acl = Some(&case["oldAclHash"]).filter(|v| !v.is_null()).map(id);
        for b in case["bindings"].as_array().unwrap() {
            r.bindings.push(record::binding(&keys, &id(&b["parentId"]), b["storedText"].as_str().unwrap().as_bytes()));
        }
        let bytes = unhex(&case["record"]);
        assert_eq!(r.encode(&keys), bytes);
        assert_eq!(Record::decode(&keys, &bytes), Ok(r));
    }
    for case in all["aclHashes"]["cases"].as_array().unwrap() {
        let acl = |name: &str| Some(&case[name]).filter(|v| !v.is_null()).map(unhex);
        assert_eq!(record::acl_hash(acl("access").as_deref(), acl("default").as_deref()), id(&case["hash"]));
    }
}

#[test]
fn names_seal_and_open_as_the_vectors_say() {
    let (all, keys) = vectors();
    let dir = id(&all["names"]["directoryId"]);
    for case in all["names"]["cases"].as_array().unwrap() {
        let (name, sealed) = (unhex(&case["name"]), unhex(&case["sealed"]));
        let stored = names::seal_name(&keys, &dir, &name).unwrap();
        assert_eq!(Some(stored.stored.as_str()), case["storedText"].as_str());
        assert_eq!(stored.sidecar_name().as_deref(), case["sidecarText"].as_str());
        if let Some(aside) = &stored.sidecar {
            assert_eq!(*aside, sealed);
        }
        let back = names::open_name(&keys, &dir, stored.stored.as_bytes(), stored.sidecar.as_deref());
        assert_eq!(back, Ok(name));
    }
}

#[test]
fn symlink_targets_open_as_the_vectors_say() {
    let (all, keys) = vectors();
    let inode = id(&all["symlinks"]["inodeId"]);
    for case in all["symlinks"]["cases"].as_array().unwrap() {
        let stored = case["storedText"].as_str().unwrap().as_bytes();
        let sealed = unhex(&case["sealed"]);
        let aside = names::target_is_aside(stored).then_some(sealed.as_slice());
        assert_eq!(names::open_target(&keys, &inode, stored, aside), Ok(unhex(&case["target"])));
    }
}

#[test]
fn xattrs_seal_and_open_as_the_vectors_say() {
    let (all, keys) = vectors();
    let inode = id(&all["xattrs"]["inodeId"]);
    for case in all["xattrs"]["cases"].as_array().unwrap() {
        let name = case["nameText"].as_str().unwrap().as_bytes();
        let sealed = names::seal_xattr_name(&keys, &inode, name).unwrap();
        let prefix = case["prefixText"].as_str().unwrap();
        assert_eq!(Some(format!("{prefix}{sealed}").as_str()), case["storedNameText"].as_str());
        assert_eq!(names::open_xattr_name(&keys, &inode, sealed.as_bytes()).as_deref(), Ok(name));
        let value = names::open_xattr_value(&keys, &inode, name, &unhex(&case["storedValue"]));
        assert_eq!(value, Ok(unhex(&case["value"])));
    }
}
