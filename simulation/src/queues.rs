//! Queues as SQS has them: at least once, in about the order of sending, hidden while somebody works
//! on a message, set aside after too many deliveries.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use usage_local::template::Queue as Described;

use crate::{
    dice::Dice,
    fault::{Fault, Faults},
    time::Time,
};

/// The longest time for which a delayed message is late.
const LATE_MS_MAX: u64 = 240_000;

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    id: String,
    handle: String,
    /// What was sent.
    pub body: String,
    sent_ms: i64,
    visible_at: u128,
    receives: u32,
}

#[derive(Debug)]
struct Queue {
    visibility_ms: u128,
    redrive: Option<(String, u32)>,
    messages: Vec<Message>,
    /// The bodies of all that was ever sent.
    sent: Vec<String>,
}

/// All queues of a run.
#[derive(Debug)]
pub struct Queues {
    time: Arc<Time>,
    dice: Dice,
    queues: Mutex<BTreeMap<String, Queue>>,
}

impl Queues {
    /// Empty queues, as the template describes them.
    pub fn new(described: &[Described], time: Arc<Time>, dice: Dice) -> Self {
        let queues = described.iter().map(|queue| {
            let redrive = queue.redrive.as_ref();
            let own = Queue {
                visibility_ms: queue.visibility.as_millis(),
                redrive: redrive.map(|redrive| (redrive.queue.clone(), redrive.receives_max)),
                messages: Vec::new(),
                sent: Vec::new(),
            };
            (queue.name.clone(), own)
        });
        Self {
            time,
            dice,
            queues: Mutex::new(queues.collect()),
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message into a queue; its id.
    pub fn send(&self, queue: &str, body: &str, delay_s: u64, faults: &Faults) -> String {
        let id = format!("{:032x}", self.dice.wide());
        let late = match faults.happens(Fault::MessageDelayed) {
            true => faults.dice().below(LATE_MS_MAX),
            false => 0,
        };
        let copies = if faults.happens(Fault::MessageDoubled) { 2 } else { 1 };
        let mut all = self.all();
        if let Some(queue) = all.get_mut(queue) {
            queue.sent.push(body.to_owned());
            for _ in 0..copies {
                queue.messages.push(Message {
                    id: id.clone(),
                    handle: format!("{:016x}", self.dice.bits()),
                    body: body.to_owned(),
                    sent_ms: self.time.now().timestamp_millis(),
                    visible_at: self.time.passed_ms() + u128::from(delay_s) * 1_000 + u128::from(late),
                    receives: 0,
                });
            }
        }
        id
    }

    /// The bodies of all that was ever sent to a queue.
    pub fn sent(&self, queue: &str) -> Vec<String> {
        self.all()
            .get(queue)
            .map(|queue| queue.sent.clone())
            .unwrap_or_default()
    }

    /// Messages for a worker, hidden from others meanwhile.
    pub fn receive(&self, name: &str, most: usize, faults: &Faults) -> Vec<Message> {
        let now = self.time.passed_ms();
        let mut all = self.all();
        let Some(queue) = all.get_mut(name) else {
            return Vec::new();
        };
        let visible = queue.messages.iter().enumerate();
        let mut visible: Vec<usize> = visible
            .filter(|(_, one)| one.visible_at <= now)
            .map(|(index, _)| index)
            .collect();
        if visible.len() > 1 && faults.happens(Fault::MessagesReordered) {
            let turn = usize::try_from(faults.dice().below(visible.len() as u64)).unwrap_or(0);
            visible.rotate_left(turn);
        }
        visible.truncate(most);
        let (mut taken, mut dead) = (Vec::new(), Vec::new());
        for index in visible {
            let hidden_ms = match faults.happens(Fault::VisibilityOver) {
                true => u128::from(faults.dice().below(2_000)),
                false => queue.visibility_ms,
            };
            let message = &mut queue.messages[index];
            message.receives += 1;
            message.visible_at = now + hidden_ms;
            message.handle = format!("{:016x}", self.dice.bits());
            let limit = queue.redrive.as_ref().map(|(_, most)| *most);
            if limit.is_some_and(|most| message.receives > most) {
                dead.push(message.handle.clone());
            } else {
                taken.push(message.clone());
            }
        }
        let target = queue.redrive.as_ref().map(|(target, _)| target.clone());
        let (moved, kept): (Vec<Message>, Vec<Message>) = std::mem::take(&mut queue.messages)
            .into_iter()
            .partition(|one| dead.contains(&one.handle));
        queue.messages = kept;
        if let Some(target) = target.and_then(|target| all.get_mut(&target)) {
            target.messages.extend(moved);
        }
        taken
    }

    /// Deletes a message by what names its delivery; one delivered again meanwhile stays.
    pub fn delete(&self, name: &str, handle: &str) {
        if let Some(queue) = self.all().get_mut(name) {
            queue.messages.retain(|message| message.handle != handle);
        }
    }

    /// Lets a message be visible again after so many seconds.
    pub fn hide(&self, name: &str, handle: &str, seconds: u64) {
        let visible_at = self.time.passed_ms() + u128::from(seconds) * 1_000;
        if let Some(queue) = self.all().get_mut(name) {
            let message = queue.messages.iter_mut().find(|message| message.handle == handle);
            message.into_iter().for_each(|message| message.visible_at = visible_at);
        }
    }

    /// What lies in a queue, visible or not.
    pub fn bodies(&self, name: &str) -> Vec<String> {
        let all = self.all();
        let messages = all.get(name).into_iter().flat_map(|queue| &queue.messages);
        messages.map(|message| message.body.clone()).collect()
    }

    /// Lets everything be visible now: waits and delays count as over.
    pub fn hurry(&self) {
        let now = self.time.passed_ms();
        for message in self.all().values_mut().flat_map(|queue| &mut queue.messages) {
            message.visible_at = message.visible_at.min(now);
        }
    }
}

impl Message {
    /// What names this delivery.
    pub fn handle(&self) -> &str {
        &self.handle
    }

    /// Its id, the same at every delivery.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As Lambda hands it over.
    pub fn event(&self, queue: &str) -> Value {
        json!({
            "messageId": self.id, "receiptHandle": self.handle, "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": self.receives.to_string(), "SentTimestamp": self.sent_ms.to_string(),
                "SenderId": "simulated", "ApproximateFirstReceiveTimestamp": self.sent_ms.to_string(),
            },
            "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{queue}"), "awsRegion": "us-east-1",
        })
    }
}
