//! What the sender carries: the unit that is handed over, spooled and settled.

use serde::{Deserialize, Serialize};

use crate::{api::Commit, usage::Usage};

/// One thing to tell the service. Telling it twice is telling it once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    /// Something was used.
    Track {
        /// What.
        usage: Box<Usage>,
        /// It was admitted by the local allowance, which gets it back when this is settled.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        local: bool,
    },
    /// A hold has come to use.
    Commit {
        /// The reservation.
        id: String,
        /// What was used.
        used: Box<Commit>,
        /// The same as an event, in case the hold has expired by now.
        usage: Box<Usage>,
    },
    /// A hold is not needed.
    Release {
        /// The reservation.
        id: String,
    },
}

impl Record {
    /// An event that nobody admitted.
    pub(crate) fn track(usage: Usage) -> Self {
        Self::Track {
            usage: Box::new(usage),
            local: false,
        }
    }
}
