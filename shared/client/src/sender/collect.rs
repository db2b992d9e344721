//! From the queue to batches: in memory, or by way of the spool.

use std::{
    io,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{Handed, SendError, Shared, ship};
use crate::{
    clock,
    record::Record,
    spool::{Portion, Spool, WriteError},
};

/// How long what nobody waits for may wait for company before it is written to the spool.
const LINGER: Duration = Duration::from_millis(2);
/// How many are written to the spool at once.
const GROUP_MAX: usize = 512;
/// A disk that did not work is tried again after this.
const DISK_PAUSE: Duration = Duration::from_secs(1);

/// What was taken out of the queue.
#[derive(Default)]
struct Taken {
    records: Vec<Record>,
    /// Who waits for which record.
    waiting: Vec<(Record, oneshot::Sender<Result<(), SendError>>)>,
    flushes: Vec<oneshot::Sender<()>>,
    /// Someone waits for some of it.
    is_urgent: bool,
}

impl Taken {
    /// Makes records of what was handed over; what can never be told ends here.
    fn add(&mut self, handed: Handed, shared: &Shared) {
        if matches!(handed, Handed::Urgent(_) | Handed::Awaited(..) | Handed::Flush(_)) {
            shared.urgent.fetch_sub(1, Ordering::AcqRel);
            self.is_urgent = true;
        }
        match handed {
            Handed::One(record) | Handed::Urgent(record) => self.records.push(*record),
            Handed::Awaited(record, said) => self.waiting.push((*record, said)),
            Handed::Flush(said) => self.flushes.push(said),
            Handed::Finished(finished) => {
                let records = finished.records();
                shared.counters.handed(records.len() as u64);
                shared.counters.settled(1);
                for record in records {
                    match ship::fault(&record) {
                        Some(fault) => ship::bury(shared, &record, "invalid", &fault),
                        None => self.records.push(record),
                    }
                }
            }
        }
    }
}

/// Batches straight from the queue.
pub(super) async fn in_memory(mut handed: mpsc::Receiver<Handed>, shared: Arc<Shared>) {
    let mut under_way = JoinSet::new();
    let mut received = Vec::new();
    while let Some(taken) = take(&mut handed, &mut received, shared.options.batch_age_max, &shared).await {
        for records in portions(taken.records, &shared) {
            make_room(&mut under_way, &shared).await;
            let shared = Arc::clone(&shared);
            under_way.spawn(async move { ship::ship(&shared, records).await });
        }
        if !taken.flushes.is_empty() {
            while under_way.join_next().await.is_some() {}
            say(taken.flushes);
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// Says that everything is told, to whoever still waits.
fn say(flushes: Vec<oneshot::Sender<()>>) {
    for said in flushes {
        let _ = said.send(());
    }
}

/// Waits for something, then a moment for more; none is the end.
async fn take(
    handed: &mut mpsc::Receiver<Handed>,
    received: &mut Vec<Handed>,
    moment: Duration,
    shared: &Shared,
) -> Option<Taken> {
    let mut taken = Taken::default();
    taken.add(handed.recv().await?, shared);
    let is_full = handed.len() >= shared.options.batch_events_max;
    if !is_full && !taken.is_urgent && shared.urgent.load(Ordering::Acquire) <= 0 {
        tokio::select! {
            () = clock::wait(moment) => {}
            () = shared.hurry.notified() => {}
        }
    }
    let room = shared.options.batch_events_max.max(GROUP_MAX);
    while taken.records.len() + taken.waiting.len() < room && !handed.is_empty() {
        handed.recv_many(received, room).await;
        received.drain(..).for_each(|one| taken.add(one, shared));
    }
    Some(taken)
}

/// Parts that may be sent as one.
fn portions(records: Vec<Record>, shared: &Shared) -> Vec<Vec<Record>> {
    let (mut portions, mut bytes) = (Vec::<Vec<Record>>::new(), 0);
    for record in records {
        let size = ship::size(&record);
        let full = |portion: &Vec<Record>| {
            portion.len() >= shared.options.batch_events_max || bytes + size > shared.options.batch_bytes_max
        };
        match portions.last_mut() {
            Some(portion) if !full(portion) => portion.push(record),
            _ => {
                portions.push(vec![record]);
                bytes = 0;
            }
        }
        bytes += size;
    }
    portions
}

async fn make_room<T: 'static>(under_way: &mut JoinSet<T>, shared: &Shared) {
    while under_way.len() >= shared.options.in_flight_max.max(1) {
        under_way.join_next().await;
    }
}

/// From the queue to the spool, and from the spool to the service.
pub(super) fn spooled(handed: mpsc::Receiver<Handed>, shared: Arc<Shared>) {
    let (written, flushes) = mpsc::unbounded_channel();
    tokio::spawn(write(handed, written, Arc::clone(&shared)));
    tokio::spawn(tell(flushes, shared));
}

/// What the writer says to the teller.
enum Written {
    /// There is more.
    More,
    /// There is more, and a quota is kept from others until it is told.
    Urgent,
    /// Someone waits for all of it.
    Flush(oneshot::Sender<()>),
}

async fn write(mut handed: mpsc::Receiver<Handed>, written: mpsc::UnboundedSender<Written>, shared: Arc<Shared>) {
    let mut received = Vec::new();
    while let Some(taken) = take(&mut handed, &mut received, LINGER, &shared).await {
        let (awaited, said): (Vec<_>, Vec<_>) = taken.waiting.into_iter().unzip();
        write_awaited(&shared, awaited, said).await;
        let is_urgent = taken
            .records
            .iter()
            .any(|record| !matches!(record, Record::Track { .. }));
        write_until_done(&shared, taken.records).await;
        let mut tidings: Vec<Written> = taken.flushes.into_iter().map(Written::Flush).collect();
        if is_urgent && !shared.urgent_news.swap(true, Ordering::AcqRel) {
            tidings.push(Written::Urgent);
        } else if !is_urgent && !shared.news.swap(true, Ordering::AcqRel) {
            tidings.push(Written::More);
        }
        // Nobody hears only if the runtime ends.
        tidings.into_iter().for_each(|tiding| drop(written.send(tiding)));
    }
}

/// Writes what someone waits for, and says how it went.
async fn write_awaited(shared: &Arc<Shared>, records: Vec<Record>, said: Vec<oneshot::Sender<Result<(), SendError>>>) {
    let number = records.len() as u64;
    let failure = append(shared, records).await.err().map(|(_, error)| error);
    if failure.is_some() {
        shared.counters.settled(number);
        shared.counters.refused(number);
    }
    for said in said {
        let answer = match &failure {
            None => Ok(()),
            Some(Failure::Full) => Err(SendError::SpoolFull),
            Some(Failure::Io(error)) => Err(SendError::Spool(Arc::clone(error))),
        };
        drop(said.send(answer));
    }
}

/// Writes what nobody waits for, as soon as the disk lets it. Meanwhile the queue fills.
async fn write_until_done(shared: &Arc<Shared>, mut records: Vec<Record>) {
    loop {
        records = match append(shared, records).await {
            Ok(()) => return,
            Err((records, failure)) => {
                tracing::error!(
                    ?failure,
                    records = records.len(),
                    "the spool cannot be written; it is tried again"
                );
                records
            }
        };
        clock::wait(DISK_PAUSE).await;
    }
}

#[derive(Debug)]
enum Failure {
    Full,
    Io(Arc<io::Error>),
}

async fn append(shared: &Arc<Shared>, records: Vec<Record>) -> Result<(), (Vec<Record>, Failure)> {
    if records.is_empty() {
        return Ok(());
    }
    let shared = Arc::clone(shared);
    let appended = tokio::task::spawn_blocking(move || {
        let written = spool(&shared).map_or(Ok(()), |mut spool| spool.append(&records));
        match written {
            Ok(()) => Ok(()),
            Err(WriteError::Full) => Err((records, Failure::Full)),
            Err(WriteError::Io(error)) => Err((records, Failure::Io(Arc::new(error)))),
        }
    });
    // Only the end of the runtime ends it earlier.
    appended.await.unwrap_or(Ok(()))
}

/// The spool, if there is one. A panic while it was held leaves it as its files say.
fn spool(shared: &Shared) -> Option<MutexGuard<'_, Spool>> {
    let spool = shared.spool.as_ref()?;
    Some(spool.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Batches from the spool, what an earlier process left first.
async fn tell(mut written: mpsc::UnboundedReceiver<Written>, shared: Arc<Shared>) {
    let mut under_way = JoinSet::new();
    let mut earlier = true;
    loop {
        let mut flushes = Vec::new();
        if !earlier {
            match written.recv().await {
                None => break,
                Some(Written::Flush(flush)) => flushes.push(flush),
                Some(Written::Urgent) => {}
                Some(Written::More) => await_company(&mut written, &mut flushes, shared.options.batch_age_max).await,
            }
        }
        shared.news.store(false, Ordering::Release);
        shared.urgent_news.store(false, Ordering::Release);
        let end = spool(&shared).map_or((0, 0), |spool| spool.end());
        while let Some(portion) = read(&shared).await {
            if earlier {
                shared.counters.handed(portion.records.len() as u64);
            }
            make_room(&mut under_way, &shared).await;
            under_way.spawn(tell_portion(Arc::clone(&shared), portion));
            if spool(&shared).is_none_or(|spool| spool.has_read(end)) {
                break;
            }
        }
        earlier = false;
        if !flushes.is_empty() {
            while under_way.join_next().await.is_some() {}
            say(flushes);
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// Waits until a batch may be full, its first record is old enough, or someone waits.
async fn await_company(
    written: &mut mpsc::UnboundedReceiver<Written>,
    flushes: &mut Vec<oneshot::Sender<()>>,
    age_max: Duration,
) {
    let old = clock::wait(age_max);
    tokio::pin!(old);
    loop {
        tokio::select! {
            () = &mut old => return,
            more = written.recv() => match more {
                Some(Written::More) => {}
                Some(Written::Flush(flush)) => {
                    flushes.push(flush);
                    return;
                }
                Some(Written::Urgent) | None => return,
            },
        }
    }
}

async fn read(shared: &Arc<Shared>) -> Option<Portion> {
    let shared = Arc::clone(shared);
    let reading = tokio::task::spawn_blocking(move || {
        let (records, bytes) = (shared.options.batch_events_max, shared.options.batch_bytes_max);
        spool(&shared)?.read(records, bytes).unwrap_or_else(|error| {
            tracing::error!(%error, "the spool cannot be read; it is tried again with what comes next");
            None
        })
    });
    reading.await.ok().flatten()
}

async fn tell_portion(shared: Arc<Shared>, portion: Portion) {
    ship::ship(&shared, portion.records).await;
    let settled = tokio::task::spawn_blocking(move || spool(&shared).map(|mut spool| spool.settle(portion.segment)));
    if let Ok(Some(Err(error))) = settled.await {
        tracing::error!(%error, "a segment of the spool cannot be deleted; it will be told again");
    }
}
