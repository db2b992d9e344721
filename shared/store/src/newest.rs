//! Lists of one partition, newest first, with a filter: forecasts, reports, schedules.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use crate::{
    Store, StoreError,
    error::failed,
    item::{Item, Reader, s},
};

/// How many pages one listing reads while a filter leaves it unfilled.
const PAGES_MAX: usize = 10;

/// Which part of a partition to list.
pub(crate) struct Part<'a> {
    /// What is asked, for errors.
    pub operation: &'static str,
    /// The partition.
    pub pk: String,
    /// Only what lies before this sort key.
    pub before: Option<&'a str>,
    /// How many at most.
    pub limit: usize,
}

impl Store {
    /// What `read` makes of a partition's items, newest first (none: it is not wanted), and the sort key to go on
    /// from if there may be more. Strongly read.
    pub(crate) async fn newest<T>(
        &self,
        part: Part<'_>,
        read: impl Fn(&Item) -> Result<Option<T>, StoreError> + Send,
    ) -> Result<(Vec<T>, Option<String>), StoreError> {
        // '~' sorts after every instant.
        let mut before = part.before.unwrap_or("~").to_owned();
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = self
                .dynamodb
                .query()
                .table_name(&self.tables.state)
                .key_condition_expression("pk = :pk AND sk < :before")
                .expression_attribute_values(":pk", s(&part.pk))
                .expression_attribute_values(":before", s(&before))
                .scan_index_forward(false)
                .consistent_read(true)
                .limit(i32::try_from(part.limit + 1).unwrap_or(i32::MAX))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| failed(part.operation, error))?;
            for item in page.items() {
                let one = read(item)?;
                if one.is_some() && found.len() == part.limit {
                    return Ok((found, Some(before)));
                }
                before = Reader::new(item, part.operation).text("sk")?;
                found.extend(one);
            }
            // Full, or cut at DynamoDB's megabyte.
            if page.last_evaluated_key().is_none() {
                return Ok((found, None));
            }
        }
        Ok((found, Some(before)))
    }
}
