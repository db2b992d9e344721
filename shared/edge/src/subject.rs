//! Whose data a request is about: the user it names, or the caller; the subscription it names, or
//! the user's default one.

use std::sync::Arc;

use crate::{
    App,
    auth::Call,
    fields::Fields,
    problem::{FieldCode, Problem},
    read,
};
use metering_store::subscription::Target;

/// What a request says about the user it is for.
#[derive(Debug)]
pub struct NamedUser(Option<String>);

impl NamedUser {
    /// Reads `user_id`; a service key must give it.
    pub fn read(call: &Call, fields: &mut Fields) -> Self {
        let user_id = fields.optional("user_id", read::user_id);
        if user_id.is_none() && call.caller.must_name_user() && !fields.is_faulty("user_id") {
            fields.fail("user_id", FieldCode::Required, "must be given with an API key");
        }
        Self(user_id)
    }

    /// The user, if the caller may reach them.
    pub fn user(&self, call: &Call) -> Result<String, Problem> {
        call.caller
            .subject(self.0.clone())?
            .ok_or_else(|| Problem::internal("a user was not asked for"))
    }
}

/// What a request says about its subject.
#[derive(Debug)]
pub struct Named {
    user: NamedUser,
    subscription_id: Option<String>,
}

impl Named {
    /// Reads `user_id` and `subscription_id`; a service key must name the user.
    pub fn read(call: &Call, fields: &mut Fields) -> Self {
        Self {
            user: NamedUser::read(call, fields),
            subscription_id: fields.optional("subscription_id", read::subscription_id),
        }
    }

    /// The user, if the caller may reach them.
    pub fn user(&self, call: &Call) -> Result<String, Problem> {
        self.user.user(call)
    }

    /// The subscription; 404 if it is not the user's.
    pub async fn target(&self, app: &App, call: &Call) -> Result<Arc<Target>, Problem> {
        self.resolve(app, call, false).await
    }

    /// The subscription as it is at this moment, for changes that depend on it.
    pub async fn target_now(&self, app: &App, call: &Call) -> Result<Arc<Target>, Problem> {
        self.resolve(app, call, true).await
    }

    async fn resolve(&self, app: &App, call: &Call, fresh: bool) -> Result<Arc<Target>, Problem> {
        let user = self.user(call)?;
        let found = app
            .store
            .subscription_resolve(&user, self.subscription_id.as_deref(), fresh, call.info.now)
            .await?;
        found.ok_or_else(|| Problem::not_found("subscription"))
    }

    /// The subscription as named.
    pub fn subscription_id(&self) -> Option<String> {
        self.subscription_id.clone()
    }
}

/// Reads the query of a request whose path names an object: it may say whose that must be.
pub fn owner_of_query(call: &Call) -> Result<Option<String>, Problem> {
    let mut fields = Fields::query(call.info.query.as_deref());
    let named = fields.optional("user_id", read::user_id);
    fields.finish(Some(named))
}

/// Whether an object is there for the caller: a user's own, and of whoever a service names. What is
/// nobody's is there for administrators.
pub fn is_there(call: &Call, named: Option<String>, owner: Option<&str>) -> Result<bool, Problem> {
    let user = match named {
        // The path names the object: an administrator and a service need not say whose it is.
        None if !call.caller.is_plain_user() => None,
        named => call.caller.subject(named)?,
    };
    Ok(match (user, owner) {
        (Some(user), owner) => owner == Some(user.as_str()),
        (None, Some(_)) => true,
        (None, None) => call.caller.is_admin(),
    })
}
