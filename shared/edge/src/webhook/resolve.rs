//! From a host's name to addresses, with a guard in between: what it lets through is what the client
//! connects to, without a second look-up.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::url::Rule;

/// Finds the addresses of a host.
pub trait Lookup: Send + Sync {
    /// All addresses of `host`, a name without a trailing dot; an error when there are none.
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The machine's own way.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Judges every address before the client sees any.
pub(super) struct Guard {
    rule: Rule,
    lookup: Arc<dyn Lookup>,
}

impl Guard {
    pub(super) fn new(rule: Rule, lookup: Arc<dyn Lookup>) -> Self {
        Self { rule, lookup }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let rule = self.rule;
        let found = self.lookup.lookup(name.as_str());
        Box::pin(async move {
            let addresses = found.await?;
            rule.resolved(name.as_str(), &addresses)?;
            // Port 0 stands for the URL's.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
