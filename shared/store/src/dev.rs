//! What only a development store has: API keys that everybody knows. No function calls this.

use aws_sdk_dynamodb::Client;
use chrono::{DateTime, Utc};

use crate::{StoreError, api_key::ApiKey, error::failed};

/// Stores the API key `text`, replacing what is stored under it.
pub async fn api_key_put(
    client: &Client,
    state_table: &str,
    text: &str,
    name: &str,
    scopes: &[&str],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let key = ApiKey::new(text, name, scopes, now, None);
    let sent = client
        .put_item()
        .table_name(state_table)
        .set_item(Some(key.to_item()))
        .send()
        .await;
    sent.map(drop).map_err(|error| failed("api_key_put", error))
}
