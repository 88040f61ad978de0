//! What keeps web pages away from a server that verifies nothing. A browser on the same machine reaches it on
//! loopback, and sends it what any page wants: by a name of the page's own whose address has become 127.0.0.1
//! (DNS rebinding), or across sites as a request that needs no leave (the Fetch standard's CORS-safelisted ones).

use std::net::IpAddr;

use hyper::header::{HOST, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Uri};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Why a request may be a web page's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    #[error(
        "this server verifies nothing (--insecure-no-auth), so the Host header must be a loopback address, localhost or the host of public-url: a web page may have any other"
    )]
    Host,
    #[error(
        "this server verifies nothing (--insecure-no-auth), so no request is taken from a web page: leave out the headers Origin and Sec-Fetch-Site"
    )]
    Page,
}

/// The host of a URL, as a Host header has it.
pub(crate) fn host_of(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.host().map(str::to_owned)
}

/// Refuses what a web page may have sent. `own_host` may be the Host header's beside the loopback ones.
///
/// # Errors
/// [`PageError`].
pub(super) fn refuse(headers: &HeaderMap, own_host: Option<&str>) -> Result<(), PageError> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(PageError::Host) };
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| PageError::Host)?;
    let host = authority.host();
    let is_own = || own_host.is_some_and(|own| own.eq_ignore_ascii_case(host));
    if !is_loopback(host) && !is_own() {
        return Err(PageError::Host);
    }
    // Browsers send one or both with what pages ask for (the Fetch standard and "Fetch Metadata Request Headers").
    let is_by_user = |site: &HeaderValue| *site == "none" || *site == "same-origin";
    if headers.contains_key(ORIGIN) || !headers.get_all(SEC_FETCH_SITE).iter().all(is_by_user) {
        return Err(PageError::Page);
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || literal.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn refuse_with(headers: &[(&str, &str)], own_host: Option<&str>) -> Result<(), PageError> {
        let header = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse::<HeaderValue>().expect("a value"))
        };
        refuse(&headers.iter().map(header).collect(), own_host)
    }

    #[test]
    fn a_loopback_address_localhost_and_the_own_host_are_taken() {
        let own = host_of("http://api.example:8080/v2");
        assert_eq!(own.as_deref(), Some("api.example"));
        for host in ["127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "[::1]", "localhost", "LocalHost:80", "API.example:9"]
        {
            assert_eq!(refuse_with(&[("host", host)], own.as_deref()), Ok(()), "{host}");
        }
        assert_eq!(refuse_with(&[("host", "api.example")], None), Err(PageError::Host));
    }

    #[test]
    fn a_name_that_any_page_may_have_is_refused() {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:8080",
            "localhost.evil.example",
            "notlocalhost",
            "192.0.2.1:8080",
            "0.0.0.0:8080",
            "[2001:db8::1]",
            "127.0.0.1@evil.example",
            "",
            "a b",
        ] {
            assert_eq!(refuse_with(&[("host", host)], Some("api.example")), Err(PageError::Host), "{host}");
        }
        assert_eq!(refuse_with(&[], None), Err(PageError::Host));
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(refuse_with(&two, None), Err(PageError::Host));
    }

    #[test]
    fn what_a_browser_sends_for_a_page_is_refused() {
        let with = |headers: &[(&'static str, &'static str)]| {
            refuse_with(&[&[("host", "localhost:8080")], headers].concat(), None)
        };
        for good in ["none", "same-origin"] {
            assert_eq!(with(&[("sec-fetch-site", good)]), Ok(()), "{good}");
        }
        for bad in ["cross-site", "same-site", "", "None"] {
            assert_eq!(with(&[("sec-fetch-site", bad)]), Err(PageError::Page), "{bad}");
        }
        assert_eq!(with(&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")]), Err(PageError::Page));
        for origin in ["http://evil.example", "null", "http://localhost:8080"] {
            assert_eq!(with(&[("origin", origin)]), Err(PageError::Page), "{origin}");
        }
    }
}
