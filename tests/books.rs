//! The books as they lie in the tables: what must hold between counters and events at any moment,
//! whatever was interrupted.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::AttributeValue;
use metering_edge::aws::dynamodb_client;
use metering_store::keys::Owner;
use rust_decimal::Decimal;
use usage_local::Stack;

type Item = HashMap<String, AttributeValue>;

/// Events, and counters that they may be charged to.
pub struct Books {
    events: Vec<Item>,
    counters: Vec<Item>,
}

impl Books {
    /// All that is in both tables.
    pub async fn read(stack: &Stack) -> Self {
        let client = dynamodb_client(&stack.dynamodb_endpoint(), None);
        let all = async |table: &str| {
            let pages = client.scan().table_name(table).consistent_read(true).into_paginator();
            let items: Vec<Item> = pages.items().send().try_collect().await.expect("a scan");
            items
        };
        let (events, state) = (all(stack.events_table()).await, all(stack.state_table()).await);
        Self::of_items(events, state)
    }

    /// One subscription's, without looking at all others'.
    pub async fn of(stack: &Stack, user: &str, subscription: &str) -> Self {
        let client = dynamodb_client(&stack.dynamodb_endpoint(), None);
        let partition = async |table: &str, index: Option<&str>, name: &str, pk: String| {
            let pages = client
                .query()
                .table_name(table)
                .set_index_name(index.map(str::to_owned))
                .key_condition_expression("#pk = :pk")
                .expression_attribute_names("#pk", name)
                .expression_attribute_values(":pk", AttributeValue::S(pk))
                .into_paginator();
            let items: Vec<Item> = pages.items().send().try_collect().await.expect("a query");
            items
        };
        let owner = Owner::of(user, subscription);
        let state = partition(stack.state_table(), None, "pk", owner.pk()).await;
        let mut events = Vec::new();
        let metrics: HashSet<&str> = state.iter().map(|item| text(item, "metric_type")).collect();
        for metric in metrics.into_iter().filter(|metric| !metric.is_empty()) {
            let pk = owner.events_ix_pk(metric);
            for key in partition(stack.events_table(), Some("by_time"), "ix_pk", pk).await {
                let event = client.get_item().table_name(stack.events_table()).consistent_read(true);
                let event = event.key("pk", key["pk"].clone()).send().await.expect("a read");
                events.push(event.item.expect("what the index names is there"));
            }
        }
        Self::of_items(events, state)
    }

    fn of_items(events: Vec<Item>, state: Vec<Item>) -> Self {
        let is_event = |item: &Item| item.contains_key("attempt");
        let is_counter = |item: &Item| text(item, "sk").starts_with("CTR#");
        Self {
            events: events.into_iter().filter(is_event).collect(),
            counters: state.into_iter().filter(is_counter).collect(),
        }
    }

    /// A counter keeps a value if and only if an event names it or it is still pending, and
    /// `remaining` is what the cap leaves.
    pub fn assert_exact(&self) {
        for counter in &self.counters {
            let key = format!("{} {}", text(counter, "pk"), text(counter, "sk"));
            let charged: Decimal = self.charged_to(counter).map(value).sum();
            let open: Decimal = self.unconfirmed(counter).map(|(_, entry)| number(entry, "v")).sum();
            assert_eq!(number(counter, "used"), charged + open, "{key}: {counter:?}");
            assert_eq!(
                number(counter, "remaining"),
                number(counter, "cap") - number(counter, "used") - held(counter),
                "{key}"
            );
        }
    }

    /// Nothing was granted above a cap.
    pub fn assert_within_cap(&self, when: &str) {
        for counter in &self.counters {
            let taken = number(counter, "used") + held(counter);
            assert!(taken <= number(counter, "cap"), "{when}: {counter:?}");
        }
    }

    /// No counter has a hold, expired or not.
    pub fn assert_unheld(&self) {
        for counter in &self.counters {
            assert_eq!(counter["holds"].as_m().expect("a map").len(), 0, "{counter:?}");
        }
    }

    /// The counters of the period that starts there are sealed, and nothing is pending on them.
    pub fn assert_closed(&self, period_start: &str) {
        for counter in self
            .counters
            .iter()
            .filter(|counter| text(counter, "period_start") == period_start)
        {
            let is_sum = text(counter, "kind_of") == "sum";
            let nothing = |name: &str| counter[name].as_m().expect("a map").is_empty();
            let closed = counter.contains_key("sealed") && nothing("pending") && nothing("holds");
            assert!(!is_sum || closed, "{counter:?}");
        }
    }

    /// How many events there are.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// What all counters say together, entries that nobody confirmed left out.
    pub fn used(&self) -> Decimal {
        let confirmed = self.counters.iter().map(|counter| {
            let open: Decimal = self.unconfirmed(counter).map(|(_, entry)| number(entry, "v")).sum();
            number(counter, "used") - open
        });
        confirmed.sum()
    }

    fn charged_to<'a>(&'a self, counter: &'a Item) -> impl Iterator<Item = &'a Item> {
        self.events.iter().filter(|event| {
            is_of(event, counter) && number(event, "arm") == number(counter, "arm") && !is_voided(event)
        })
    }

    fn unconfirmed<'a>(&'a self, counter: &'a Item) -> impl Iterator<Item = (&'a String, &'a Item)> {
        let entries = counter["pending"].as_m().expect("a map").iter();
        let entries = entries.map(|(name, entry)| (name, entry.as_m().expect("a map")));
        entries.filter(|(name, _)| {
            let mut events = self.events.iter();
            !events.any(|event| is_of(event, counter) && text(event, "attempt") == **name)
        })
    }
}

/// What the holds on a counter take, expired ones included.
fn held(counter: &Item) -> Decimal {
    let holds = counter["holds"].as_m().expect("a map").values();
    holds.map(|hold| number(hold.as_m().expect("a map"), "q")).sum()
}

/// Whether an event was charged to a counter.
fn is_of(event: &Item, counter: &Item) -> bool {
    let owner = match text(event, "subscription_id") {
        "none" => format!("NONE#{}", text(event, "user_id")),
        id => format!("SUB#{id}"),
    };
    owner == text(counter, "pk") && event.contains_key("counter") && text(event, "counter") == text(counter, "sk")
}

fn is_voided(event: &Item) -> bool {
    let flags = event.get("flags").and_then(|flags| flags.as_ss().ok());
    flags.is_some_and(|flags| flags.iter().any(|flag| flag == "voided"))
}

/// What an event changed: a gauge's event says so.
fn value(event: &Item) -> Decimal {
    number(event, if event.contains_key("applied") { "applied" } else { "v" })
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name)
        .and_then(|value| value.as_s().ok())
        .map_or("", String::as_str)
}

fn number(item: &Item, name: &str) -> Decimal {
    let digits = item[name].as_n().expect("a number");
    digits.parse().expect("a decimal")
}
