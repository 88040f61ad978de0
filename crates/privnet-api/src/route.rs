use crate::{ENDPOINTS, Endpoint, Method, percent};

/// The endpoint that a request is for.
#[derive(Debug)]
pub struct Route {
    /// The endpoint.
    pub endpoint: &'static Endpoint,
    /// The values of the path's parameters, percent-decoded, in the path's order.
    pub params: Vec<String>,
}

/// No endpoint is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Nothing has this path.
    #[error("there is nothing at this path; /v2/openapi.json lists what there is")]
    UnknownPath,
    /// The path ends in an action, which takes one method only. The real service answers 404 here.
    #[error("there is nothing at this path for {asked}; an action such as :{action} is called with {method}")]
    UnknownAction {
        /// The method of the request.
        asked: String,
        /// The action.
        action: &'static str,
        /// The method it takes.
        method: Method,
    },
    /// The path takes other methods.
    #[error("this path takes {}, not {asked}", join(allowed))]
    WrongMethod {
        /// The method of the request.
        asked: String,
        /// What the path takes, sorted.
        allowed: Vec<Method>,
    },
}

/// The endpoint for a method and a path as they come on the wire, without a query.
///
/// A segment may be percent-encoded, its colon as well. A trailing slash makes another path.
///
/// # Errors
/// [`RouteError`]; the path is looked at before the method.
pub fn route(method: &str, path: &str) -> Result<Route, RouteError> {
    let segments: Vec<_> = path.split('/').map(decode).collect();
    let takes = |endpoint: &&'static Endpoint| methods(endpoint).iter().any(|taken| taken.as_str() == method);
    let found = ENDPOINTS.iter().filter(takes).find_map(|endpoint| {
        let params = params(endpoint.path, &segments)?;
        Some(Route { endpoint, params })
    });
    found.ok_or_else(|| no_route(method, &segments))
}

fn no_route(method: &str, segments: &[String]) -> RouteError {
    let matching = || ENDPOINTS.iter().filter(|endpoint| params(endpoint.path, segments).is_some());
    let mut allowed: Vec<_> = matching().flat_map(methods).copied().collect();
    if allowed.is_empty() {
        return RouteError::UnknownPath;
    }
    allowed.sort_unstable();
    let asked = method.chars().take(METHOD_CHARS_MAX).collect();
    match matching().next().and_then(action) {
        Some(action) => RouteError::UnknownAction { asked, action, method: allowed[0] },
        None => RouteError::WrongMethod { asked, allowed },
    }
}

/// How much of a method is quoted: all registered ones are shorter.
const METHOD_CHARS_MAX: usize = 32;

/// The methods that lead to an endpoint: what answers GET answers HEAD too (RFC 9110 §9.1).
fn methods(endpoint: &'static Endpoint) -> &'static [Method] {
    match endpoint.method {
        Method::Get => &[Method::Get, Method::Head],
        _ => std::slice::from_ref(&endpoint.method),
    }
}

/// The parameters' values where the segments fit the template.
fn params(template: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut params = Vec::new();
    let mut given = segments.iter();
    for wanted in template.split('/') {
        let segment = given.next()?;
        match wanted.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            None if wanted == segment => {}
            None => return None,
            Some((_, action)) => {
                let value = segment.strip_suffix(action)?;
                if value.is_empty() || value.contains(':') {
                    return None;
                }
                params.push(value.to_owned());
            }
        }
    }
    given.next().is_none().then_some(params)
}

/// The `attach` of `{id}:attach`.
fn action(endpoint: &'static Endpoint) -> Option<&'static str> {
    endpoint.path.split_once("}:").map(|(_, action)| action)
}

/// What does not decode to UTF-8 gets replacement characters, which are part of no path and no id.
fn decode(segment: &str) -> String {
    String::from_utf8_lossy(&percent::decode(segment)).into_owned()
}

fn join(methods: &[Method]) -> String {
    methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50";

    fn check(method: &str, path: &str, expected: Result<(&str, &[&str]), RouteError>) {
        let found = route(method, path);
        let found = found.as_ref().map(|route| (route.endpoint.id, &route.params[..])).map_err(Clone::clone);
        match (found, expected) {
            (Ok((id, params)), Ok((wanted_id, wanted))) => {
                assert_eq!((id, params), (wanted_id, &wanted.iter().map(|p| p.to_string()).collect::<Vec<_>>()[..]));
            }
            (found, expected) => assert_eq!(found.err(), expected.err(), "{method} {path}"),
        }
    }

    #[test]
    fn every_endpoint_is_found_at_its_own_path() {
        for endpoint in &ENDPOINTS {
            let path = endpoint.path.replace("{id}", ID).replace("{field}", "labels");
            let found = route(endpoint.method.as_str(), &path).expect("its own path");
            assert_eq!(found.endpoint.id, endpoint.id);
        }
    }

    #[test]
    fn the_colon_of_an_action_may_be_encoded() {
        let attach = "attach-instance-to-private-network";
        check("PUT", &format!("/v2/private-network/{ID}:attach"), Ok((attach, &[ID])));
        check("PUT", &format!("/v2/private-network/{ID}%3Aattach"), Ok((attach, &[ID])));
        check("PUT", &format!("/v2/private-network/{ID}%3aattach"), Ok((attach, &[ID])));
    }

    #[test]
    fn a_malformed_id_is_still_an_id() {
        check("GET", "/v2/private-network/nonsense", Ok(("get-private-network", &["nonsense"])));
        check("GET", "/v2/private-network/a%2Fb", Ok(("get-private-network", &["a/b"])));
        check("PUT", "/v2/private-network/%ff:attach", Ok(("attach-instance-to-private-network", &["\u{fffd}"])));
        check("PUT", "/v2/private-network/%zz", Ok(("update-private-network", &["%zz"])));
    }

    #[test]
    fn other_paths_are_unknown() {
        for path in
            ["/", "", "/v2", "/v2/", "/v2/zone/", "/v2//zone", "/v2/private-network/", "/zone", "/v2/quotas", "*"]
        {
            check("GET", path, Err(RouteError::UnknownPath));
        }
        check("PUT", &format!("/v2/private-network/{ID}:explode"), Err(RouteError::UnknownPath));
        check("PUT", "/v2/private-network/:attach", Err(RouteError::UnknownPath));
        check("PUT", &format!("/v2/private-network/{ID}:attach:attach"), Err(RouteError::UnknownPath));
    }

    #[test]
    fn an_action_under_another_method_does_not_exist() {
        let refusal = RouteError::UnknownAction { asked: "POST".into(), action: "detach", method: Method::Put };
        check("POST", &format!("/v2/private-network/{ID}:detach"), Err(refusal.clone()));
        assert_eq!(
            refusal.to_string(),
            "there is nothing at this path for POST; an action such as :detach is called with PUT"
        );
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let allowed = vec![Method::Delete, Method::Get, Method::Head, Method::Put];
        let refusal = RouteError::WrongMethod { asked: "PATCH".into(), allowed };
        check("PATCH", &format!("/v2/private-network/{ID}"), Err(refusal.clone()));
        assert_eq!(refusal.to_string(), "this path takes DELETE, GET, HEAD, PUT, not PATCH");
        let refusal = RouteError::WrongMethod { asked: "POST".into(), allowed: vec![Method::Get, Method::Head] };
        check("POST", "/v2/zone", Err(refusal));
    }

    #[test]
    fn what_can_be_got_can_be_asked_for_its_head() {
        check("HEAD", "/v2/zone", Ok(("list-zones", &[])));
        check("HEAD", &format!("/v2/private-network/{ID}"), Ok(("get-private-network", &[ID])));
    }
}
