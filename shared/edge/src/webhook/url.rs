//! Which URLs may be called. Pure: it looks nothing up.

use std::net::IpAddr;

use url::{Host, Url};

use super::{Reach, address};

/// Characters of a URL, as given and in its normal form.
const URL_LENGTH_MAX: usize = 2_048;
/// Characters of a host's name and of each of its labels (RFC 1035, section 2.3.4).
const NAME_LENGTH_MAX: usize = 253;
/// See [`NAME_LENGTH_MAX`].
const LABEL_LENGTH_MAX: usize = 63;
/// Names that stay inside a machine or a network: RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`,
/// and the habit of `localdomain`. They and all below them are refused.
const PRIVATE_NAMES: [&str; 5] = ["localhost", "local", "internal", "home.arpa", "localdomain"];

/// Why a URL may not be called, as a sentence for whoever named it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// It is no URL, or holds blanks, control characters or backslashes.
    #[error("The URL cannot be read.")]
    Unreadable,
    /// It is too long.
    #[error("The URL has more than {URL_LENGTH_MAX} characters.")]
    Length,
    /// It is not HTTPS.
    #[error("The URL must begin with https://.")]
    Scheme,
    /// It names a user or a password.
    #[error("The URL must not contain a user name or a password.")]
    UserInfo,
    /// It has a fragment, which would not be sent.
    #[error("The URL must not contain a fragment.")]
    Fragment,
    /// It names another port.
    #[error("The URL must use port 443.")]
    Port,
    /// Its host is no public name.
    #[error("The URL's host is not a public domain name.")]
    Name,
    /// Its host is an address that is not globally reachable.
    #[error("The URL's address is not publicly reachable.")]
    Address,
    /// Its host resolves to such an address.
    #[error("The URL's host resolves to an address that is not publicly reachable.")]
    Resolved,
}

/// What is allowed: a reach, and the port of what is public.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    reach: Reach,
    port: u16,
}

impl Rule {
    pub(super) fn new(reach: Reach, port: u16) -> Self {
        Self { reach, port }
    }

    /// The URL, if it may be called as far as it shows by itself.
    pub(super) fn url(self, text: &str) -> Result<Url, UrlFault> {
        if text.chars().count() > URL_LENGTH_MAX {
            return Err(UrlFault::Length);
        }
        // The parser would drop or turn them silently, and others would read another URL.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(UrlFault::Unreadable);
        }
        let url = Url::parse(text).map_err(|_| UrlFault::Unreadable)?;
        if url.as_str().len() > URL_LENGTH_MAX {
            return Err(UrlFault::Length);
        }
        if !matches!(url.scheme(), "https" | "http") {
            return Err(UrlFault::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlFault::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(UrlFault::Fragment);
        }
        if !self.is_local(url.host()) {
            self.public(&url)?;
        }
        Ok(url)
    }

    /// Whether all addresses of a host may be connected to: one that may not spoils the others,
    /// since the client is free to take any.
    pub(super) fn resolved(self, host: &str, addresses: &[IpAddr]) -> Result<(), UrlFault> {
        let local = self.is_local(Some(Host::Domain(host)));
        let allowed = |address: &IpAddr| {
            if local {
                address.is_loopback()
            } else {
                address::is_public(*address)
            }
        };
        if addresses.iter().all(allowed) {
            Ok(())
        } else {
            Err(UrlFault::Resolved)
        }
    }

    fn public(self, url: &Url) -> Result<(), UrlFault> {
        if url.scheme() != "https" {
            return Err(UrlFault::Scheme);
        }
        if url.port_or_known_default() != Some(self.port) {
            return Err(UrlFault::Port);
        }
        let (allowed, fault) = match url.host() {
            Some(Host::Domain(name)) => (is_public_name(name), UrlFault::Name),
            Some(Host::Ipv4(address)) => (address::is_public(address.into()), UrlFault::Address),
            Some(Host::Ipv6(address)) => (address::is_public(address.into()), UrlFault::Address),
            None => (false, UrlFault::Name),
        };
        if allowed { Ok(()) } else { Err(fault) }
    }

    /// Whether the host is this machine by its own name or address, and may be.
    fn is_local(self, host: Option<Host<&str>>) -> bool {
        match self.reach {
            Reach::Public => false,
            Reach::Local => match host {
                Some(Host::Domain(name)) => name == "localhost",
                Some(Host::Ipv4(address)) => address.is_loopback(),
                Some(Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            },
        }
    }
}

/// Two labels or more of letters, digits, hyphens and low lines, in the parser's normal form (small
/// letters, IDNA as `xn--`), without a trailing dot, and not below a private name.
fn is_public_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_LENGTH_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_below = |parent: &str| {
        name.strip_suffix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    name.len() <= NAME_LENGTH_MAX
        && name.contains('.')
        && name.split('.').all(is_label)
        && !PRIVATE_NAMES.iter().any(|parent| is_below(parent))
}
