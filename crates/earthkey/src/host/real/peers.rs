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
    let (theirs, ours) = (Ends::of(peer, here), Ends::of(here, peer));
    let (mut lists_us, mut lists_this) = (false, false);
    for _ in 0..LOOKS {
        let tables = TABLES.map(|table| fs::read_to_string(table).ok());
        let mut tables = tables.iter().flatten();
        if let Some(row) = tables.clone().find_map(|table| theirs.row_in(table)) {
            return row.judge(user);
        }
        lists_this |= tables.clone().any(|table| ours.row_in(table).is_some());
        lists_us |= tables.any(|table| ours.begins_in(table));
    }
    // Where the listener is listed and neither end of the connection is, it was reset.
    if lists_us && !lists_this { Peer::Anothers } else { Peer::Unknown }
}

/// A connection as the tables write it, seen from one of its ends.
struct Ends {
    local: [String; 2],
    remote: [String; 2],
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    user: u32,
    inode: u64,
}

impl Ends {
    fn of(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { local: forms(local), remote: forms(remote) }
    }

    /// Returns whether the table lists anything that begins where this does, as a listener.
    fn begins_in(&self, table: &str) -> bool {
        let locals = table.lines().filter_map(|line| line.split_ascii_whitespace().nth(1));
        locals.into_iter().any(|local| self.local.iter().any(|form| form == local))
    }

    fn row_in(&self, table: &str) -> Option<Row> {
        table.lines().skip(1).find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let is = |forms: &[String; 2], field: Option<&str>| {
                field.is_some_and(|field| forms.iter().any(|form| form == field))
            };
            if !is(&self.local, fields.next()) || !is(&self.remote, fields.next()) {
                return None;
            }
            let mut fields = fields.skip(4);
            let user = fields.next()?.parse().ok()?;
            Some(Row { user, inode: fields.nth(1)?.parse().ok()? })
        })
    }
}

impl Row {
    fn judge(&self, user: u32) -> Peer {
        // What its program has closed belongs to nobody, has no inode, and is written as root's.
        let is_open = self.inode != 0;
        if is_open && (self.user == user || self.user == ROOT) { Peer::Ours } else { Peer::Anothers }
    }
}

const ROOT: u32 = 0;

/// Writes an address in both of its forms, as one of IPv6 and as one of IPv4 where it is one.
fn forms(address: SocketAddr) -> [String; 2] {
    let mapped = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let long = form(&mapped.octets(), address.port());
    let short = mapped.to_ipv4_mapped().map(|ip| form(&ip.octets(), address.port()));
    [short.unwrap_or_else(|| long.clone()), long]
}

/// Writes an address as the tables do: each four bytes as the number that they are to this machine.
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

    /// As where the tables can be read and list nothing of this process.
    #[test]
    fn what_is_not_listed_any_more_than_its_listener_is_unknown() {
        assert_eq!(whose_is(at("127.0.0.1:1"), at("127.0.0.1:2"), 0), Peer::Unknown);
    }

    /// As somebody does who wants to be no longer there when he is looked for.
    #[test]
    fn what_was_reset_is_nobodys_who_may() {
        let own = rustix::process::geteuid().as_raw();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (_, client, server) = whose(&listener, listener.local_addr().unwrap(), own);
        let (peer, here) = (server.peer_addr().unwrap(), server.local_addr().unwrap());
        rustix::net::sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(whose_is(peer, here, own), Peer::Anothers);
    }

    #[test]
    fn a_user_and_root_may_and_nobody_else() {
        for (owner, inode, user, expected) in [
            (1000, 7, 1000, Peer::Ours),
            (0, 7, 1000, Peer::Ours),
            (1001, 7, 1000, Peer::Anothers),
            (1000, 7, 0, Peer::Anothers),
            (0, 7, 0, Peer::Ours),
            (1000, 0, 1000, Peer::Anothers),
            (0, 0, 1000, Peer::Anothers),
            (0, 0, 0, Peer::Anothers),
        ] {
            assert_eq!(Row { user: owner, inode }.judge(user), expected, "{owner} {inode} {user}");
        }
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
            assert_eq!(Ends::of(peer, here).row_in(&format!("{HEAD}{row}")), expected, "{row}");
        }
        let v6 = row("00000000000000000000000001000000:9C40", "00000000000000000000000001000000:1F90", 5, 6);
        let found = Ends::of(at("[::1]:40000"), at("[::1]:8080")).row_in(&format!("{HEAD}{v6}"));
        assert_eq!(found, Some(Row { user: 5, inode: 6 }));
    }
}
