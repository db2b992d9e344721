//! Which function serves a request: the routes of the template, matched as API Gateway does.
//!
//! A literal segment wins over a parameter, and what no route names goes to `$default`. Paths
//! come in decoded, since API Gateway decodes them before it looks for a route.

use std::collections::BTreeMap;

use crate::template::Route;

/// What API Gateway calls the route of everything that no other route names.
const FALLBACK: &str = "$default";

/// All routes of one API.
#[derive(Debug)]
pub struct Routes {
    /// Those with more literal segments at the front come first.
    routes: Vec<Compiled>,
    fallback: Option<String>,
}

#[derive(Debug)]
struct Compiled {
    function: String,
    method: String,
    /// As `METHOD /path/{parameter}`.
    key: String,
    segments: Vec<Segment>,
}

/// Literal segments sort before parameters: the order in which routes are tried.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Parameter(String),
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// The function that serves it.
    pub function: &'a str,
    /// The route, as API Gateway names it.
    pub key: &'a str,
    /// The values of the path's parameters.
    pub parameters: BTreeMap<&'a str, &'a str>,
}

impl Routes {
    /// The routes of an API.
    pub fn new(declared: &[Route]) -> Self {
        let mut routes = Vec::new();
        let mut fallback = None;
        for route in declared {
            match &route.operation {
                None => fallback = Some(route.function.clone()),
                Some((method, path)) => routes.push(Compiled {
                    function: route.function.clone(),
                    method: method.clone(),
                    key: format!("{method} {path}"),
                    segments: split(path).map(Segment::read).collect(),
                }),
            }
        }
        routes.sort_by(|a, b| a.segments.cmp(&b.segments));
        Self { routes, fallback }
    }

    /// The route of a request; none if nothing serves it, not even `$default`.
    pub fn find<'a>(&'a self, method: &str, path: &'a str) -> Option<Match<'a>> {
        let named = self
            .routes
            .iter()
            .filter(|route| route.method == method || route.method == "ANY")
            .find_map(|route| {
                let parameters = route.parameters(path)?;
                Some(Match {
                    function: &route.function,
                    key: &route.key,
                    parameters,
                })
            });
        named.or_else(|| {
            Some(Match {
                function: self.fallback.as_deref()?,
                key: FALLBACK,
                parameters: BTreeMap::new(),
            })
        })
    }
}

impl Compiled {
    /// The values of the parameters, if the path is one of this route.
    fn parameters<'a>(&'a self, path: &'a str) -> Option<BTreeMap<&'a str, &'a str>> {
        let mut parameters = BTreeMap::new();
        let mut given = split(path);
        for segment in &self.segments {
            match (segment, given.next()?) {
                (Segment::Literal(literal), text) if literal == text => {}
                (Segment::Parameter(name), text) if !text.is_empty() => {
                    parameters.insert(name.as_str(), text);
                }
                _ => return None,
            }
        }
        given.next().is_none().then_some(parameters)
    }
}

impl Segment {
    fn read(text: &str) -> Self {
        match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => Self::Parameter(name.to_owned()),
            None => Self::Literal(text.to_owned()),
        }
    }
}

fn split(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(declared: &[(&str, &str)]) -> Routes {
        let mut all: Vec<Route> = declared
            .iter()
            .map(|(method, path)| Route {
                function: "Named".to_owned(),
                operation: Some(((*method).to_owned(), (*path).to_owned())),
            })
            .collect();
        all.push(Route {
            function: "Otherwise".to_owned(),
            operation: None,
        });
        Routes::new(&all)
    }

    #[test]
    fn a_literal_segment_wins_over_a_parameter_in_any_order_of_declaration() {
        let routes = routes(&[("GET", "/things/{id}"), ("GET", "/things/all"), ("GET", "/{kind}/all")]);
        for (path, key) in [
            ("/things/7", "GET /things/{id}"),
            ("/things/all", "GET /things/all"),
            ("/others/all", "GET /{kind}/all"),
        ] {
            assert_eq!(routes.find("GET", path).expect("found").key, key);
        }
    }

    #[test]
    fn parameters_are_handed_on() {
        let routes = routes(&[("GET", "/a/{x}/b/{y}")]);
        let found = routes.find("GET", "/a/auth0|1/b/ü").expect("found");
        assert_eq!(found.parameters, BTreeMap::from([("x", "auth0|1"), ("y", "ü")]));
    }

    #[test]
    fn what_no_route_names_goes_to_the_fallback() {
        let routes = routes(&[("GET", "/"), ("GET", "/a/{x}"), ("ANY", "/any")]);
        for (method, path) in [
            ("POST", "/a/1"),
            ("GET", "/a"),
            ("GET", "/a/"),
            ("GET", "/a/1/"),
            ("GET", "/a/1/2"),
            ("GET", "//"),
            ("DELETE", "/"),
            ("GET", "/A/1"),
        ] {
            let found = routes.find(method, path).expect("found");
            assert_eq!(
                (found.function, found.key),
                ("Otherwise", "$default"),
                "{method} {path}"
            );
        }
        for (method, path) in [("GET", "/"), ("DELETE", "/any"), ("GET", "/a/1")] {
            assert_eq!(routes.find(method, path).expect("found").function, "Named");
        }
    }

    #[test]
    fn without_a_fallback_nothing_is_found() {
        assert_eq!(Routes::new(&[]).find("GET", "/"), None);
    }
}
