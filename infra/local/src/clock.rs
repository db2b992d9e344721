//! The stack's clock: the machine's clock moved by an offset, which outlives a restart.
//!
//! It ticks on from wherever it is set, so that time between two requests passes as it does in
//! production. Only instants move: waiting (`sleep`) takes as long as it takes. Who waits for an
//! instant watches for moves beside.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, NaiveDateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use metering_store::context::{Sleep, Source, System};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The years that a clock may show: those that an RFC 3339 instant can name.
const YEAR_MAX: i32 = 9999;
const YEAR_MIN: i32 = 1970;

/// A handle to the stack's clock; clones move together.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    offset_ms: AtomicI64,
    /// Held while the clock is moved, so that what is stored is what is shown.
    moving: Mutex<()>,
    /// What it showed right after it was moved last, or opened.
    moves: watch::Sender<DateTime<Utc>>,
}

/// What is kept over a restart.
#[derive(Serialize, Deserialize)]
struct Stored {
    offset_ms: i64,
}

/// Why a clock cannot be read or moved.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// Outside the years it can show.
    #[error("the clock shows instants from the year {YEAR_MIN} to {YEAR_MAX}")]
    OutOfRange,
    /// The file that keeps it.
    #[error("the clock cannot be kept in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Clock {
    /// The clock kept in `file`; the machine's clock if there is none yet.
    pub fn open(file: &Path) -> Result<Self, ClockError> {
        let offset_ms = match fs::read(file) {
            Ok(bytes) => {
                serde_json::from_slice::<Stored>(&bytes)
                    .map_err(|error| failed(file, error.into()))?
                    .offset_ms
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed(file, error)),
        };
        let shown = System.now() + TimeDelta::milliseconds(offset_ms);
        Ok(Self(Arc::new(Inner {
            file: file.to_owned(),
            offset_ms: AtomicI64::new(offset_ms),
            moving: Mutex::new(()),
            moves: watch::Sender::new(shown),
        })))
    }

    /// Sets the clock; none is the machine's time. It ticks on from there.
    pub fn set(&self, instant: Option<DateTime<Utc>>) -> Result<(), ClockError> {
        let _moving = self.0.moving.lock().unwrap_or_else(PoisonError::into_inner);
        self.keep(match instant {
            Some(instant) => in_range(instant)? - System.now(),
            None => TimeDelta::zero(),
        })
    }

    /// Moves the clock by so much, forward or back.
    pub fn advance(&self, by: TimeDelta) -> Result<(), ClockError> {
        let _moving = self.0.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let target = self.now().checked_add_signed(by).ok_or(ClockError::OutOfRange)?;
        in_range(target)?;
        self.keep(self.offset() + by)
    }

    /// Changes with every move, to what the clock showed right after it: whoever waits for an
    /// instant looks again then.
    pub(crate) fn moves(&self) -> watch::Receiver<DateTime<Utc>> {
        self.0.moves.subscribe()
    }

    /// Waits until the clock shows `instant`, if nobody moves it meanwhile; for ever if there is
    /// none.
    pub(crate) async fn reach(&self, instant: Option<DateTime<Utc>>) {
        let Some(instant) = instant else {
            return std::future::pending().await;
        };
        // A timer may fire a little early.
        while let Ok(left) = (instant - self.now()).to_std()
            && !left.is_zero()
        {
            self.sleep(left).await;
        }
    }

    /// What the clock shows, as it is set now, when the machine shows `instant`.
    pub(crate) fn shown_at(&self, instant: DateTime<Utc>) -> DateTime<Utc> {
        instant.checked_add_signed(self.offset()).unwrap_or(instant)
    }

    fn offset(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.0.offset_ms.load(Ordering::Acquire))
    }

    /// Stores the offset, then shows it: a clock that was seen moved is moved after a restart.
    /// Rounded up, so that a clock set to the start of a period never shows the one before.
    fn keep(&self, offset: TimeDelta) -> Result<(), ClockError> {
        let mut offset_ms = offset.num_milliseconds();
        if TimeDelta::milliseconds(offset_ms) < offset {
            offset_ms += 1;
        }
        let file = &self.0.file;
        let text = serde_json::to_vec(&Stored { offset_ms });
        let text = text.map_err(|error| failed(file, error.into()))?;
        let fresh = file.with_extension("new");
        fs::write(&fresh, text).map_err(|error| failed(&fresh, error))?;
        fs::rename(&fresh, file).map_err(|error| failed(file, error))?;
        self.0.offset_ms.store(offset_ms, Ordering::Release);
        self.0.moves.send_replace(self.now());
        Ok(())
    }
}

