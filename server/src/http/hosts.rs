//! Under which names this server may be addressed, and whether a request comes from its own pages.
//!
//! The first stops pages of others that point a name of theirs at this machine (DNS rebinding), the second stops
//! them from sending requests in a visitor's name.

use std::collections::HashSet;
use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

pub struct Hosts {
    /// Lower-case, without port; IPv6 addresses in brackets.
    names: HashSet<String>,
    /// Host and port of the addresses under which a proxy serves this server's pages, as they were allowed.
    public: HashSet<String>,
}

impl Hosts {
    pub fn new(listen: IpAddr, allowed: &[String]) -> Self {
        let mut names: HashSet<String> = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).into();
        if !listen.is_unspecified() {
            names.insert(if listen.is_ipv6() { format!("[{listen}]") } else { listen.to_string() });
        }
        names.extend(allowed.iter().map(|host| name_of(host)));
        Self { names, public: allowed.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    /// The one `Host` of the request, where it is one of ours.
    pub fn admitted<'a>(&self, headers: &'a HeaderMap, uri: &Uri) -> Option<&'a str> {
        let host = only(headers, header::HOST)?;
        // A request line may name a host as well; the two must not disagree.
        let consistent = uri.authority().is_none_or(|authority| authority.as_str().eq_ignore_ascii_case(host));
        (consistent && self.names.contains(&name_of(host))).then_some(host)
    }

    /// Does the request say that a page of this server sent it? Such a page has the `Host` of the request, or, behind a
    /// proxy that changes `Host`, an address that was allowed at the start.
    pub fn same_origin(&self, headers: &HeaderMap, host: &str) -> bool {
        let Some(origin) = only(headers, header::ORIGIN) else { return false };
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| {
            authority.eq_ignore_ascii_case(host) || self.public.contains(&authority.to_ascii_lowercase())
        })
    }
}

/// A header's value where it is there exactly once.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Without port, lower-case, without the dot that may end a full name.
fn name_of(host: &str) -> String {
    let name = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(host: &str) -> bool {
        let hosts = Hosts::new("192.168.1.5".parse().unwrap(), &["Notebook.example:8080".to_owned()]);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        hosts.admitted(&headers, &Uri::from_static("/")).is_some()
    }

    #[test]
    fn known_names_are_admitted_on_any_port() {
        for host in
            ["localhost:3000", "127.0.0.1", "[::1]:3000", "[::1]", "192.168.1.5:80", "notebook.EXAMPLE", "LOCALHOST."]
        {
            assert!(admitted(host), "{host}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for host in
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:3000", "", "192.168.1.50", "[::2]:3000"]
        {
            assert!(!admitted(host), "{host}");
        }
    }

    #[test]
    fn two_hosts_or_a_request_line_that_disagrees_are_refused() {
        let hosts = Hosts::new("127.0.0.1".parse().unwrap(), &[]);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost".parse().unwrap());
        assert!(hosts.admitted(&headers, &Uri::from_static("http://evil.example/")).is_none());
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(hosts.admitted(&headers, &Uri::from_static("/")).is_none());
    }

    #[test]
    fn only_this_hosts_own_pages_are_of_the_same_origin() {
        let check = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            let hosts =
                Hosts::new("127.0.0.1".parse().unwrap(), &["lab.example".to_owned(), "Lab.example:8443".to_owned()]);
            hosts.same_origin(&headers, "127.0.0.1:3000")
        };
        for origin in ["https://lab.example", "http://LAB.example", "https://lab.example:8443"] {
            assert!(check(Some(origin)), "{origin}: a proxy may change Host, and the page's own address was allowed");
        }
        assert!(check(Some("http://127.0.0.1:3000")));
        for origin in [
            None,
            Some("null"),
            Some("http://127.0.0.1:3001"),
            Some("http://evil.example"),
            Some("127.0.0.1:3000"),
            Some("http://localhost:3000"),
            Some("https://lab.example:8000"),
            Some("https://lab.example.evil.example"),
            Some("ftp://lab.example"),
            Some(""),
        ] {
            assert!(!check(origin), "{origin:?}");
        }
    }
}
