//! Reconciliation: what is damaged on purpose is found and repaired, what is healthy is not, whatever
//! goes on beside.

mod damage;
mod healthy;
mod interrupted;
mod night;
mod old;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use metering_edge::aws::dynamodb_client;
use metering_store::keys::{self, Owner};
use serde_json::{Value, json};

use crate::support::{ADMIN, Answer, Client};

const PATH: &str = "/api/v1/usage/admin/reconcile";
const CALLS: &str = "api_calls";
const STORAGE: &str = "storage_usage";

type Item = HashMap<String, AttributeValue>;

fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

async fn track(client: &Client, user: &str, metric: &str, value: f64) -> Answer {
    let mut body = json!({"user_id": user, "metric_type": metric, "metric_value": value});
    if metric == STORAGE {
        body["mode"] = json!("delta");
    }
    let tracked = client.track(body).await;
    assert_eq!(tracked.status, 201, "{tracked:?}");
    tracked
}

/// Holds a user's usage against its records.
async fn reconcile(client: &Client, user: &str, repair: bool) -> Value {
    let answer = client
        .post(PATH, ADMIN, json!({"user_id": user, "repair": repair}))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Nothing is found.
async fn assert_clean(client: &Client, user: &str) -> Value {
    let found = reconcile(client, user, false).await;
    assert_eq!(
        (&found["drifted"], &found["repaired"], &found["drift"]),
        (&json!(0), &json!(0), &json!([])),
        "{user}: {found}"
    );
    found
}

/// Runs the job as its schedule does, until nothing is left to do.
async fn run(client: &Client) -> Value {
    let ran = client.post("/_local/run/ReconcileJob", "", json!({})).await;
    assert_eq!(ran.status, 200, "{ran:?}");
    ran.body["result"].clone()
}

/// The entries of a user's ledger that repairs made.
async fn repairs(client: &Client, user: &str, subscription: &str) -> Vec<Value> {
    let path = format!("/api/v1/usage/admin/adjustments?user_id={user}&subscription_id={subscription}&kind=reconcile");
    let listed = client.get(&path, ADMIN).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    listed.body["adjustments"].as_array().expect("a list").clone()
}

/// Items of the State table as they lie there.
struct Raw<'a>(&'a Client);

impl Raw<'_> {
    fn engine(&self) -> aws_sdk_dynamodb::Client {
        dynamodb_client(&self.0.stack.dynamodb_endpoint(), None)
    }

    /// The items of a partition whose sort keys begin so.
    async fn of(&self, pk: &str, prefix: &str) -> Vec<Item> {
        let query = self.engine().query().table_name(self.0.stack.state_table());
        let found = query
            .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
            .expression_attribute_values(":pk", s(pk))
            .expression_attribute_values(":sk", s(prefix))
            .consistent_read(true)
            .send();
        found.await.expect("a query").items.unwrap_or_default()
    }

    /// The one counter of an owner and metric that is not sealed.
    async fn counter(&self, owner: &Owner, metric: &str) -> Item {
        let counters = self.of(&owner.pk(), "CTR#").await.into_iter();
        let mut open = counters.filter(|item| item["metric_type"] == s(metric) && !item.contains_key("sealed"));
        let counter = open.next().expect("a counter");
        assert!(open.next().is_none(), "one open counter of {metric}");
        counter
    }

    /// Changes an item behind everybody's back.
    async fn change(&self, item: &Item, expression: &str, values: &[(&str, AttributeValue)]) {
        let values: HashMap<String, AttributeValue> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let update = self.engine().update_item().table_name(self.0.stack.state_table());
        let update = update.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
        let update = update.update_expression(expression);
        let update = match values.is_empty() {
            true => update,
            false => update.set_expression_attribute_values(Some(values)),
        };
        update.send().await.expect("a change");
    }

    /// Puts an item in another's place.
    async fn put(&self, item: Item) {
        let put = self.engine().put_item().table_name(self.0.stack.state_table());
        put.set_item(Some(item)).send().await.expect("a change");
    }

    async fn delete(&self, item: &Item) {
        let delete = self.engine().delete_item().table_name(self.0.stack.state_table());
        let delete = delete.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
        delete.send().await.expect("a deletion");
    }

    /// The one hour, or the one day, of an owner and metric.
    async fn aggregate(&self, owner: &Owner, metric: &str, day: bool) -> Item {
        let pk = if day {
            keys::days(owner, metric)
        } else {
            keys::hours(owner, metric)
        };
        let found = self.of(&pk, "2").await;
        assert_eq!(found.len(), 1, "{pk}");
        found.into_iter().next().expect("one")
    }
}
