//! Usage from the queue: `CloudEvents` or track bodies, one or many in a message, unenforced, since
//! the work has happened.
//!
//! Delivered twice: identities find what the first delivery stored; without a key the message's id
//! and the position in it are the identity. Dies half-way: the messages come again. What can never
//! be counted goes to the dead-letter queue with its reasons, the rest of its message counts. What
//! names an erased user goes nowhere.

mod dead_letter;
mod message;

use std::sync::Arc;

use metering_edge::{
    App,
    config::ConfigError,
    lambda::Invoke,
    problem::{Code, Problem},
    queue::{self, Message},
    usage_message::{self, Left},
    verdict::refusal,
};
use metering_store::{StoreError, event::Draft};
use serde_json::Value;

use crate::{
    dead_letter::{DeadLetters, Fault},
    message::{Element, Received, open},
};

/// The function.
pub fn handler(app: Arc<App>) -> Result<Invoke, ConfigError> {
    let url = app.config.usage_events_dead_letters_url()?;
    let letters = Arc::new(DeadLetters::new(app.sqs.clone(), url));
    Ok(Arc::new(move |event| {
        let (app, letters) = (Arc::clone(&app), Arc::clone(&letters));
        Box::pin(async move { run(&app, &letters, &event).await.map_err(|error| error.to_string()) })
    }))
}

async fn run(
    app: &App,
    letters: &DeadLetters,
    event: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let messages = queue::messages(event)?;
    let received = open(app, messages).await?;
    // All of the batch at once: one count per counter.
    let drafts: Vec<Draft> = received.iter().flat_map(Received::drafts).cloned().collect();
    let mut outcomes = app.store.track_batch(&drafts).await.into_iter();
    let mut again = Vec::new();
    for one in received {
        let (mut faults, mut unknown, mut dropped) = (Vec::new(), false, 0_usize);
        for (position, element) in one.elements.iter().enumerate() {
            let problem = match element {
                Element::Wrong(problem) => Some(Arc::clone(problem)),
                Element::Draft(draft) => match outcomes.next() {
                    Some(Ok(tracked)) => match refusal(app, draft, &tracked, "/metric_value").await {
                        // A dead letter would keep the name.
                        Ok(Some(refused)) if refused.code() == Code::Gone => {
                            dropped += 1;
                            None
                        }
                        Ok(refused) => refused.map(Arc::new),
                        Err(problem) => {
                            unknown = true;
                            log(&one.message, &problem);
                            None
                        }
                    },
                    Some(Err(error)) => {
                        unknown = true;
                        log(&one.message, &Problem::unavailable(error));
                        None
                    }
                    None => return Err("an element has no outcome".into()),
                },
            };
            faults.extend(problem.map(|problem| Fault { position, problem }));
        }
        if dropped > 0 {
            tracing::info!(
                message_id = one.message.id,
                dropped,
                "elements of erased users were dropped"
            );
        }
        // What is not known is asked again first; then what is wrong is still wrong.
        if unknown || !settled(app, letters, &one.message, &faults, one.elements.len()).await {
            again.push(one.delivery);
        }
    }
    Ok(queue::answer(again)?)
}

/// Puts a message with faults aside; whether that is done.
async fn settled(app: &App, letters: &DeadLetters, message: &Message, faults: &[Fault], of: usize) -> bool {
    if faults.is_empty() {
        return true;
    }
    let put = match without_erased(app, message).await {
        Ok(Some(left)) => letters.put(&left, faults, of).await,
        Ok(None) => return true,
        Err(error) => Err(error.into()),
    };
    match put {
        Ok(()) => {
            tracing::warn!(
                message_id = message.id,
                faults = faults.len(),
                "a message has wrong elements"
            );
            true
        }
        Err(error) => {
            let error: &dyn std::error::Error = &*error;
            tracing::error!(error, message_id = message.id, "a message could not be put aside");
            false
        }
    }
}

/// A message without what it says of erased users; nothing if it says no more.
async fn without_erased(app: &App, message: &Message) -> Result<Option<Message>, StoreError> {
    let erased = app.store.erased_among(usage_message::users(&message.body)).await?;
    let goes = |element: &Value| usage_message::user(element).is_some_and(|user| erased.contains(&user));
    Ok(match usage_message::without(&message.body, goes) {
        Left::All => Some(message.clone()),
        Left::Some(body) => Some(Message {
            body,
            ..message.clone()
        }),
        Left::Nothing => None,
    })
}

fn log(message: &Message, problem: &Problem) {
    tracing::error!(
        error = problem.source(),
        message_id = message.id,
        "a message could not be counted"
    );
}
