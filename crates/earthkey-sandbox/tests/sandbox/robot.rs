//! The person without a browser.

use earthkey_sandbox::robot::{Browser, Person, RobotError};
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::bench::{Bench, parameter};

/// Serves one answer per connection, and returns the requests.
async fn serve(listener: TcpListener, answers: Vec<String>) -> Vec<String> {
    let mut requests = Vec::new();
    for answer in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        requests.push(String::from_utf8(request).unwrap());
    }
    requests
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn it_goes_from_the_client_through_the_pages_and_back() {
    let bench = Bench::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = format!("http://{}", listener.local_addr().unwrap());
    let authorization = bench.authorization_url(&[("redirect_uri", &format!("{client}/callback"))]);
    let answers = vec![
        answer("302 Found", &format!("set-cookie: attempt=1; Path=/\r\nlocation: {authorization}\r\n"), ""),
        answer("303 See Other", "location: /done\r\n", ""),
        answer("200 OK", "", "<form method=post><input name=password></form>"),
    ];
    let served = tokio::spawn(serve(listener, answers));
    let visit = Person::ada().visit(&format!("{client}/start/x")).await.unwrap();

    assert_eq!((visit.url.as_str(), visit.status), (format!("{client}/done").as_str(), StatusCode::OK));
    let redirect = visit.last_redirect.clone().unwrap();
    assert!(redirect.as_str().starts_with(&format!("{client}/callback?code=")));
    let requests = served.await.unwrap();
    assert!(requests[1].contains("cookie: attempt=1"), "{}", requests[1]);
    // Nothing but a sandbox gets a password, even if it asks.
    assert!(visit.text.contains("password"));
    // Codes are not for logs.
    let code = parameter(&redirect, "code").unwrap();
    assert!(!format!("{visit:?}").contains(&code));
}

#[tokio::test]
async fn it_stops_where_the_sandbox_sends_it_elsewhere() {
    let bench = Bench::new().await;
    let visit = bench.stopping_visit(&Person::ada(), &[]).await;
    assert!(visit.url.as_str().starts_with(bench.sandbox.url()));
    assert!(parameter(&visit.last_redirect.unwrap(), "code").is_some());
}

#[tokio::test]
async fn it_does_not_go_round_in_circles() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let circle = vec![answer("302 Found", "location: /\r\n", ""); 11];
    let served = tokio::spawn(serve(listener, circle));
    let error = Person::ada().visit(&url).await.unwrap_err();
    assert!(matches!(error, RobotError::TooManyRedirects));
    assert_eq!(served.await.unwrap().len(), 11);
}

#[tokio::test]
async fn it_visits_loopback_only() {
    for url in ["", "file:///etc/passwd", "ftp://127.0.0.1/", "http://192.0.2.1/", "https://127.0.0.1/", "-x"]
    {
        assert!(matches!(Person::ada().visit(url).await, Err(RobotError::BadUrl)), "{url}");
    }
}

#[tokio::test]
async fn its_errors_hold_no_code() {
    let bench = Bench::new().await;
    // Nobody listens at the callback.
    let url = bench.authorization_url(&[]);
    let error = Person::ada().visit(url.as_str()).await.unwrap_err();
    assert!(matches!(error, RobotError::Network(_)));
    assert!(!format!("{error} {error:?}").contains("code="));
    assert!(!format!("{:?} {:?}", Person::new("ada", "hunter2"), Browser::new()).contains("hunter2"));
}