impl Source for Clock {
    fn now(&self) -> DateTime<Utc> {
        System.now() + self.offset()
    }

    fn random(&self) -> u128 {
        System.random()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        System.sleep(duration)
    }
}

fn in_range(instant: DateTime<Utc>) -> Result<DateTime<Utc>, ClockError> {
    use chrono::Datelike as _;
    match (YEAR_MIN..=YEAR_MAX).contains(&instant.year()) {
        true => Ok(instant),
        false => Err(ClockError::OutOfRange),
    }
}

fn failed(path: &Path, source: io::Error) -> ClockError {
    let path = path.to_owned();
    ClockError::File { path, source }
}

/// An instant as requests write it: with any offset, or none for UTC.
pub fn read_instant(text: &str) -> Option<DateTime<Utc>> {
    let with_offset = DateTime::parse_from_rfc3339(text).map(|instant| instant.to_utc());
    with_offset
        .or_else(|_| text.parse::<NaiveDateTime>().map(|instant| instant.and_utc()))
        .ok()
}

/// An instant as answers write it: in UTC, with milliseconds if there are any.
pub fn write_instant(instant: DateTime<Utc>) -> String {
    instant.trunc_subsecs(3).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> (tempfile::TempDir, Clock) {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::open(&dir.path().join("clock.json")).expect("a clock");
        (dir, clock)
    }

    fn instant(text: &str) -> DateTime<Utc> {
        read_instant(text).expect("an instant")
    }

    fn assert_close(clock: &Clock, expected: DateTime<Utc>) {
        let apart = (clock.now() - expected).abs();
        assert!(apart < TimeDelta::seconds(10), "{} is not {expected}", clock.now());
    }

    #[test]
    fn it_shows_the_machines_time_until_it_is_moved() {
        let (_dir, clock) = clock();
        assert_close(&clock, System.now());
    }

    #[test]
    fn it_ticks_on_from_where_it_is_set_and_back() {
        let (_dir, clock) = clock();
        let start = instant("2014-04-25T00:00:00Z");
        clock.set(Some(start)).expect("set");
        assert!(clock.now() >= start);
        assert_close(&clock, start);
        clock.advance(TimeDelta::days(90)).expect("advanced");
        assert_close(&clock, start + TimeDelta::days(90));
        clock.advance(TimeDelta::days(-90)).expect("moved back");
        assert_close(&clock, start);
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.now() > before);
        clock.set(None).expect("reset");
        assert_close(&clock, System.now());
    }

    #[test]
    fn a_clone_and_a_restart_show_the_same() {
        let (dir, clock) = clock();
        let other = clock.clone();
        let start = instant("2030-01-01T00:00:00Z");
        clock.set(Some(start)).expect("set");
        assert_close(&other, start);
        let again = Clock::open(&dir.path().join("clock.json")).expect("a clock");
        assert_close(&again, start);
    }

    #[test]
    fn it_refuses_what_it_cannot_show_and_stays() {
        let (_dir, clock) = clock();
        let before = clock.now();
        for moved in [
            clock.set(Some(DateTime::<Utc>::MAX_UTC)),
            clock.set(Some(DateTime::<Utc>::MIN_UTC)),
            clock.advance(TimeDelta::MAX),
            clock.advance(TimeDelta::days(-365 * 100)),
        ] {
            assert!(matches!(moved, Err(ClockError::OutOfRange)));
        }
        assert_close(&clock, before);
    }

    #[test]
    fn instants_are_read_and_written_as_in_the_contract() {
        for (text, expected) in [
            ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
            ("2026-01-31T10:00:00+02:00", "2026-01-31T08:00:00Z"),
            ("2026-01-31T10:00:00", "2026-01-31T10:00:00Z"),
            ("2026-01-31T10:00:00.5Z", "2026-01-31T10:00:00.500Z"),
            ("2026-01-31T10:00:00.123456Z", "2026-01-31T10:00:00.123Z"),
            ("2026-01-31T10:00:00.000456Z", "2026-01-31T10:00:00Z"),
        ] {
            assert_eq!(write_instant(instant(text)), expected);
        }
        for text in ["", "today", "2026-13-01T00:00:00Z", "1398384000"] {
            assert_eq!(read_instant(text), None, "{text}");
        }
    }
}
