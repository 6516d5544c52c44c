//! The file layer over a store in memory: the tree, the sector cache, the log.

use criterion::{criterion_group, criterion_main, BatchSize, Criterion, Throughput};
use kmsfs_files::memory::MemoryStore;
use kmsfs_microbench::{file, filled, open};
use kmsfs_random::Random;
use std::sync::Arc;

const BLOCK: usize = 4096;
const MIB: u64 = 64;

/// Random blocks of a file that is 64 times as large as the cache: nodes and blocks from the store.
fn tree(c: &mut Criterion) {
    let (store, id) = filled(MIB);
    let files = open(store.clone(), 1 << 20, false);
    let (file, mut random, mut buf) = (file(&files, &store, id), Random::new(1), vec![0; BLOCK]);
    let mut group = c.benchmark_group("tree");
    group.throughput(Throughput::Bytes(BLOCK as u64));
    group.bench_function("read 4 KiB, cold", |b| {
        b.iter(|| file.read(random.below(MIB << 8) * BLOCK as u64, &mut buf).expect("read"))
    });
    let mut large = vec![0; 1 << 20];
    group.throughput(Throughput::Bytes(1 << 20));
    group.bench_function("read 1 MiB, cold", |b| {
        b.iter(|| file.read(random.below(MIB) << 20, &mut large).expect("read"))
    });
    group.finish();
}

/// The same file, all of it in the cache.
fn cache(c: &mut Criterion) {
    let (store, id) = filled(MIB);
    let files = open(store.clone(), 128 << 20, false);
    let (file, mut random, mut buf) = (file(&files, &store, id), Random::new(1), vec![0; BLOCK]);
    for n in 0..MIB << 8 {
        file.read(n * BLOCK as u64, &mut buf).expect("read");
    }
    let mut group = c.benchmark_group("cache");
    group.throughput(Throughput::Bytes(BLOCK as u64));
    group.bench_function("read 4 KiB, cached", |b| {
        b.iter(|| file.read(random.below(MIB << 8) * BLOCK as u64, &mut buf).expect("read"))
    });
    group.finish();
}

fn log(c: &mut Criterion) {
    let (store, id) = filled(MIB);
    let files = open(store.clone(), 16 << 20, false);
    let (file, mut random) = (file(&files, &store, id), Random::new(1));
    let data = random.bytes(1 << 20);
    let mut group = c.benchmark_group("log");
    group.throughput(Throughput::Bytes(BLOCK as u64));
    group.bench_function("write 4 KiB and commit", |b| {
        b.iter(|| {
            file.write(random.below(MIB << 8) * BLOCK as u64, &data[..BLOCK]).expect("write");
            file.commit().expect("commit");
        })
    });
    group.bench_function("write 4 KiB and sync", |b| {
        b.iter(|| {
            file.write(random.below(MIB << 8) * BLOCK as u64, &data[..BLOCK]).expect("write");
            file.sync(true).expect("sync");
        })
    });
    group.throughput(Throughput::Bytes(1 << 20));
    group.bench_function("rewrite 1 MiB and commit", |b| {
        b.iter(|| {
            file.write(random.below(MIB) << 20, &data).expect("write");
            file.commit().expect("commit");
        })
    });
    group.finish();
}

/// Opening a volume whose log holds 1000 commits that are not home: what a mount after a crash does.
fn recovery(c: &mut Criterion) {
    let store = Arc::new(MemoryStore::default());
    let files = open(store.clone(), 1 << 20, true);
    let (file, mut random) = (file(&files, &store, [1; 16]), Random::new(1));
    let data = random.bytes(BLOCK);
    for _ in 0..1000 {
        file.write(random.below(1 << 10) * BLOCK as u64, &data).expect("write");
        file.commit().expect("commit");
    }
    let mut group = c.benchmark_group("recovery");
    group.sample_size(10);
    group.bench_function("open after 1000 commits", |b| {
        b.iter_batched(|| Arc::new(store.snapshot()), |left| open(left, 1 << 20, false), BatchSize::PerIteration)
    });
    group.finish();
}

criterion_group!(benches, tree, cache, log, recovery);
criterion_main!(benches);
