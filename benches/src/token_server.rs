//! A token endpoint on loopback that gives everybody the same token.

use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::thread;

use serde_json::json;

/// A running endpoint; it ends with the process.
pub(crate) struct TokenServer {
    url: String,
}

impl TokenServer {
    pub(crate) fn start(token: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}/token", listener.local_addr()?);
        // RFC 6749 section 5.1.
        let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600}).to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever asked finds out that there was no answer.
                let _ = answer(stream, &body);
            }
        });
        Ok(Self { url })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

fn answer(stream: TcpStream, body: &str) -> io::Result<()> {
    let mut request = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    while request.read_line(&mut line)? > "\r\n".len() {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        line.clear();
    }
    io::copy(&mut request.by_ref().take(length), &mut io::sink())?;
    write!(
        request.into_inner(),
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
