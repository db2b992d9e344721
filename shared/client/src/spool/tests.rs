//! What the next process finds.

use std::{fs, path::Path};

use super::*;
use crate::usage::Usage;

fn record(key: &str) -> Record {
    Record::track(Usage::new("1", "api_calls", 1).keyed(key))
}

fn open(folder: &Path) -> Spool {
    Spool::open(SpoolOptions::new(folder)).expect("a spool")
}

/// The identities of everything that was not read yet.
fn keys(spool: &mut Spool) -> Vec<String> {
    let mut keys = Vec::new();
    while let Some(portion) = spool.read(2, 1 << 16).expect("it can be read") {
        for record in portion.records {
            let Record::Track { usage, .. } = record else {
                panic!("{record:?}");
            };
            keys.push(usage.idempotency_key);
        }
    }
    keys
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| segment::number(path).is_some());
    paths.sort();
    paths
}

#[test]
fn what_is_not_settled_is_there_for_the_next_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path());
    spool.append(&[record("a"), record("b"), record("c")]).expect("written");
    let first = spool.read(2, 1 << 16).expect("read").expect("records");
    spool.settle(first.segment).expect("settled");
    drop(spool);
    let mut spool = open(folder.path());
    assert_eq!(keys(&mut spool), ["a", "b", "c"]);
    spool.append(&[record("d")]).expect("written");
    assert_eq!(keys(&mut spool), ["d"]);
}

#[test]
fn a_segment_goes_when_all_of_it_is_settled() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path());
    spool.append(&[record("a"), record("b"), record("c")]).expect("written");
    let first = spool.read(2, 1 << 16).expect("read").expect("records");
    let second = spool.read(2, 1 << 16).expect("read").expect("records");
    spool.settle(second.segment).expect("settled");
    assert_eq!(segments(folder.path()).len(), 1);
    spool.settle(first.segment).expect("settled");
    assert_eq!(segments(folder.path()), Vec::<PathBuf>::new());
    spool.append(&[record("d")]).expect("written");
    assert_eq!(keys(&mut spool), ["d"]);
}

#[test]
fn a_record_that_is_cut_off_anywhere_is_passed_over_and_the_others_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path());
    spool.append(&[record("a"), record("b")]).expect("written");
    drop(spool);
    let path = segments(folder.path()).remove(0);
    let whole = fs::read(&path).expect("a file");
    let mut second = Vec::new();
    segment::encode(&record("b"), &mut second).expect("a record");
    for cut in 1..second.len() {
        fs::write(&path, &whole[..whole.len() - cut]).expect("written");
        let mut spool = open(folder.path());
        assert_eq!(keys(&mut spool), ["a"], "without the last {cut} bytes");
    }
}

#[test]
fn damage_is_kept_and_what_stands_before_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path());
    spool.append(&[record("a"), record("b"), record("c")]).expect("written");
    drop(spool);
    let path = segments(folder.path()).remove(0);
    let mut bytes = fs::read(&path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let mut spool = open(folder.path());
    let portion = spool.read(9, 1 << 16).expect("read").expect("records");
    assert_eq!(portion.records.len(), 1);
    assert_eq!(keys(&mut spool), Vec::<String>::new());
    spool.settle(portion.segment).expect("settled");
    assert_eq!(fs::read(path.with_extension("damaged")).expect("it is kept"), bytes);
}

#[test]
fn zeros_at_the_end_as_after_a_power_cut_are_no_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path());
    spool.append(&[record("a")]).expect("written");
    drop(spool);
    let path = segments(folder.path()).remove(0);
    let mut bytes = fs::read(&path).expect("a file");
    bytes.extend_from_slice(&[0; 4096]);
    fs::write(&path, bytes).expect("written");
    assert_eq!(keys(&mut open(folder.path())), ["a"]);
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = open(folder.path());
    let second = Spool::open(SpoolOptions::new(folder.path()));
    assert!(matches!(second, Err(SpoolError::InUse(_))), "{second:?}");
    drop(first);
    open(folder.path());
}

#[test]
fn more_than_it_may_hold_is_refused_until_something_is_settled() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = SpoolOptions::new(folder.path());
    let mut bytes = Vec::new();
    segment::encode(&record("a"), &mut bytes).expect("a record");
    options.bytes_max = bytes.len() as u64 * 3;
    let mut spool = Spool::open(options).expect("a spool");
    spool.append(&[record("a"), record("b")]).expect("written");
    let refused = spool.append(&[record("c"), record("d")]);
    assert!(matches!(refused, Err(WriteError::Full)), "{refused:?}");
    let portion = spool.read(9, 1 << 16).expect("read").expect("records");
    spool.settle(portion.segment).expect("settled");
    spool.append(&[record("c"), record("d")]).expect("written");
}

#[test]
fn segments_are_begun_anew_and_read_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = SpoolOptions::new(folder.path());
    options.sync = Sync::Never;
    let mut spool = Spool::open(options).expect("a spool");
    let written: Vec<String> = (0..12_000).map(|number| format!("{number:05}")).collect();
    for part in written.chunks(500) {
        let records: Vec<Record> = part.iter().map(|key| record(key)).collect();
        spool.append(&records).expect("written");
    }
    assert!(segments(folder.path()).len() > 1);
    assert_eq!(keys(&mut spool), written);
}
