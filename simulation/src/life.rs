//! The life of a call: one of its own requests may end it, as if its process had died when that
//! request was on its way.

use std::{future::Future, sync::Arc};

use tokio::sync::Notify;

tokio::task_local! {
    static LIFE: Life;
}

/// A call's life.
#[derive(Debug, Clone, Default)]
pub struct Life(Arc<Notify>);

impl Life {
    /// The call, so that what it does knows whose life it may end.
    pub async fn of<T>(self, call: impl Future<Output = T>) -> T {
        LIFE.scope(self, call).await
    }

    /// Waits until the life ends before its call does; if it never does, for ever.
    pub async fn ended(&self) {
        self.0.notified().await;
    }

    /// Whether there is a life to end here: whoever sets a run up has none, nor has what a function
    /// does beside its answer.
    pub fn is_here() -> bool {
        LIFE.try_with(|_| ()).is_ok()
    }

    /// Ends the life of this call, at its next wait.
    pub fn end() {
        // Where there is none, nothing ends.
        let _ = LIFE.try_with(|life| life.0.notify_one());
    }
}
