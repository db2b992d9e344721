//! Notification settings: where a user is reached, and by which channels built-in alerts go out.
//! Addresses are personal data: the audit log says only whether there is one.

use std::sync::Arc;

use axum::{Json, extract::State, response::Response};
use http::StatusCode;
use metering_domain::alert::Channel;
use metering_edge::{
    App,
    access::Scope,
    auth::Call,
    fields::Fields,
    idempotency::{self, replayed, replayed_now, request_name},
    problem::{FieldCode, Problem},
    read,
    request::JsonBody,
    subject::NamedUser,
};
use metering_store::notification::Notification;
use serde_json::{Value, json};

use crate::object::{self, Edited, Mutation};

fn body_of(settings: &Notification) -> Value {
    let channels: Vec<&str> = settings.channels.iter().map(|channel| channel.as_str()).collect();
    json!({
        "user_id": settings.user_id, "email": settings.email, "phone": settings.phone,
        "notification_channels": channels,
    })
}

fn audited(settings: &Notification) -> Value {
    let channels: Vec<&str> = settings.channels.iter().map(|channel| channel.as_str()).collect();
    json!({
        "has_email": settings.email.is_some(), "has_phone": settings.phone.is_some(),
        "notification_channels": channels,
    })
}

/// The channels of a body; null where they are left out.
pub(crate) fn channels(fields: &mut Fields) -> Option<Vec<Channel>> {
    const NAME: &str = "notification_channels";
    let channels = fields.optional_list(NAME, read::one_of(Channel::NAMES, Channel::parse))?;
    let twice = |(index, channel): (usize, &Channel)| channels[..index].contains(channel);
    if channels.iter().enumerate().any(twice) {
        fields.fail(NAME, FieldCode::NotAllowed, "must name each channel once");
    }
    Some(channels)
}

/// `GET /usage/notification-settings`.
pub async fn get(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let named = NamedUser::read(&call, &mut fields);
    let user = fields.finish(Some(named))?.user(&call)?;
    Ok(Json(body_of(&app.store.notification_get(Some(&user)).await?)))
}

/// `PUT /usage/notification-settings`: replaces them; a user's own token leaves the addresses as
/// they are.
pub async fn put(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let named = NamedUser::read(&call, &mut fields);
    let email = fields.nullable("email", read::email);
    let phone = fields.nullable("phone", read::phone);
    let channels = channels(&mut fields);
    let user = fields.finish(Some(named))?.user(&call)?;
    let mutation = Mutation {
        name: name.as_ref(),
        action: "notification_settings.change",
        target: user.clone(),
        status: StatusCode::OK,
    };
    let edit = |settings: &mut Notification| {
        let before = audited(settings);
        if call.caller.is_plain_user() {
            let changes = |given: &Option<Option<String>>, stored: &Option<String>| {
                given.as_ref().is_some_and(|given| given != stored)
            };
            if changes(&email, &settings.email) || changes(&phone, &settings.phone) {
                return Err(Problem::forbidden("A user token sets channels, not addresses."));
            }
        } else {
            settings.email = email.clone().flatten();
            settings.phone = phone.clone().flatten();
        }
        settings.channels = match &channels {
            Some(channels) => channels.clone(),
            None => Notification::unsaid(None).channels,
        };
        Ok(Edited {
            before,
            after: audited(settings),
            answer: body_of(settings),
        })
    };
    match object::change(&app, &call, &mutation, Some(&user), edit).await? {
        Some(settings) => Ok(idempotency::answer(StatusCode::OK, body_of(&settings))),
        None => replayed_now(&app, &call, name.as_ref()).await,
    }
}
