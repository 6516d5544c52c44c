//! How often the sector cache hits on fixed traces, beside others: the tables of docs/cache.md, which are compared with what
//! comes out now. UPDATE_CACHE_DOC=1 writes them anew (npm run cache:doc).
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod policies;
mod traces;

use policies::{Lru, Optimal, Policy, Sectors};
use std::fmt::Write;
use traces::{Trace, BLOCKS};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cache.md");

/// Puts `table` between the comments that name it, or compares it with what is there.
fn settle(name: &str, table: &str) {
    let text = std::fs::read_to_string(DOCUMENT).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n\n"), format!("\n<!-- end of {name} -->"));
    let from = text.find(&begin).expect("the table has a place in docs/cache.md") + begin.len();
    let to = from + text[from..].find(&end).expect("the table ends in docs/cache.md");
    println!("{table}");
    if std::env::var_os("UPDATE_CACHE_DOC").is_some() {
        std::fs::write(DOCUMENT, format!("{}{table}{}", &text[..from], &text[to..])).unwrap();
    } else {
        assert_eq!(&text[from..to], table, "docs/cache.md is stale: npm run cache:doc");
    }
}

struct Came {
    lookups: u64,
    hits: u64,
}

fn run(policy: &mut dyn Policy, trace: &Trace) -> Came {
    let hits = trace.lookups.iter().filter(|lookup| policy.hits(lookup)).count() as u64;
    Came { lookups: trace.lookups.len() as u64, hits }
}

impl Came {
    fn percent(&self) -> f64 {
        self.hits as f64 * 100.0 / self.lookups as f64
    }
}

fn policies(slots: usize, trace: &Trace) -> [Box<dyn Policy>; 4] {
    [
        Box::new(Sectors::new(slots, true)),
        Box::new(Sectors::new(slots, false)),
        Box::new(Lru::new(slots)),
        Box::new(Optimal::new(slots, trace)),
    ]
}

/// One test: both tables are in one file.
#[test]
fn the_tables_of_the_document_are_what_comes_out() {
    let mut table = String::new();
    table.push_str("| lookups | cache, of the data | kmsfs | no preference for nodes | LRU | optimal |\n");
    table.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for trace in traces::mixes() {
        for share in [1, 5, 20] {
            let slots = BLOCKS as usize * share / 100;
            write!(table, "| {} | {share} % ", trace.name).unwrap();
            for mut policy in policies(slots, &trace) {
                write!(table, "| {:.1} ", run(&mut *policy, &trace).percent()).unwrap();
            }
            table.push_str("|\n");
        }
    }
    settle("hit ratios", &table);

    let trace = traces::uniform();
    let mut table = String::new();
    table.push_str("| cache for 1 TiB | of the level-1 nodes | kmsfs | no preference for nodes | LRU | optimal |\n");
    table.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for percent in [25, 50, 100, 110, 125, 150, 200] {
        let slots = traces::LEAVES as usize * percent / 100;
        write!(table, "| {} GiB | {percent} % ", percent as f64 * 8.0 / 100.0).unwrap();
        for mut policy in policies(slots, &trace) {
            let came = run(&mut *policy, &trace);
            write!(table, "| {:.2} ", (came.lookups - came.hits) as f64 / trace.reads as f64).unwrap();
        }
        table.push_str("|\n");
    }
    settle("random reads", &table);
}
