//! Reading many items at once.

use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnConsumedCapacity};

use crate::{
    Store, StoreError,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    error::failed,
    item::Item,
};

/// DynamoDB takes at most 100 keys in one `BatchGetItem`.
const BATCH_GET_MAX: usize = 100;
/// How often keys that a `BatchGetItem` left over are asked for again.
const BATCH_TURNS_MAX: u32 = 8;

impl Store {
    /// Items by key, strongly read, in no order; what is not there is left out.
    pub(crate) async fn batch_get(&self, table: &str, keys: &[Item]) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        for chunk in keys.chunks(BATCH_GET_MAX) {
            self.batch_get_chunk(table, chunk.to_vec(), &mut items).await?;
        }
        Ok(items)
    }

    /// At most [`BATCH_GET_MAX`] keys; those that are left over are asked for again.
    async fn batch_get_chunk(&self, table: &str, mut keys: Vec<Item>, items: &mut Vec<Item>) -> Result<(), StoreError> {
        for turn in 0..BATCH_TURNS_MAX {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .build()
                .map_err(|error| StoreError::Refused {
                    operation: "batch_get",
                    source: Box::new(error),
                })?;
            let answer = self
                .dynamodb
                .batch_get_item()
                .request_items(table, wanted)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| failed("batch_get", error))?;
            items.extend(answer.responses.unwrap_or_default().remove(table).unwrap_or_default());
            let left = answer.unprocessed_keys.unwrap_or_default().remove(table);
            keys = left.map(|left| left.keys).unwrap_or_default();
            if keys.is_empty() {
                return Ok(());
            }
            self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
        }
        Err(StoreError::busy("batch_get"))
    }
}
