//! Whose a connection within this machine is, as the kernel lists it (proc_pid_net(5), `tcp`).

use std::fs;
use std::net::IpAddr;
use std::net::SocketAddr;

use crate::host::process::Peer;

/// A connection over IPv4 stands in the second, where the program that made it writes its address as one
/// of IPv6: both are to be looked at.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// A long table is read in parts, and a row can slip from one to another while others come and go.
const LOOKS: u32 = 3;

/// Returns whose the end at `peer` is of a connection to `here`.
pub(super) fn whose_is(peer: SocketAddr, here: SocketAddr, user: u32) -> Peer {
    let look = || TABLES.iter().find_map(|table| owner_in(&fs::read_to_string(table).ok()?, peer, here));
    match (0..LOOKS).find_map(|_| look()) {
        None => Peer::Unknown,
        Some(Row { user: owner, inode }) if inode != 0 && (owner == user || owner == 0) => Peer::Ours,
        // A connection that its program has closed is everybody's, and has no inode.
        Some(_) => Peer::Anothers,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    user: u32,
    inode: u64,
}

/// Finds the row of the end at `peer`.
fn owner_in(table: &str, peer: SocketAddr, here: SocketAddr) -> Option<Row> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (local, remote) = (*fields.get(1)?, *fields.get(2)?);
        if !is_listed_as(peer, local) || !is_listed_as(here, remote) {
            return None;
        }
        Some(Row { user: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? })
    })
}

/// Returns whether `listed` is this address, in either of its two forms.
fn is_listed_as(address: SocketAddr, listed: &str) -> bool {
    let mapped = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let plain = mapped.to_ipv4_mapped().map(|ip| form(&ip.octets(), address.port()));
    listed == form(&mapped.octets(), address.port()) || plain.is_some_and(|plain| listed == plain)
}

/// Writes an address as the table does: each four bytes as the number that they are to this machine.
fn form(octets: &[u8], port: u16) -> String {
    let words = octets.as_chunks::<4>().0.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word)));
    format!("{}:{port:04X}", words.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Ipv4Addr;
    use std::net::Ipv6Addr;
    use std::net::Shutdown;
    use std::net::TcpListener;
    use std::net::TcpStream;

    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  \
                        timeout inode\n";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn row(local: &str, remote: &str, user: u32, inode: u64) -> String {
        format!(
            "   1: {local} {remote} 01 00000000:00000000 00:00000000 00000000 {user:>5} 0 {inode} 1 0 20\n"
        )
    }

    /// Connects, and says whose the kernel says that it is.
    fn whose(listener: &TcpListener, to: SocketAddr, user: u32) -> (Peer, TcpStream, TcpStream) {
        let client = TcpStream::connect(to).unwrap();
        let (server, peer) = listener.accept().unwrap();
        (whose_is(peer, server.local_addr().unwrap(), user), client, server)
    }

    #[test]
    fn a_connection_is_its_users_over_any_form_of_its_address() {
        let own = rustix::process::geteuid().as_raw();
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let (port4, port6) = (v4.local_addr().unwrap().port(), v6.local_addr().unwrap().port());
        let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port4));
        for (listener, to) in [
            (&v4, SocketAddr::from((Ipv4Addr::LOCALHOST, port4))),
            (&v4, mapped),
            (&v6, SocketAddr::from((Ipv6Addr::LOCALHOST, port6))),
        ] {
            assert_eq!(whose(listener, to, own).0, Peer::Ours, "{to}");
            // To anybody else it is another's, unless it is root's.
            let to_others = if own == 0 { Peer::Ours } else { Peer::Anothers };
            assert_eq!(whose(listener, to, own + 1).0, to_others, "{to}");
        }
    }

    #[test]
    fn whoever_sends_and_closes_is_nobody_who_may() {
        let own = rustix::process::geteuid().as_raw();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let here = listener.local_addr().unwrap();
        let (_, mut client, server) = whose(&listener, here, own);
        let peer = server.peer_addr().unwrap();
        client.write_all(b"GET").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(whose_is(peer, here, own), Peer::Ours, "it still reads");
        drop(client);
        assert_eq!(whose_is(peer, here, own), Peer::Anothers);
    }

    #[test]
    fn what_is_not_listed_is_unknown() {
        assert_eq!(whose_is(at("127.0.0.1:1"), at("127.0.0.1:2"), 0), Peer::Unknown);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_row_is_found_by_both_of_its_ends() {
        let (peer, here) = (at("127.0.0.1:40000"), at("127.0.0.1:8080"));
        let (ours, to_us) = ("0100007F:9C40", "0100007F:1F90");
        let mapped = |v4: &str| format!("0000000000000000FFFF0000{v4}");
        for (row, expected) in [
            (row(ours, to_us, 1000, 77), Some(Row { user: 1000, inode: 77 })),
            (row(&mapped(ours), &mapped(to_us), 1000, 77), Some(Row { user: 1000, inode: 77 })),
            // The listener's end of the same connection is not the peer's.
            (row(to_us, ours, 1000, 77), None),
            // Another address or port.
            (row("0200007F:9C40", to_us, 1000, 77), None),
            (row("0100007F:9C41", to_us, 1000, 77), None),
            (row(ours, "0100007F:1F91", 1000, 77), None),
            ("   1: 0100007F:9C40 0100007F:1F90 01\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(owner_in(&format!("{HEAD}{row}"), peer, here), expected, "{row}");
        }
        let v6 = row("00000000000000000000000001000000:9C40", "00000000000000000000000001000000:1F90", 5, 6);
        let found = owner_in(&format!("{HEAD}{v6}"), at("[::1]:40000"), at("[::1]:8080"));
        assert_eq!(found, Some(Row { user: 5, inode: 6 }));
    }
}
