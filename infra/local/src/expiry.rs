//! What DynamoDB's time to live does in the background: deletes items whose second has come.
//!
//! The engine's own sweep reads the machine's clock; this one is given the instant, and runs
//! when the stack's clock has been moved forward. As in AWS an item is left alone when its
//! attribute is not a number or lies more than five years back.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::{DisplayErrorContext, SdkError},
    operation::scan::ScanOutput,
    types::AttributeValue,
};
use chrono::{DateTime, TimeDelta, Utc};

use crate::template::Table;

/// Longer past, a number is taken for something else than a second to expire at.
const PAST_DAYS_MAX: i64 = 5 * 365;

type Item = HashMap<String, AttributeValue>;

/// A sweep that could not be finished.
#[derive(Debug, thiserror::Error)]
#[error("expired items of {table} cannot be deleted: {cause}")]
pub struct ExpiryError {
    table: String,
    cause: String,
}

/// Deletes what has expired in each of `tables` at `now`; says how many items that was.
pub async fn sweep(client: &Client, tables: &[Table], now: DateTime<Utc>) -> Result<usize, ExpiryError> {
    let mut deleted = 0;
    for table in tables {
        if let Some(attribute) = &table.expiry {
            deleted += sweep_table(client, table, attribute, now).await?;
        }
    }
    Ok(deleted)
}

async fn sweep_table(
    client: &Client,
    table: &Table,
    attribute: &str,
    now: DateTime<Utc>,
) -> Result<usize, ExpiryError> {
    let mut deleted = 0;
    let mut start = None;
    loop {
        let page = scan(client, table, attribute, now, start).await?;
        for item in page.items.unwrap_or_default() {
            deleted += usize::from(delete(client, table, attribute, now, item).await?);
        }
        start = page.last_evaluated_key;
        if start.is_none() {
            return Ok(deleted);
        }
    }
}

async fn scan(
    client: &Client,
    table: &Table,
    attribute: &str,
    now: DateTime<Utc>,
    start: Option<Item>,
) -> Result<ScanOutput, ExpiryError> {
    let floor = now - TimeDelta::days(PAST_DAYS_MAX);
    let sent = client
        .scan()
        .table_name(&table.name)
        .filter_expression("attribute_type(#expiry, :number) AND #expiry BETWEEN :floor AND :now")
        .expression_attribute_names("#expiry", attribute)
        .expression_attribute_values(":number", AttributeValue::S("N".to_owned()))
        .expression_attribute_values(":floor", seconds(floor))
        .expression_attribute_values(":now", seconds(now))
        .set_exclusive_start_key(start)
        .send()
        .await;
    sent.map_err(|error| failed(table, &error))
}

/// Deletes an item, unless it has been given more time meanwhile.
async fn delete(
    client: &Client,
    table: &Table,
    attribute: &str,
    now: DateTime<Utc>,
    item: Item,
) -> Result<bool, ExpiryError> {
    let in_key = |name: &String| table.key.iter().any(|part| part.attribute == *name);
    let key: Item = item.into_iter().filter(|(name, _)| in_key(name)).collect();
    let sent = client
        .delete_item()
        .table_name(&table.name)
        .set_key(Some(key))
        .condition_expression("#expiry <= :now")
        .expression_attribute_names("#expiry", attribute)
        .expression_attribute_values(":now", seconds(now))
        .send()
        .await;
    match sent {
        Ok(_) => Ok(true),
        Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => Ok(false),
        Err(error) => Err(failed(table, &error)),
    }
}

fn seconds(instant: DateTime<Utc>) -> AttributeValue {
    AttributeValue::N(instant.timestamp().to_string())
}

fn failed(table: &Table, error: &dyn std::error::Error) -> ExpiryError {
    ExpiryError {
        table: table.name.clone(),
        cause: DisplayErrorContext(error).to_string(),
    }
}
