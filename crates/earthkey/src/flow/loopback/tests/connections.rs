//! Connections that come and stay, and the end.

use super::*;

#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    for count in [MAX_CONNECTIONS - 1, MAX_CONNECTIONS, 4 * MAX_CONNECTIONS] {
        let sign_in = SignIn::begin(plan()).await;
        let mut idle = Vec::new();
        for _ in 0..count {
            idle.push(sign_in.connect_with("").await);
        }
        sign_in.still_succeeds().await;
    }
}

#[tokio::test]
async fn no_more_than_eight_connections_are_open() {
    let sign_in = SignIn::begin(plan()).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(sign_in.connect_with("").await);
    }
    // Connections are taken in order: when this one is answered, all before it have been.
    assert_eq!(sign_in.get("/favicon.ico").await.status, 404);
    let request = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", sign_in.port);
    let mut answered = 0;
    for mut stream in idle {
        let mut answer = Vec::new();
        // Writing to a connection that was closed may fail, reading from it may, too.
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = in_time(stream.read_to_end(&mut answer)).await;
        answered += usize::from(answer.starts_with(b"HTTP/1.1 404"));
    }
    assert!((1..=MAX_CONNECTIONS).contains(&answered), "{answered}");
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn slow_headers_hold_nobody_up_and_end() {
    let sign_in = SignIn::begin(plan()).await;
    let state = sign_in.printed("state");
    let mut slow = sign_in.connect_with("GET / HTTP/1.1\r\nHost: 127.0.0.1").await;
    let mut idle = sign_in.connect_with("").await;
    assert_eq!(sign_in.get("/favicon.ico").await.status, 404);
    tokio::time::pause();
    tokio::time::advance(HEADER_TIMEOUT + Duration::from_millis(1)).await;
    tokio::time::resume();
    for stream in [&mut slow, &mut idle] {
        // Too late; what it brings is not looked at.
        let late = format!(
            "GET /callback?code=late&state={state} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n",
            sign_in.port
        );
        let mut answer = Vec::new();
        let _ = in_time(stream.read_to_end(&mut answer)).await;
        let _ = stream.write_all(late.as_bytes()).await;
        assert!(!answer.starts_with(b"HTTP/1.1 303"));
    }
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn headers_are_bounded() {
    let sign_in = SignIn::begin(plan()).await;
    let head = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n", sign_in.port);
    for flood in [format!("X: {}\r\n\r\n", "x".repeat(1024 * 1024)), "X: y\r\n".repeat(10_000) + "\r\n"] {
        let mut stream = sign_in.connect_with(&head).await;
        let _ = stream.write_all(flood.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = in_time(stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"));
    }
    let long = format!("/{}", "x".repeat(100_000));
    let mut stream = sign_in.connect_with(&format!("GET {long} HTTP/1.1\r\n")).await;
    let mut answer = Vec::new();
    let _ = in_time(stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn what_is_not_http_changes_nothing() {
    let sign_in = SignIn::begin(plan()).await;
    for bytes in [
        "\x16\x03\x01\x02\x00\x01\x00\x01",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\r\n\r\n\r\n",
        "GET\0/ HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = sign_in.connect_with(bytes).await;
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = in_time(stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
    }
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn a_connection_serves_one_request() {
    let sign_in = SignIn::begin(plan()).await;
    let request = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", sign_in.port);
    let answer = sign_in.send(&request.repeat(2)).await;
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(!answer.body.contains("HTTP/1.1"));
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn the_flow_goes_on_once_the_last_page_has_left() {
    let sign_in = SignIn::begin(plan()).await;
    let state = sign_in.printed("state");
    sign_in.get(&format!("/callback?code=c&state={state}")).await;
    assert_eq!(sign_in.get("/done").await.status, 200);
    let returned = in_time(sign_in.task).await.unwrap().unwrap();
    tokio::time::pause();
    assert!(tokio::time::timeout(Duration::ZERO, returned.last_page()).await.is_ok());
}

#[tokio::test]
async fn the_flow_does_not_go_on_before_the_last_page_has_left() {
    let sign_in = SignIn::begin(plan()).await;
    let state = sign_in.printed("state");
    sign_in.get(&format!("/callback?code=c&state={state}")).await;
    let request = format!("GET /done HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", sign_in.port);
    let last = sign_in.connect_with(&request).await;
    let returned = in_time(sign_in.task).await.unwrap().unwrap();
    in_time(returned.last_page()).await;
    assert_eq!(Answer::read(last).await.status, 200);
}

#[tokio::test]
async fn a_browser_that_never_fetches_the_last_page_is_not_waited_for_long() {
    let sign_in = SignIn::begin(plan()).await;
    let state = sign_in.printed("state");
    sign_in.get(&format!("/callback?code=c&state={state}")).await;
    let returned = in_time(sign_in.task).await.unwrap().unwrap();
    // Time that passes only while nothing else happens.
    tokio::time::pause();
    returned.last_page().await;
}

#[tokio::test]
async fn nothing_is_served_after_the_end() {
    let sign_in = SignIn::begin(plan()).await;
    let state = sign_in.printed("state");
    let mut held = sign_in.connect_with("").await;
    sign_in.get(&format!("/callback?code=c&state={state}")).await;
    let port = sign_in.port;
    drop(in_time(sign_in.task).await.unwrap().unwrap());
    yield_now().await;
    let _ = held.write_all(format!("GET /done HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").as_bytes()).await;
    let mut answer = Vec::new();
    let _ = in_time(held.read_to_end(&mut answer)).await;
    assert_eq!(String::from_utf8(answer).unwrap(), "");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_longer_than_the_plan_says() {
    let sign_in = SignIn::begin(plan()).await;
    let error = sign_in.task.await.unwrap().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), "nobody signed in within 600 seconds");
    assert!(error.hints()[0].contains("--flow device"));
}

/// Connections may fail to be taken, for want of file descriptors most often: time passes, in which
/// a loop that only tries again would let nothing else run.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_listener_that_takes_no_connections_does_not_spin() {
    let listener = Listener::bind(None, None).await.unwrap();
    for socket in &listener.listeners {
        rustix::net::shutdown(socket, rustix::net::Shutdown::Both).unwrap();
    }
    let sign_in = SignIn::begin_at(plan(), listener).await;
    let error = sign_in.task.await.unwrap().err().unwrap();
    assert_eq!(error.to_string(), "nobody signed in within 600 seconds");
}
