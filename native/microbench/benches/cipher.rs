//! Sealing and opening: blocks, names.

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};
use kmsfs_format::block::{block_aad, AeadKey};
use kmsfs_format::keys::Secret;
use kmsfs_format::names::{open_name, seal_name};
use kmsfs_microbench::keys;
use kmsfs_random::Random;
use std::hint::black_box;

fn blocks(c: &mut Criterion) {
    let key = AeadKey::new(&Secret::take(&mut [7; 32])).expect("a key");
    let aad = block_aad(0, 3);
    let mut group = c.benchmark_group("cipher");
    for size in [4096usize, 16384, 65536] {
        group.throughput(Throughput::Bytes(size as u64));
        let mut data = Random::new(1).bytes(size);
        group.bench_function(BenchmarkId::new("seal", size), |b| {
            b.iter(|| key.seal_with([1; 12], &aad, black_box(&mut data)).expect("sealed"))
        });
        let tag = key.seal_with([1; 12], &aad, &mut data).expect("sealed");
        let mut plain = vec![0; size];
        group.bench_function(BenchmarkId::new("open", size), |b| {
            b.iter(|| key.open([1; 12], &aad, black_box(&data), &tag, &mut plain).expect("authentic"))
        });
    }
}

fn names(c: &mut Criterion) {
    let (keys, dir) = (keys(), [3; 16]);
    let stored = seal_name(&keys, &dir, b"invoice-2026-11.pdf").expect("sealed").stored;
    let mut group = c.benchmark_group("names");
    group.bench_function("seal", |b| b.iter(|| seal_name(&keys, &dir, black_box(b"invoice-2026-11.pdf"))));
    group.bench_function("open", |b| b.iter(|| open_name(&keys, &dir, black_box(stored.as_bytes()), None)));
}

criterion_group!(benches, blocks, names);
criterion_main!(benches);
