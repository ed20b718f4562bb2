//! Ports that are taken, and hosts that have fewer.

use url::Position;

use super::*;
use crate::flow::Redirect;

#[tokio::test]
async fn a_named_port_that_is_taken_is_an_error_that_says_so() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Listener::bind(Some(port), None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.to_string(), format!("port {port} of this machine cannot be used"));
    assert!(error.hints().iter().any(|hint| hint.contains("--flow loopback:PORT")));
    assert!(error.hints().iter().any(|hint| hint.contains("--flow paste")));
    assert_eq!(error.causes().len(), 1);
    drop(taken);
    assert_eq!(Listener::bind(Some(port), None).await.unwrap().port(), port);
}

#[tokio::test]
async fn a_port_that_is_taken_on_ipv6_alone_is_taken() {
    // Without IPv6 nobody can squat there.
    let Ok(squatter) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else { return };
    let port = squatter.local_addr().unwrap().port();
    let error = Listener::bind(Some(port), None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    // What was bound on the way is free again.
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.is_ok());
}

#[tokio::test]
async fn both_addresses_are_ours_alone() {
    let listener = Listener::bind(None, None).await.unwrap();
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, listener.port())).await.is_err());
    assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, listener.port())).await.is_err());
    assert!(TcpListener::bind((Ipv6Addr::LOCALHOST, listener.port())).await.is_err());
    for socket in &listener.listeners {
        assert!(socket.local_addr().unwrap().ip().is_loopback());
    }
}

#[tokio::test]
async fn a_port_that_is_taken_on_either_address_means_the_next() {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await;
    let squatters: Vec<_> = [Some(v4), v6.ok()].into_iter().flatten().collect();
    for squatter in &squatters {
        let taken = squatter.local_addr().unwrap().port();
        let listener = Listener::bind_first([taken, 0]).await.unwrap();
        assert_ne!(listener.port(), taken);
        assert!(Listener::bind_first([taken, taken]).await.is_err());
    }
}

#[test]
fn only_a_host_without_ipv6_does_without() {
    for (errno, expected) in [
        // No such address: IPv6 is switched off.
        (Errno::ADDRNOTAVAIL, true),
        // No such sockets: the kernel has none, or a sandbox takes them away.
        (Errno::AFNOSUPPORT, true),
        // Somebody may be there.
        (Errno::ADDRINUSE, false),
        (Errno::MFILE, false),
        (Errno::ACCESS, false),
        (Errno::PERM, false),
    ] {
        assert_eq!(is_without_ipv6(&errno.into()), expected, "{errno:?}");
    }
}

#[test]
fn the_redirect_is_written_as_browsers_write_it() {
    let localhost = Redirect { host: "localhost", path: "", port: Some(8085) };
    for (redirect, port, uri, authority) in [
        (Redirect::NATIVE, 8085, "http://127.0.0.1:8085/callback", "127.0.0.1:8085"),
        // Browsers leave this port out of `Host`, too.
        (Redirect::NATIVE, 80, "http://127.0.0.1/callback", "127.0.0.1"),
        (Redirect::NATIVE, 443, "http://127.0.0.1:443/callback", "127.0.0.1:443"),
        // What a provider compares is what it was told, without the slash that browsers add.
        (localhost, 8085, "http://localhost:8085", "localhost:8085"),
        (localhost, 80, "http://localhost", "localhost"),
    ] {
        assert_eq!(redirect.uri(port), uri);
        let parsed = Url::parse(&redirect.uri(port)).unwrap();
        assert_eq!(&parsed[Position::BeforeHost..Position::AfterPort], authority);
    }
}

#[tokio::test]
async fn the_port_that_a_system_is_used_to_is_tried_first_and_then_the_next() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let next = Listener::bind(None, Some(port)).await.unwrap().port();
    assert!(next > port && next < port + 20, "{next} after {port}");
    // Who names a port means that one, and 0 is any.
    assert!(Listener::bind(Some(port), Some(port)).await.is_err());
    drop(taken);
    assert_eq!(Listener::bind(None, Some(port)).await.unwrap().port(), port);
    let first = Listener::bind(None, Some(port)).await.unwrap();
    assert_ne!(Listener::bind(Some(0), Some(port)).await.unwrap().port(), first.port());
}
