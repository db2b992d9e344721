//! The service: a verdict, the handler, the count.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{Request, Response, StatusCode};
use tower::Service;

use super::{
    Endpoint, OnFull, Plan,
    body::{CountedBody, MeteredBody},
    exchange::{Exchange, Facts},
    rule::When,
};
use crate::{
    api::Commit,
    enforce::Hold,
    guarded::{Used, milliseconds},
    refusal::Refusal,
};

/// A service that is metered.
#[derive(Clone)]
pub struct Metered<S> {
    pub(super) inner: S,
    pub(super) plan: Arc<Plan>,
}

type Answering<R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send>>;

impl<S, B, R> Service<Request<B>> for Metered<S>
where
    S: Service<Request<CountedBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<MeteredBody<R>>;
    type Error = S::Error;
    type Future = Answering<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let started = Instant::now();
        // The one that is ready is the one to be called.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let plan = Arc::clone(&self.plan);
        let (mut parts, body) = request.into_parts();
        let Some((caller, endpoint, rules)) = plan.of(&parts) else {
            let answer = inner.call(Request::from_parts(parts, CountedBody::new(body, None)));
            return Box::pin(async move { Ok(answer.await?.map(|body| MeteredBody::served(body, None))) });
        };
        let mut facts = Box::new(Facts::new(caller, parts.method.clone(), endpoint, rules));
        if !facts.rules.rules.is_empty() {
            let used = Used::default();
            parts.extensions.insert(used.clone());
            facts.used = Some(used);
        }
        let body = CountedBody::new(body, Some(Arc::clone(&facts.bytes_in)));
        let request = Request::from_parts(parts, body);
        Box::pin(async move {
            let permit = match plan.on_full {
                OnFull::Refuse => None,
                // It fails only if the sender has ended, which then says so.
                OnFull::Wait => plan.metering.sender.permit().await.ok(),
            };
            let holds = match admit(&plan, &facts).await {
                Ok(holds) => holds,
                Err(refusal) => return Ok(refusal.response().map(MeteredBody::refused)),
            };
            let mut exchange = Exchange::begin(facts, plan.metering.sender.clone(), permit, started);
            match inner.call(request).await {
                Ok(response) => {
                    judge(&mut exchange, response.status(), holds, started);
                    Ok(response.map(|body| MeteredBody::served(body, Some(exchange))))
                }
                Err(error) => {
                    if let Some(facts) = exchange.facts() {
                        facts.has_failed = true;
                    }
                    Err(error)
                }
            }
        })
    }
}

/// Asks for everything that the route takes; what is held until then is given back by a refusal.
async fn admit(plan: &Plan, facts: &Facts) -> Result<Vec<Hold>, Refusal> {
    let mut holds = Vec::new();
    for rule in &facts.rules.rules {
        let demand = rule.demand(&facts.caller);
        match rule.when {
            When::Check => plan.metering.check_now(&demand).await?,
            When::Reserve => holds.push(plan.metering.reserve_now(demand).await?),
            When::Consume => {
                let mut usage = demand.usage(demand.quantity);
                usage.endpoint = facts.endpoint.as_ref().map(Endpoint::text);
                usage.operation = Some(facts.method.to_string());
                plan.metering.consume_now(&demand, usage).await?;
            }
            When::Count => {}
        }
    }
    Ok(holds)
}

/// What the handler's status says: whether it failed, and whether its holds were of use.
fn judge(exchange: &mut Exchange, status: StatusCode, holds: Vec<Hold>, started: Instant) {
    let Some(facts) = exchange.facts() else {
        return;
    };
    facts.has_failed = status.is_server_error();
    facts.has_succeeded = status.as_u16() < 400;
    if !facts.has_succeeded {
        return;
    }
    for hold in holds {
        let said = hold.metric().and_then(|metric| facts.used.as_ref()?.of(metric));
        hold.commit(Commit {
            quantity: said,
            endpoint: facts.endpoint.as_ref().map(Endpoint::text),
            operation: Some(facts.method.to_string()),
            response_time_ms: Some(milliseconds(started)),
            ..Commit::default()
        });
    }
}
