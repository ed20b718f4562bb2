//! A provider that answers whatever a test wants, and hears everything.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;

/// A provider on a port of its own, for as long as the test runs.
pub(crate) struct Provider {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) body: String,
}

impl Provider {
    /// Starts a provider that answers JSON to each path; a body of `None` is status 404.
    pub(crate) fn start(answer: impl Fn(&str, &Asked) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let provider = Self { url: url.clone(), asked: asked.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A connection that breaks says nothing.
                let Some(request) = stream.ok().and_then(Request::read) else { continue };
                asked.lock().unwrap().push(request.asked.clone());
                let body = answer(&url, &request.asked);
                request.answer(body.as_deref());
            }
        });
        provider
    }

    /// Returns the requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Asked {
    /// Returns a field of the form.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.body.as_bytes());
        pairs.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    }
}

struct Request {
    stream: TcpStream,
    asked: Asked,
}

impl Request {
    fn read(mut stream: TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
                });
                if body.len() >= length.unwrap_or(0) {
                    let path = head.split(' ').nth(1)?.to_owned();
                    return Some(Self { stream, asked: Asked { path, body: body.to_owned() } });
                }
            }
            let read = stream.read(&mut buffer).ok()?;
            bytes.extend_from_slice(&buffer[..read]);
            if read == 0 {
                return None;
            }
        }
    }

    fn answer(mut self, body: Option<&str>) {
        let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or("{}");
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
        let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        // Who has gone needs no answer.
        let _ = self.stream.write_all(answer.as_bytes());
    }
}
