//! Attacks on the listener, over real sockets and as raw bytes.

mod callback;
mod connections;
mod ports;
mod start;

use std::future::Future;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;

use super::*;
use crate::error::ErrorKind;
use crate::flow::tests::plan;
use crate::flow::tests::shown;
use crate::host::real::RealRandom;
use crate::host::scripted::World;

/// Ends a test that would otherwise hang; no test waits for it.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("a test does not hang")
}

/// A sign-in under way, and what its person and its attackers see of it.
struct SignIn {
    world: World,
    port: u16,
    task: JoinHandle<Result<Returned>>,
}

impl SignIn {
    async fn begin(plan: Plan) -> Self {
        Self::begin_at(plan, Listener::bind(None, None).await.unwrap()).await
    }

    async fn begin_at(plan: Plan, listener: Listener) -> Self {
        let world = World::new(|request| panic!("the listener has nothing to ask the network: {request:?}"));
        let port = listener.port();
        let host = Host { random: Arc::new(RealRandom), ..world.host(1) };
        let task = tokio::spawn(async move { run(&host, &plan, listener).await });
        while !world.person.said().iter().any(|said| said.starts_with("Visit")) {
            assert!(!task.is_finished(), "the sign-in ended before it began");
            yield_now().await;
        }
        Self { world, port, task }
    }

    /// Returns the path of the page that the browser was opened with.
    fn start(&self) -> String {
        self.world.person.opened()[0].path().to_owned()
    }

    /// Returns a parameter of the authorization URL that the person was told.
    fn printed(&self, name: &str) -> String {
        let said = self.world.person.said().into_iter().find(|said| said.starts_with("Visit")).unwrap();
        let (_, query) = said.split_once("query: Some(\"").unwrap();
        let (query, _) = query.split_once('"').unwrap();
        parameter(&Url::parse(&format!("https://idp.test/?{query}")).unwrap(), name).unwrap()
    }

    async fn get(&self, target: &str) -> Answer {
        self.get_with(target, "").await
    }

    /// Fetches a page as a browser does, with header lines of the caller's.
    async fn get_with(&self, target: &str, headers: &str) -> Answer {
        let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{headers}\r\n", self.port);
        let answer = self.send(&request).await;
        answer.check_headers();
        answer
    }

    async fn send(&self, request: &str) -> Answer {
        Answer::read(self.connect_with(request).await).await
    }

    async fn connect_with(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Fetches the start page, as the browser that we opened does.
    async fn opened(&self) -> Opened {
        let answer = self.get(&self.start()).await;
        assert_eq!(answer.status, 303);
        let cookie = answer.header("set-cookie").unwrap().to_owned();
        Opened {
            state: parameter(&answer.location(), "state").unwrap(),
            authorize: answer.location(),
            set_cookie: cookie.clone(),
            cookie: format!("Cookie: {}\r\n", cookie.split(';').next().unwrap()),
        }
    }

    /// Whatever was tried, the person comes back, and theirs is the code that counts.
    async fn still_succeeds(self) {
        assert!(!self.task.is_finished());
        let state = self.printed("state");
        let answer = self.get(&format!("/callback?code=good&state={state}")).await;
        assert_eq!(answer.status, 303);
        let returned = in_time(self.task).await.unwrap().unwrap();
        assert_eq!(returned.code.expose(), "good");
        assert_eq!(returned.attempt.state().expose(), state);
    }

    /// Sends the browser to the callback and to the last page; returns what the flow makes of it.
    async fn fails_after(self, callback: &str) -> (Answer, Error) {
        let answer = self.get(callback).await;
        assert_eq!(answer.status, 303);
        let last_page = self.get("/done").await;
        let error = in_time(self.task).await.unwrap().err().unwrap();
        (last_page, error)
    }
}

/// What the browser that we opened knows.
struct Opened {
    authorize: Url,
    state: String,
    set_cookie: String,
    /// The header line that it sends back.
    cookie: String,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// Reads an answer to the end of its connection.
    async fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        in_time(stream.read_to_end(&mut bytes)).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let value = lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        assert!(!lines.any(|(found, _)| found.eq_ignore_ascii_case(name)), "{name} comes twice");
        value
    }

    fn location(&self) -> Url {
        Url::parse(self.header("location").unwrap()).unwrap()
    }

    /// Checks what every page keeps to: nothing stored, told elsewhere, guessed, framed or run.
    fn check_headers(&self) {
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(self.header("content-type"), Some("text/html; charset=utf-8"));
        let policy = self.header("content-security-policy").unwrap();
        let (style, rest): (Vec<_>, Vec<_>) =
            policy.split("; ").partition(|directive| directive.starts_with("style-src "));
        let strict =
            ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"];
        assert_eq!(rest, strict);
        let text = self.body.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()));
        assert_eq!(style, [format!("style-src 'sha256-{hash}'")]);
        for active in ["<script", "javascript:", "onload=", "<img", "<link", "<form", "http-equiv", "src="] {
            assert!(!self.body.contains(active), "{active}");
        }
    }
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut values =
        url.query_pairs().filter(|(found, _)| found == name).map(|(_, value)| value.into_owned());
    let value = values.next();
    assert_eq!(values.next(), None, "`{name}` comes twice");
    value
}
