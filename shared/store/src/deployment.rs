//! What one deployment has for itself: a secret that authenticates cursors and makes pseudonyms. Made
//! by whoever needs it first, kept in the State table, so that no operator has to.

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnConsumedCapacity},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::OnceCell;

use crate::{
    Store, StoreError,
    error::failed,
    item::{Item, Reader, bytes, s},
    keys::{DEPLOYMENT, hex},
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

    /// What a text is here and nowhere else: 64 hexadecimal digits, from which nobody without the
    /// secret can tell the text, not even by trying.
    pub(crate) async fn keyed(&self, purpose: &str, text: &str) -> Result<String, StoreError> {
        digits(self.deployment_secret().await?, purpose, text)
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

/// HMAC-SHA256 of a text for a purpose.
pub(crate) fn digits(secret: &[u8], purpose: &str, text: &str) -> Result<String, StoreError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|error| StoreError::Refused {
        operation: "keyed",
        source: Box::new(error),
    })?;
    for part in [purpose, text] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    Ok(hex(&mac.finalize().into_bytes()))
}
