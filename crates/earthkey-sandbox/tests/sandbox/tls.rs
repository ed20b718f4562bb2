//! TLS: real clients that come through a tunnel, or by the hosts' own names.

use std::time::Duration;

use earthkey_sandbox::{Fault, Options, Realm, When};
use reqwest::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use reqwest::{Certificate, Client, Proxy, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use crate::bench::google::{DESKTOP_CLIENT, TOKEN, TOKENINFO};
use crate::bench::{Answer, Bench, CALLBACK, VERIFIER, parameter, string};

async fn bench() -> Bench {
    Bench::with(Options { tls: true, ..Options::default() }).await
}

/// Returns a client that trusts the sandbox's authority and no other.
fn trusting(bench: &Bench, proxy: bool) -> Client {
    let ca = Certificate::from_pem(bench.sandbox.ca_pem().unwrap().as_bytes()).unwrap();
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none()).tls_certs_only([ca]);
    let builder =
        if proxy { builder.proxy(Proxy::https(bench.sandbox.url()).unwrap()) } else { builder.no_proxy() };
    builder.build().unwrap()
}

fn secure(bench: &Bench, path: &str) -> String {
    bench.at(path).replace("http://", "https://")
}

fn address(bench: &Bench) -> String {
    bench.sandbox.url().strip_prefix("http://").unwrap().to_owned()
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Sends bytes, and returns what comes until the other side ends or answers with a whole head.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn hosts_are_reached_through_a_tunnel() {
    let bench = bench().await;
    let http = trusting(&bench, true);
    let certs = http.get("https://www.googleapis.com/oauth2/v3/certs").send().await.unwrap();
    assert_eq!(certs.headers()["server"], "earthkey-sandbox");
    assert!(Answer::of(certs).await.value()["keys"][0]["kid"].is_string());
    let token = http.get("https://oauth2.googleapis.com/tokeninfo?access_token=x").send().await.unwrap();
    assert_eq!(token.status(), StatusCode::BAD_REQUEST);
    // The log knows the path of the host.
    let record = bench.control().requests(Some(TOKENINFO)).pop().unwrap();
    assert_eq!((record.realm, record.status), (Some(Realm::Google), Some(400)));
    assert_eq!(bench.control().requests(None).len(), 2);
    // What is beside the hosts is not reached by their names.
    for path in ["/_control/requests", "/oidc/jwks", "/_control/client-file"] {
        let answer = http.get(format!("https://accounts.google.com{path}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    // Plain requests go on as ever.
    assert_eq!(bench.get("/oidc/jwks").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_person_signs_in_at_googles_own_address() {
    let bench = bench().await;
    let http = trusting(&bench, true);
    let mut cookie = String::new();
    let mut url = Url::parse("https://accounts.google.com/o/oauth2/auth").unwrap();
    url.set_query(bench.google_url(&[]).query());
    let mut page = Answer::of(http.get(url.clone()).send().await.unwrap()).await;
    for fields in [&[][..], &[("username", "ada"), ("password", "sandbox")], &[], &[("decision", "allow")]] {
        if let Some(header) = page.headers.get(SET_COOKIE) {
            header.to_str().unwrap().split(';').next().unwrap().clone_into(&mut cookie);
        }
        let request = if fields.is_empty() {
            url = url.join(page.headers[LOCATION].to_str().unwrap()).unwrap();
            http.get(url.clone())
        } else {
            let value = |name: &str| {
                let (_, rest) = page.text.split_once(&format!("{name}=\"")).expect(name);
                rest.split_once('"').unwrap().0.to_owned()
            };
            let policy = page.header("content-security-policy");
            assert!(policy.contains("style-src 'self'; form-action 'self'"), "{policy}");
            url = url.join(&value("action")).unwrap();
            let (csrf, request) = (value("name=\"csrf\" value"), value("name=\"request\" value"));
            let mut all = vec![("csrf", csrf.as_str()), ("request", request.as_str())];
            all.extend(fields);
            http.post(url.clone())
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form(&all))
        };
        page = Answer::of(request.header(COOKIE, &cookie).send().await.unwrap()).await;
        assert_eq!(url.host_str(), Some("accounts.google.com"));
    }
    let redirect = Url::parse(page.headers[LOCATION].to_str().unwrap()).unwrap();
    assert!(redirect.as_str().starts_with(CALLBACK), "{redirect}");
    // The cookie is for the addresses of the host, too.
    let again =
        format!("https://accounts.google.com/o/oauth2/auth?{}", bench.google_url(&[]).query().unwrap());
    let again = http.get(again).header(COOKIE, &cookie).send().await.unwrap();
    assert!(again.headers()[LOCATION].to_str().unwrap().contains("/consent?"));
    assert!(page.headers.get(SET_COOKIE).is_none() && cookie.starts_with("sandbox-google-"));

    let body = form(&[
        ("grant_type", "authorization_code"),
        ("client_id", DESKTOP_CLIENT.0),
        ("client_secret", DESKTOP_CLIENT.1),
        ("redirect_uri", CALLBACK),
        ("code", &parameter(&redirect, "code").unwrap()),
        ("code_verifier", VERIFIER),
    ]);
    let request = http.post("https://oauth2.googleapis.com/token").body(body);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let tokens = Answer::of(request.send().await.unwrap()).await.value();
    assert!(string(&tokens, "access_token").starts_with("ya29.sandbox-"));
}

#[tokio::test]
async fn the_style_is_where_the_pages_look_for_it() {
    let bench = bench().await;
    let http = trusting(&bench, true);
    let page = http.get("https://accounts.google.com/o/oauth2/auth").send().await.unwrap();
    let page = Answer::of(page).await.text;
    let (_, rest) = page.split_once("<link rel=\"stylesheet\" href=\"").unwrap();
    let path = rest.split_once('"').unwrap().0;
    for origin in ["https://accounts.google.com", bench.sandbox.url()] {
        let style = http.get(format!("{origin}{path}")).send().await.unwrap();
        assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    }
}

#[tokio::test]
async fn hosts_are_reached_at_the_port_itself() {
    let bench = bench().await;
    let http = trusting(&bench, false);
    let cases = [
        ("oauth2.googleapis.com", "/tokeninfo", StatusCode::BAD_REQUEST),
        ("OAUTH2.googleapis.com:443", "/tokeninfo", StatusCode::BAD_REQUEST),
        ("www.googleapis.com", "/oauth2/v3/certs", StatusCode::OK),
        // Paths of the sandbox are left alone: the pages name them.
        ("accounts.google.com", "/google/www.googleapis.com/oauth2/v3/certs", StatusCode::OK),
        ("oauth2.googleapis.com:8443", "/tokeninfo", StatusCode::MISDIRECTED_REQUEST),
        ("sheets.googleapis.com", "/", StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1", "/", StatusCode::MISDIRECTED_REQUEST),
    ];
    for (host, path, status) in cases {
        let answer = http.get(secure(&bench, path)).header(HOST, host).send().await.unwrap();
        assert_eq!(answer.status(), status, "{host}{path}");
    }
    // By its own address everything is there that is there without TLS.
    assert_eq!(http.get(secure(&bench, "/oidc/jwks")).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(bench.control().requests(Some(TOKENINFO)).len(), 2);
}

#[tokio::test]
async fn only_those_who_trust_the_authority_come_in() {
    let (bench, other) = (bench().await, bench().await);
    assert_ne!(bench.sandbox.ca_pem(), other.sandbox.ca_pem());
    let stranger = trusting(&other, false);
    let error = stranger.get(secure(&bench, "/oidc/jwks")).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert!(trusting(&bench, false).get(secure(&bench, "/oidc/jwks")).send().await.is_ok());
    assert!(bench.sandbox.ca_pem().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"));
}

#[tokio::test]
async fn tunnels_lead_to_the_hosts_and_nowhere_else() {
    let bench = bench().await;
    let own = address(&bench);
    for target in ["sheets.googleapis.com:443", "oauth2.googleapis.com:80", "192.0.2.1:443", own.as_str()] {
        let mut stream = TcpStream::connect(&own).await.unwrap();
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let answer = exchange(&mut stream, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target} {answer}");
    }
    // In a tunnel there is TLS alone.
    let mut stream = TcpStream::connect(&own).await.unwrap();
    let connect = "CONNECT oauth2.googleapis.com:443 HTTP/1.1\r\nHost: oauth2.googleapis.com:443\r\n\r\n";
    let answer = exchange(&mut stream, connect.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = exchange(&mut stream, b"GET / HTTP/1.1\r\nHost: oauth2.googleapis.com\r\n\r\n").await;
    assert!(!answer.contains("HTTP"), "{answer}");
    assert!(bench.control().requests(None).is_empty());
}

#[tokio::test]
async fn a_name_of_google_counts_over_tls_alone() {
    let with = bench().await;
    let without = Bench::new().await;
    assert!(without.sandbox.ca_pem().is_none());
    for bench in [&with, &without] {
        for host in ["accounts.google.com", "accounts.google.com:443"] {
            let request =
                bench.http.get(bench.at("/google/www.googleapis.com/oauth2/v3/certs")).header(HOST, host);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
        }
    }
    // Without TLS there are no tunnels either.
    let mut stream = TcpStream::connect(address(&without)).await.unwrap();
    let connect = "CONNECT oauth2.googleapis.com:443 HTTP/1.1\r\nHost: oauth2.googleapis.com:443\r\n\r\n";
    let answer = exchange(&mut stream, connect.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
}

#[tokio::test]
async fn faults_and_limits_hold_in_tunnels() {
    let bench = bench().await;
    let http = trusting(&bench, true);
    let post = async |body: String| {
        let request = http.post("https://oauth2.googleapis.com/token").body(body);
        request.header("content-type", "application/x-www-form-urlencoded").send().await
    };
    let status = async |body: String| post(body).await.unwrap().status();
    bench.control().add_fault(Fault { status: Some(503), ..Fault::at(TOKEN) }).unwrap();
    assert_eq!(status(String::new()).await, StatusCode::SERVICE_UNAVAILABLE);
    bench.control().add_fault(Fault { drop: Some(When::Before), ..Fault::at(TOKEN) }).unwrap();
    assert!(post(String::new()).await.is_err());
    assert_eq!(status("x".repeat(100_000)).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(status(String::new()).await, StatusCode::BAD_REQUEST);
}

/// Time stands still but when everybody waits: then it jumps to the next end of a patience.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let bench = bench().await;
    let connect: &[u8] =
        b"CONNECT oauth2.googleapis.com:443 HTTP/1.1\r\nHost: oauth2.googleapis.com:443\r\n\r\n";
    // Nothing, the start of a handshake, the start of a head, a tunnel and nothing, a tunnel and the
    // start of a handshake.
    let starts: [&[&[u8]]; 5] =
        [&[], &[b"\x16\x03\x01"], &[b"GET / HT"], &[connect], &[connect, b"\x16\x03\x01"]];
    for start in starts {
        let mut stream = TcpStream::connect(address(&bench)).await.unwrap();
        for part in start {
            stream.write_all(part).await.unwrap();
        }
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(3_600), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{start:?}");
    }
}
