//! Of documents: their pages, counted under a metric of their own.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use metering_domain::{
    ids::{self, Namespace},
    metric::find_built_in,
    number::parse_number,
};
use metering_store::{
    StoreError,
    event::{Details, Draft, Event, Source},
    track::Tracked,
    void::{VoidOrder, Voided},
};
use rust_decimal::Decimal;

use crate::{Fault, Relay};

const DOCUMENTS: &str = "document_processing";
const PAGES: &str = "document_pages";

/// Whether an event may have pages.
pub(crate) fn is_document(event: &Event) -> bool {
    event.metric_type == DOCUMENTS && event.details.metadata.contains_key("pages")
}

/// How many pages it has, if it says so with a number that can be counted.
fn pages_of(event: &Event) -> Option<Decimal> {
    let pages = event.details.metadata.get("pages")?.as_number()?;
    let pages = parse_number(&pages.to_string()).ok()?;
    (pages >= Decimal::ZERO).then_some(pages)
}

impl Relay {
    pub(crate) async fn derive_pages(&self, documents: Vec<(usize, Event)>) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut drafts = Vec::new();
        for (index, document) in documents {
            match (pages_of(&document), document.voided) {
                (None, _) => tracing::warn!(event_id = document.id, "a document's pages are no number"),
                (Some(pages), voided) => match draft(&document, pages, self.app.context.now()) {
                    Ok(draft) => drafts.push((index, voided, draft)),
                    Err(error) => faults.push(Fault {
                        records: vec![index],
                        error,
                    }),
                },
            }
        }
        let only: Vec<Draft> = drafts.iter().map(|(_, _, draft)| draft.clone()).collect();
        let outcomes = self.app.store.track_batch(&only).await;
        for ((index, voided, draft), outcome) in drafts.into_iter().zip(outcomes) {
            let done = match outcome {
                Ok(tracked) => self.settle_pages(&draft, tracked, voided).await,
                Err(error) => Err(shared(error)),
            };
            faults.extend(done.err().map(|error| Fault {
                records: vec![index],
                error,
            }));
        }
        faults
    }

    /// What is not stored is a fault of ours; what is voided with its document goes.
    async fn settle_pages(&self, draft: &Draft, tracked: Tracked, voided: bool) -> Result<(), StoreError> {
        match tracked {
            Tracked::Recorded(..) | Tracked::Duplicate(..) => {}
            Tracked::Erased => return Ok(()),
            refused => {
                return Err(StoreError::Refused {
                    operation: "derive_pages",
                    source: format!("{refused:?}").into(),
                });
            }
        }
        if !voided {
            return Ok(());
        }
        let order = VoidOrder {
            id: draft.id.clone(),
            reason: "its document was voided".to_owned(),
            actor: "system".to_owned(),
        };
        match self.app.store.event_void(&order, self.app.context.now()).await? {
            Voided::Done { .. } => Ok(()),
            // The period was closed between the two: its statement has billed the pages, and stands.
            Voided::PeriodClosed => {
                tracing::warn!(
                    event_id = draft.id,
                    "the pages of a voided document stay, their period is closed"
                );
                Ok(())
            }
            refused => Err(StoreError::Refused {
                operation: "void_pages",
                source: format!("{refused:?}").into(),
            }),
        }
    }
}

/// An error that several drafts share.
fn shared(error: Arc<StoreError>) -> StoreError {
    let operation = "derive_pages";
    if error.retryable() {
        StoreError::Unavailable {
            operation,
            source: Some(Box::new(error)),
        }
    } else {
        StoreError::Refused {
            operation,
            source: Box::new(error),
        }
    }
}

/// The pages of a document, as an event that always has the same id.
fn draft(document: &Event, pages: Decimal, now: DateTime<Utc>) -> Result<Draft, StoreError> {
    let metric = find_built_in(PAGES).ok_or(StoreError::Refused {
        operation: "derive_pages",
        source: "there is no metric of pages".into(),
    })?;
    let subscription = document.subscription_id.as_str();
    Ok(Draft {
        id: ids::event_id(Namespace::Derived, &document.user_id, "", &document.id),
        identified: true,
        fingerprint: ids::fingerprint(PAGES, pages, None, Some(subscription)),
        user_id: document.user_id.clone(),
        subscription_id: Some(subscription.to_owned()),
        metric: metric.clone(),
        value: pages,
        mode: None,
        timestamp: document.timestamp,
        received_at: document.received_at,
        now,
        enforce: false,
        source: Source::Derived,
        hold: None,
        details: Details {
            resource_id: document.details.resource_id.clone(),
            endpoint: document.details.endpoint.clone(),
            operation: document.details.operation.clone(),
            ..Details::default()
        },
    })
}
