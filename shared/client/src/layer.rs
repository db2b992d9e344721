//! The tower layer: every request of a known caller is counted when its answer has ended, and routes
//! are protected before their handler runs.
//!
//! What is counted is what was served: a request counts once its handler is called, whatever becomes
//! of it: answered, failed, panicked, or dropped because its client went away. A request that is
//! refused before that is not.

mod body;
mod exchange;
mod rule;
mod service;

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use http::{Method, request::Parts};

pub use body::{CountedBody, MeteredBody};
pub use rule::Rule;
pub use service::Metered;

use crate::metering::{Caller, Metering};
use rule::Rules;

/// The longest name of an endpoint, in characters; longer ones are cut.
const ENDPOINT_CHARACTERS_MAX: usize = 256;

/// What happens to a request while the sender's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// It is served and not counted; how often is counted ([`crate::Stats::refused`]).
    #[default]
    Refuse,
    /// It waits for a place before its handler is called: nothing is lost, and the service becomes
    /// as slow as what it reports to.
    Wait,
}

type CallerOf = dyn Fn(&Parts) -> Option<Caller> + Send + Sync;
type EndpointOf = dyn Fn(&Parts) -> Option<Cow<'static, str>> + Send + Sync;

/// Counts requests and protects routes; made by [`Metering::layer`].
#[derive(Clone)]
pub struct MeteringLayer {
    plan: Arc<Plan>,
}

/// What the layer does, shared by all its services.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) metering: Metering,
    caller: Arc<CallerOf>,
    endpoint: Option<Arc<EndpointOf>>,
    pub(crate) on_full: OnFull,
    /// By endpoint, then by method.
    routes: HashMap<String, Vec<(Method, Arc<Rules>)>>,
    /// Of all other routes.
    elsewhere: Arc<Rules>,
}

/// The matched route, as cheaply as it is to be had.
pub(crate) enum Endpoint {
    #[cfg(feature = "axum")]
    Matched(axum::extract::MatchedPath),
    Named(Cow<'static, str>),
}

impl MeteringLayer {
    pub(crate) fn new(metering: Metering, caller: impl Fn(&Parts) -> Option<Caller> + Send + Sync + 'static) -> Self {
        let plan = Plan {
            metering,
            caller: Arc::new(caller),
            endpoint: None,
            on_full: OnFull::default(),
            routes: HashMap::new(),
            elsewhere: Arc::default(),
        };
        Self { plan: Arc::new(plan) }
    }

    /// A route, as `POST /documents/{id}`, follows a rule, after those it follows already. Rules are
    /// carried out looks first, then holds, then what is consumed, so that nothing is consumed by a
    /// request that something else refuses.
    ///
    /// # Panics
    /// If it is not a method and a path, or would consume twice.
    pub fn route(self, route: &str, rule: Rule) -> Self {
        self.edit(route, |rules| rules.add(rule))
    }

    /// A route is not metered at all: a health check.
    ///
    /// # Panics
    /// If it is not a method and a path.
    pub fn skip(self, route: &str) -> Self {
        self.edit(route, |rules| rules.is_skipped = true)
    }

    /// Answers of no route are told apart by this instead of axum's matched path. It must give the
    /// route, never the path with ids in it: endpoints are what usage is grouped by.
    pub fn endpoint(mut self, endpoint: impl Fn(&Parts) -> Option<Cow<'static, str>> + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.plan).endpoint = Some(Arc::new(endpoint));
        self
    }

    /// What happens while the sender's queue is full.
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        Arc::make_mut(&mut self.plan).on_full = on_full;
        self
    }

    /// Bytes are not reported as `bandwidth_usage`, which is an event less for each request.
    pub fn without_bandwidth(mut self) -> Self {
        let plan = Arc::make_mut(&mut self.plan);
        Arc::make_mut(&mut plan.elsewhere).has_bandwidth = false;
        for (_, rules) in plan.routes.values_mut().flatten() {
            Arc::make_mut(rules).has_bandwidth = false;
        }
        self
    }

    fn edit(mut self, route: &str, edit: impl FnOnce(&mut Rules)) -> Self {
        let plan = Arc::make_mut(&mut self.plan);
        let parsed = route.split_once(' ');
        let parsed = parsed.and_then(|(method, path)| Some((method.parse::<Method>().ok()?, path.trim())));
        let Some((method, path)) = parsed.filter(|(_, path)| path.starts_with('/')) else {
            panic!("`{route}` is no route: it must be a method and a path, as `POST /documents/{{id}}`");
        };
        let methods = plan.routes.entry(path.to_owned()).or_default();
        let known = methods.iter().position(|(known, _)| *known == method);
        let at = known.unwrap_or_else(|| {
            methods.push((method, Arc::clone(&plan.elsewhere)));
            methods.len() - 1
        });
        edit(Arc::make_mut(&mut methods[at].1));
        self
    }
}

impl<S> tower::Layer<S> for MeteringLayer {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        Metered {
            inner,
            plan: Arc::clone(&self.plan),
        }
    }
}

impl Plan {
    /// Whose a request is, by which route it came, and what that asks for.
    pub(crate) fn of(&self, parts: &Parts) -> Option<(Caller, Option<Endpoint>, Arc<Rules>)> {
        let endpoint = self.endpoint_of(parts);
        let rules = endpoint.as_ref().map_or(&self.elsewhere, |endpoint| {
            let methods = self.routes.get(endpoint.as_str()).into_iter().flatten();
            let mut named = methods.filter(|(method, _)| *method == parts.method);
            named.next().map_or(&self.elsewhere, |(_, rules)| rules)
        });
        if rules.is_skipped {
            return None;
        }
        let caller = (self.caller)(parts)?;
        Some((caller, endpoint, Arc::clone(rules)))
    }

    fn endpoint_of(&self, parts: &Parts) -> Option<Endpoint> {
        if let Some(endpoint) = &self.endpoint {
            return endpoint(parts).map(Endpoint::Named);
        }
        #[cfg(feature = "axum")]
        if let Some(matched) = parts.extensions.get::<axum::extract::MatchedPath>() {
            return Some(Endpoint::Matched(matched.clone()));
        }
        None
    }
}

impl Endpoint {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            #[cfg(feature = "axum")]
            Self::Matched(matched) => matched.as_str(),
            Self::Named(name) => name,
        }
    }

    /// As an event says it.
    pub(crate) fn text(&self) -> String {
        self.as_str().chars().take(ENDPOINT_CHARACTERS_MAX).collect()
    }
}

impl std::fmt::Debug for MeteringLayer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MeteringLayer")
            .field("routes", &self.plan.routes)
            .field("on_full", &self.plan.on_full)
            .finish_non_exhaustive()
    }
}
