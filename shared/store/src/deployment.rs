//! What one deployment has for itself: a secret that authenticates cursors. Made by whoever needs
//! it first, kept in the State table, so that no operator has to.

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnConsumedCapacity},
};
use tokio::sync::OnceCell;

use crate::{
    Store, StoreError,
    error::failed,
    item::{Item, Reader, bytes, s},
    keys::DEPLOYMENT,
    mutation::ONLY,
};

/// The secret, once it was read.
pub(crate) type Secret = OnceCell<Vec<u8>>;

impl Store {
    /// 256 random bits that only this deployment knows.
    pub async fn deployment_secret(&self) -> Result<&[u8], StoreError> {
        self.secret
            .get_or_try_init(|| self.secret_load())
            .await
            .map(Vec::as_slice)
    }

    async fn secret_load(&self) -> Result<Vec<u8>, StoreError> {
        if let Some(secret) = self.secret_read().await? {
            return Ok(secret);
        }
        let fresh: Vec<u8> = [self.context.random().to_be_bytes(), self.context.random().to_be_bytes()].concat();
        let item: Item = [
            ("pk".to_owned(), s(DEPLOYMENT)),
            ("sk".to_owned(), s(ONLY)),
            ("secret".to_owned(), bytes(fresh)),
        ]
        .into_iter()
        .collect::<std::collections::HashMap<String, AttributeValue>>();
        let sent = self
            .dynamodb
            .put_item()
            .table_name(&self.tables.state)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => {}
            // Another instance made one.
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(PutItemError::ConditionalCheckFailedException(_))
                ) => {}
            Err(error) => return Err(failed("deployment_secret", error)),
        }
        self.secret_read().await?.ok_or(StoreError::busy("deployment_secret"))
    }

    async fn secret_read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let item = self.state_get("deployment_secret", DEPLOYMENT, ONLY).await?;
        item.as_ref()
            .map(|item| Reader::new(item, "deployment").bytes("secret").map(<[u8]>::to_vec))
            .transpose()
    }
}
