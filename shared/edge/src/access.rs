//! Who may do what: the table of callers in the API's contract, as code.

use metering_domain::ids::Namespace;
use metering_store::audit::Actor;

use crate::problem::Problem;

/// What a caller may be allowed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Reading.
    Read,
    /// Reporting usage and what belongs to it.
    Write,
    /// Everything.
    Admin,
}

impl Scope {
    /// All scopes by their names.
    pub const NAMES: [&str; 3] = ["usage:read", "usage:write", "usage:admin"];

    /// Its name in keys and tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "usage:read",
            Self::Write => "usage:write",
            Self::Admin => "usage:admin",
        }
    }

    /// The scope of a name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Admin]
            .into_iter()
            .find(|scope| scope.as_str() == name)
    }
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A user, by a token.
    User {
        /// Their id.
        id: String,
        /// Whether the token makes them an administrator.
        admin: bool,
    },
    /// A service, by an API key.
    Service {
        /// The key's id.
        key_id: String,
        /// What the key allows.
        scopes: Vec<Scope>,
    },
}

impl Caller {
    /// Whether everything is allowed.
    pub fn is_admin(&self) -> bool {
        match self {
            Self::User { admin, .. } => *admin,
            Self::Service { scopes, .. } => scopes.contains(&Scope::Admin),
        }
    }

    /// Whether it is a user without further rights.
    pub fn is_plain_user(&self) -> bool {
        matches!(self, Self::User { admin: false, .. })
    }

    /// Refuses a caller without the scope. A user may read and write what is their own.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        let allowed = self.is_admin()
            || match self {
                Self::User { .. } => scope != Scope::Admin,
                Self::Service { scopes, .. } => scopes.contains(&scope),
            };
        if allowed {
            Ok(())
        } else {
            Err(Problem::forbidden(format!("This needs the scope {}.", scope.as_str())))
        }
    }

    /// The user that a request is about, from what it says. None: it had to say.
    pub fn subject(&self, named: Option<String>) -> Result<Option<String>, Problem> {
        match (self, named) {
            (Self::User { id, .. }, None) => Ok(Some(id.clone())),
            (Self::User { id, admin: false }, Some(named)) if *id != named => {
                Err(Problem::forbidden("A user token reaches only its own user's data."))
            }
            (_, named) => Ok(named),
        }
    }

    /// Whether it must say whose data it means: a service has none of its own.
    pub fn must_name_user(&self) -> bool {
        matches!(self, Self::Service { .. })
    }

    /// In whose names events are sent: a user cannot take the place of a service's event.
    pub fn namespace(&self) -> Namespace {
        match self {
            Self::User { .. } => Namespace::User,
            Self::Service { .. } => Namespace::Service,
        }
    }

    /// Who it is in the ledger and the audit log.
    pub fn actor(&self) -> Actor {
        match self {
            Self::User { id, .. } => Actor {
                kind: "user",
                id: id.clone(),
            },
            Self::Service { key_id, .. } => Actor {
                kind: "api_key",
                id: key_id.clone(),
            },
        }
    }

    /// A text that no other caller has.
    pub fn principal(&self) -> String {
        let actor = self.actor();
        format!("{}:{}", actor.kind, actor.id)
    }
}
