//! The buckets: an S3 for one machine, which keeps its objects in a file and reads the stack's
//! clock.
//!
//! The protocol and its signatures are the library's (`s3s`); where objects are kept is here, since
//! the library's own store takes the times of files for those of objects. Offered is what functions
//! need: objects put, read, listed and deleted whole, by signed requests and signed links. An
//! object is there from the moment its putting is acknowledged until it is deleted, or has expired
//! by the template's rules. Deliberately absent: buckets made by request, versions, uploads in
//! parts, access lists.

mod access;
mod protocol;
mod signed;
mod store;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, SubsecRound as _, Utc};
use metering_store::context::Source as _;

use crate::{clock::Clock, template::Bucket};

pub use protocol::router;
pub use store::{About, BucketError, Object};

use store::Store;

/// The buckets; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Buckets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Mutex<Store>,
    buckets: BTreeMap<String, Bucket>,
    clock: Clock,
}

impl Buckets {
    /// Opens the buckets kept in `file`.
    pub fn open(file: &Path, buckets: &[Bucket], clock: &Clock) -> Result<Self, BucketError> {
        let named = buckets.iter().map(|bucket| (bucket.name.clone(), bucket.clone()));
        let opened = Self(Arc::new(Inner {
            store: Mutex::new(Store::open(file)?),
            buckets: named.collect(),
            clock: clock.clone(),
        }));
        opened.expire()?;
        Ok(opened)
    }

    /// The buckets by name.
    pub fn all(&self) -> impl Iterator<Item = &Bucket> {
        self.0.buckets.values()
    }

    /// The bucket of a name.
    pub fn find(&self, name: &str) -> Option<&Bucket> {
        self.0.buckets.get(name)
    }

    /// What the clock shows.
    pub fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    /// Keeps an object whole, in place of what had its key; `only_new` leaves what is there, and
    /// says false.
    pub fn put(
        &self,
        bucket: &Bucket,
        key: &str,
        about: &About,
        body: &[u8],
        only_new: bool,
    ) -> Result<bool, BucketError> {
        let mut store = self.store();
        let now = self.now();
        if only_new && present(bucket, store.head(&bucket.name, key)?, now).is_some() {
            return Ok(false);
        }
        store.put(&bucket.name, key, about, body, now.trunc_subsecs(3))?;
        Ok(true)
    }

    /// What is known of an object, if it is there.
    pub fn head(&self, bucket: &Bucket, key: &str) -> Result<Option<Object>, BucketError> {
        Ok(present(bucket, self.store().head(&bucket.name, key)?, self.now()))
    }

    /// An object with what it holds, if it is there.
    pub fn get(&self, bucket: &Bucket, key: &str) -> Result<Option<(Object, Vec<u8>)>, BucketError> {
        let Some((object, body)) = self.store().get(&bucket.name, key)? else {
            return Ok(None);
        };
        Ok(present(bucket, Some(object), self.now()).map(|object| (object, body)))
    }

    /// Deletes an object, or nothing if there is none.
    pub fn delete(&self, bucket: &Bucket, key: &str) -> Result<(), BucketError> {
        self.store().delete(&bucket.name, key)
    }

    /// The objects whose keys begin with `prefix` and come after `after`, by key, as long as
    /// `take` says that it has room for one more.
    pub fn list(
        &self,
        bucket: &Bucket,
        prefix: &str,
        after: &str,
        mut take: impl FnMut(Object) -> bool,
    ) -> Result<(), BucketError> {
        let now = self.now();
        self.store().list(&bucket.name, prefix, after, |object| {
            present(bucket, Some(object), now).is_none_or(&mut take)
        })
    }

    /// Deletes what has expired; says how many objects that was.
    pub fn expire(&self) -> Result<usize, BucketError> {
        let mut deleted = 0;
        for bucket in self.all() {
            let now = self.now();
            let mut expired = Vec::new();
            let store = self.store();
            store.list(&bucket.name, "", "", |object| {
                if bucket
                    .expires_at(&object.key, object.created)
                    .is_some_and(|at| at <= now)
                {
                    expired.push(object.key);
                }
                true
            })?;
            for key in &expired {
                store.delete(&bucket.name, key)?;
            }
            deleted += expired.len();
        }
        Ok(deleted)
    }

    /// A poisoned lock is usable: whatever panicked left its statement behind, undone.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An object, unless it has expired.
fn present(bucket: &Bucket, object: Option<Object>, now: DateTime<Utc>) -> Option<Object> {
    object.filter(|object| bucket.expires_at(&object.key, object.created).is_none_or(|at| at > now))
}

#[cfg(test)]
mod tests;
