//! Cookies of a browser (RFC 6265), as far as sandboxes and loopback callbacks use them.

use url::Url;

/// The cookies of a browser.
#[derive(Default)]
pub(super) struct Cookies(Vec<Cookie>);

struct Cookie {
    /// Cookies belong to a host; the port is no part of it (RFC 6265 section 8.5).
    host: String,
    path: String,
    name: String,
    value: String,
}

impl Cookies {
    /// Takes a `Set-Cookie` header over.
    pub(super) fn set(&mut self, url: &Url, header: &str) {
        let mut parts = header.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let mut path = default_path(url);
        let mut expired = false;
        for (attribute, setting) in parts.filter_map(|part| part.split_once('=')) {
            if attribute.eq_ignore_ascii_case("path") && setting.starts_with('/') {
                setting.clone_into(&mut path);
            } else if attribute.eq_ignore_ascii_case("max-age") {
                expired = setting.parse().is_ok_and(|seconds: i64| seconds <= 0);
            }
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        self.0.retain(|own| own.host != host || own.path != path || own.name != name);
        if !expired {
            let (name, value) = (name.to_owned(), value.to_owned());
            self.0.push(Cookie { host, path, name, value });
        }
    }

    /// Returns the `Cookie` header for a request.
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let wanted =
            |own: &&Cookie| url.host_str() == Some(own.host.as_str()) && covers(&own.path, url.path());
        let pairs: Vec<_> =
            self.0.iter().filter(wanted).map(|own| format!("{}={}", own.name, own.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// Returns the folder of a URL's path (RFC 6265 section 5.1.4).
fn default_path(url: &Url) -> String {
    match url.path().rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(end) => url.path()[..end].to_owned(),
    }
}

fn covers(own: &str, path: &str) -> bool {
    path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || own.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn cookies_go_to_their_host_and_path() {
        let mut cookies = Cookies::default();
        cookies.set(&url("http://127.0.0.1:1/oidc/authorize"), "a=1; Path=/oidc; HttpOnly");
        let at = |text| cookies.header(&url(text));
        assert_eq!(at("http://127.0.0.1:2/oidc/consent?x").as_deref(), Some("a=1"));
        assert_eq!(at("http://127.0.0.1:1/oidcx"), None);
        assert_eq!(at("http://localhost:1/oidc"), None);
    }

    #[test]
    fn cookies_are_replaced_and_removed() {
        let mut cookies = Cookies::default();
        let page = url("http://127.0.0.1/start/x");
        cookies.set(&page, "a=1; Path=/");
        cookies.set(&page, "a=2; Path=/");
        assert_eq!(cookies.header(&page).as_deref(), Some("a=2"));
        cookies.set(&page, "a=; Path=/; Max-Age=0");
        assert_eq!(cookies.header(&page), None);
    }
}
