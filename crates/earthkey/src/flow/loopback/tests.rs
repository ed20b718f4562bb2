//! Attacks on the listener, over real sockets and as raw bytes.

use std::future::Future;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::task::yield_now;

use super::*;
use crate::error::ErrorKind;
use crate::flow::tests::plan;
use crate::flow::tests::shown;
use crate::host::scripted::World;

/// Ends a test that would otherwise hang; no test waits for it.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("a test does not hang")
}

/// A sign-in under way, and what its person and its attackers see of it.
struct SignIn {
    world: World,
    port: u16,
    task: JoinHandle<Result<Returned>>,
}

impl SignIn {
    async fn begin(plan: Plan) -> Self {
        Self::begin_at(plan, Listener::bind(None).await.unwrap()).await
    }

    async fn begin_at(plan: Plan, listener: Listener) -> Self {
        let world = World::new(|request| panic!("the listener has nothing to ask the network: {request:?}"));
        let (host, port) = (world.host(1), listener.port());
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
        for active in ["<script", "javascript:", " on", "<img", "<link", "<form", "http-equiv", "src="] {
            assert!(!self.body.replace(text, "").contains(&active.to_owned()) || active == " on", "{active}");
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

// What is handed out.

#[tokio::test]
async fn the_browser_that_was_opened_comes_back() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    let callback = format!("/callback?code=the-code&state={}", opened.state);
    let answer = sign_in.get_with(&callback, &opened.cookie).await;
    assert_eq!(answer.status, 303);
    let returned = in_time(sign_in.task).await.unwrap().unwrap();
    assert_eq!(returned.code.expose(), "the-code");
    let Returned { attempt, .. } = &returned;
    assert_eq!(attempt.state().expose(), opened.state);
    assert_eq!(parameter(&opened.authorize, "nonce").as_deref(), Some(attempt.nonce().expose()));
    let challenge = parameter(&opened.authorize, "code_challenge");
    assert_eq!(challenge, Some(pkce::challenge(attempt.verifier())));
    assert_eq!(parameter(&opened.authorize, "redirect_uri").as_deref(), Some(attempt.redirect_uri()));
}

#[tokio::test]
async fn the_authorization_url_is_in_nobodys_argv() {
    let sign_in = SignIn::begin(plan()).await;
    let pages = sign_in.world.person.opened();
    let opened = sign_in.opened().await;
    assert_eq!(pages.len(), 1);
    let page = pages[0].as_str();
    let name = page.strip_prefix(&format!("http://127.0.0.1:{}/start/", sign_in.port)).unwrap();
    // 128 bits in base64.
    assert_eq!(name.len(), 22);
    for name in ["state", "nonce", "code_challenge"] {
        assert!(!page.contains(&parameter(&opened.authorize, name).unwrap()), "{name}");
        assert!(!page.contains(&sign_in.printed(name)), "{name}");
    }
    assert!(!page.contains(opened.cookie.split_once('=').unwrap().1.trim()));
}

#[tokio::test]
async fn what_is_printed_and_what_is_opened_share_no_secret() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(parameter(&opened.authorize, name).unwrap(), sign_in.printed(name), "{name}");
    }
    for name in ["redirect_uri", "client_id", "scope", "response_type"] {
        assert_eq!(parameter(&opened.authorize, name).unwrap(), sign_in.printed(name), "{name}");
    }
    let redirect = format!("http://127.0.0.1:{}/callback", sign_in.port);
    assert_eq!(sign_in.printed("redirect_uri"), redirect);
    assert_eq!(sign_in.printed("code_challenge_method"), "S256");
}

#[tokio::test]
async fn client_and_scopes_are_named_above_the_page() {
    let sign_in = SignIn::begin(plan()).await;
    let said = sign_in.world.person.said();
    assert_eq!(said.len(), 2);
    assert!(said[0].contains("the-client") && said[0].contains("offline_access"), "{}", said[0]);
    assert!(said[1].starts_with("Visit") && said[1].contains("opened: true"));
}

#[tokio::test]
async fn the_cookie_is_of_this_attempt_and_out_of_reach() {
    let (one, other) = (SignIn::begin(plan()).await, SignIn::begin(plan()).await);
    let set = one.opened().await.set_cookie;
    let mut attributes = set.split("; ");
    let (name, value) = attributes.next().unwrap().split_once('=').unwrap();
    let attributes: Vec<_> = attributes.collect();
    for needed in ["HttpOnly", "SameSite=Lax", "Path=/callback"] {
        assert!(attributes.contains(&needed), "{set}");
    }
    // Cookies of a host are those of all its ports: no further than this page, no longer than this
    // attempt.
    assert!(attributes.contains(&"Max-Age=600"), "{set}");
    assert!(!set.contains("Domain"));
    assert!(name.len() > 22 && value.len() == 22, "{set}");
    let others = other.opened().await.set_cookie;
    // The scripted source repeats itself for every world, so that only the form can be compared.
    assert_eq!(others.split('=').count(), set.split('=').count());
}

#[tokio::test]
async fn without_a_browser_no_start_page_is_good() {
    let sign_in = SignIn::begin(Plan { opens_browser: false, ..plan() }).await;
    assert!(sign_in.world.person.opened().is_empty());
    assert!(sign_in.world.person.said()[1].contains("opened: false"));
    for start in ["/start/", "/start", "/start/None"] {
        assert_eq!(sign_in.get(start).await.status, 404);
    }
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn the_audience_is_asked_for_once() {
    let plan = Plan {
        audience: Some("https://api.test".into()),
        parameters: vec![
            ("audience".into(), "https://other.test".into()),
            ("prompt".into(), "consent".into()),
        ],
        ..plan()
    };
    let sign_in = SignIn::begin(plan).await;
    assert_eq!(sign_in.printed("audience"), "https://api.test");
    assert_eq!(sign_in.printed("prompt"), "consent");
}

#[test]
fn an_attempts_secrets_do_not_show() {
    let world = World::new(|_| panic!("nothing is asked"));
    let attempt = Attempt::new(&world.host(1), "http://127.0.0.1:1/callback");
    let shown = format!("{attempt:?}");
    for secret in [attempt.state().expose(), attempt.nonce().expose(), attempt.verifier().expose()] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

// Who may come back.

#[tokio::test]
async fn nothing_is_believed_without_the_right_state() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    let printed = sign_in.printed("state");
    for query in [
        "",
        "?",
        "?code=evil",
        "?code=evil&state=",
        "?code=evil&state=guessed",
        "?state=guessed&error=access_denied",
        "?error=access_denied",
        "?error=server_error&error_description=go+to+evil.test&state=",
        &format!("?code=evil&state={printed}&state=guessed"),
        &format!("?code=evil&state=guessed&state={printed}"),
        &format!("?code=evil&state={printed}&state={printed}"),
        &format!("?code=evil&state={}", &printed[..21]),
        &format!("?code=evil&state={printed}x"),
        &format!("?code=evil&state={}", printed.to_ascii_lowercase()),
        &format!("?code=evil&STATE={printed}"),
        &format!("?code=evil#state={printed}"),
        &format!("?code=evil&state={}&state={printed}", opened.state),
        // The cookie alone is no state.
        &format!("?code=evil&state={}", opened.cookie.split_once('=').unwrap().1.trim()),
    ] {
        for headers in ["", &opened.cookie] {
            let answer = sign_in.get_with(&format!("/callback{query}"), headers).await;
            assert_eq!(answer.status, 400, "{query}");
            assert!(!answer.body.contains("evil"), "{query}");
        }
    }
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn the_opened_browsers_state_needs_its_cookie() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    let pair = opened.cookie.trim().strip_prefix("Cookie: ").unwrap();
    let (name, value) = pair.split_once('=').unwrap();
    for cookie in [
        String::new(),
        "Cookie: \r\n".to_owned(),
        format!("Cookie: {name}=\r\n"),
        format!("Cookie: {name}={}\r\n", &value[..21]),
        format!("Cookie: {name}={value}x\r\n"),
        format!("Cookie: other={value}\r\n"),
        format!("Cookie: x{name}={value}\r\n"),
        format!("Cookie: {value}\r\n"),
        format!("X-Cookie: {pair}\r\n"),
    ] {
        for answer in ["code=stolen", "error=access_denied"] {
            let callback = format!("/callback?{answer}&state={}", opened.state);
            assert_eq!(sign_in.get_with(&callback, &cookie).await.status, 400, "{cookie}");
        }
    }
    assert!(!sign_in.task.is_finished());
    // Other programs' cookies for this host come along.
    let callback = format!("/callback?code=good&state={}", opened.state);
    let crowded = format!("Cookie: _xsrf=2|a; {pair}; username=\"b=c\"\r\n");
    assert_eq!(sign_in.get_with(&callback, &crowded).await.status, 303);
    let returned = in_time(sign_in.task).await.unwrap().unwrap();
    assert_eq!(returned.attempt.state().expose(), opened.state);
}

#[tokio::test]
async fn the_printed_pages_state_needs_no_cookie() {
    SignIn::begin(plan()).await.still_succeeds().await;
    let sign_in = SignIn::begin(plan()).await;
    sign_in.opened().await;
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn other_names_of_this_address_are_other_places() {
    let sign_in = SignIn::begin(plan()).await;
    let (port, state) = (sign_in.port, sign_in.printed("state"));
    let start = sign_in.start();
    for host in [
        "Host: evil.test\r\n".to_owned(),
        format!("Host: evil.test:{port}\r\n"),
        format!("Host: localhost:{port}\r\n"),
        format!("Host: 127.0.0.1.evil.test:{port}\r\n"),
        format!("Host: 127.0.0.1:{port}.evil.test\r\n"),
        format!("Host: 127.0.0.2:{port}\r\n"),
        format!("Host: [::1]:{port}\r\n"),
        format!("Host: 0.0.0.0:{port}\r\n"),
        "Host: 127.0.0.1\r\n".to_owned(),
        "Host: 127.0.0.1:1\r\n".to_owned(),
        "Host: \r\n".to_owned(),
        String::new(),
        format!("Host: 127.0.0.1:{port}\r\nHost: evil.test\r\n"),
        format!("Host: evil.test\r\nHost: 127.0.0.1:{port}\r\n"),
        format!("Host: evil.test\r\nX-Forwarded-Host: 127.0.0.1:{port}\r\n"),
    ] {
        for target in [start.clone(), format!("/callback?code=evil&state={state}"), "/done".to_owned()] {
            let answer = sign_in.send(&format!("GET {target} HTTP/1.1\r\n{host}\r\n")).await;
            assert!([400, 421].contains(&answer.status), "{host}: {}", answer.head);
            assert_eq!(answer.header("location"), None);
            assert_eq!(answer.header("set-cookie"), None);
        }
    }
    // The start page was not used up.
    sign_in.opened().await;
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn only_get_counts() {
    let sign_in = SignIn::begin(plan()).await;
    let (port, state) = (sign_in.port, sign_in.printed("state"));
    let query = format!("code=evil&state={state}");
    for method in ["POST", "HEAD", "PUT", "OPTIONS", "DELETE", "TRACE", "get"] {
        for target in [sign_in.start(), format!("/callback?{query}"), "/done".to_owned()] {
            let answer = sign_in
                .send(&format!(
                    "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n"
                ))
                .await;
            assert_eq!(answer.status, 405, "{method} {target}");
            assert_eq!(answer.header("location"), None);
        }
    }
    let form = format!(
        "POST /callback HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{query}",
        query.len()
    );
    assert_eq!(sign_in.send(&form).await.status, 405);
    sign_in.opened().await;
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn stray_requests_change_nothing() {
    let sign_in = SignIn::begin(plan()).await;
    let state = sign_in.printed("state");
    for target in [
        "/",
        "/favicon.ico",
        "/robots.txt",
        "/.well-known/appspecific/com.chrome.devtools.json",
        // The last page, before the end.
        "/done",
        &format!("/?code=evil&state={state}"),
        &format!("/callback/?code=evil&state={state}"),
        &format!("/Callback?code=evil&state={state}"),
        &format!("//callback?code=evil&state={state}"),
        &format!("/x/../callback?code=evil&state={state}"),
        &format!("/start/../callback?code=evil&state={state}"),
    ] {
        let answer = sign_in.get(target).await;
        assert_eq!(answer.status, 404, "{target}");
        assert!(!answer.body.contains("evil"));
    }
    sign_in.opened().await;
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn the_start_page_is_good_once_and_cannot_be_guessed() {
    let sign_in = SignIn::begin(plan()).await;
    let start = sign_in.start();
    for guess in [
        "/start".to_owned(),
        "/start/".to_owned(),
        "/start/AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        start[..start.len() - 1].to_owned(),
        format!("{start}/"),
        format!("{start}x"),
        start.to_ascii_lowercase(),
        start.replace("/start/", "/Start/"),
    ] {
        let answer = sign_in.get(&guess).await;
        assert_eq!(answer.status, 404, "{guess}");
        assert_eq!(answer.header("set-cookie"), None);
    }
    sign_in.opened().await;
    for _ in 0..2 {
        let again = sign_in.get(&start).await;
        assert_eq!(again.status, 404);
        assert_eq!((again.header("location"), again.header("set-cookie")), (None, None));
    }
    sign_in.still_succeeds().await;
}

// What the answer says.

#[tokio::test]
async fn the_callback_leads_to_a_page_that_tells_nothing() {
    let sign_in = SignIn::begin(plan()).await;
    let state = sign_in.printed("state");
    let answer = sign_in.get(&format!("/callback?code=the-code&state={state}&iss=https://idp.test")).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/done")));
    let last_page = sign_in.get("/done").await;
    assert_eq!(last_page.status, 200);
    for page in [answer, last_page] {
        for secret in ["the-code", state.as_str(), "idp.test"] {
            assert!(!page.head.contains(secret) && !page.body.contains(secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn the_first_callback_is_the_last() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    let state = sign_in.printed("state");
    assert_eq!(sign_in.get(&format!("/callback?code=first&state={state}")).await.status, 303);
    for (query, headers) in [
        (format!("code=second&state={state}"), ""),
        (format!("error=access_denied&state={state}"), ""),
        (format!("code=third&state={}", opened.state), opened.cookie.as_str()),
    ] {
        assert_eq!(sign_in.get_with(&format!("/callback?{query}"), headers).await.status, 400);
    }
    let returned = in_time(sign_in.task).await.unwrap().unwrap();
    assert_eq!(returned.code.expose(), "first");
}

#[tokio::test]
async fn another_issuers_answer_ends_the_sign_in_without_a_code() {
    for (required, query) in [
        (false, "code=the-code&iss=https://evil.test"),
        (false, "error=access_denied&iss=https://evil.test"),
        (false, "code=the-code&iss=https://idp.test/"),
        (false, "code=the-code&iss=https://idp.test&iss=https://evil.test"),
        (true, "code=the-code&iss=https://evil.test"),
        (true, "code=the-code"),
        (true, "code=the-code&iss="),
        (true, "error=access_denied"),
    ] {
        let mut plan = plan();
        plan.metadata.authorization_response_iss_parameter_supported = required;
        let sign_in = SignIn::begin(plan).await;
        let callback = format!("/callback?{query}&state={}", sign_in.printed("state"));
        let (last_page, error) = sign_in.fails_after(&callback).await;
        assert!(last_page.body.contains("Not signed in"), "{query}");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(error.to_string(), "the answer of the sign-in does not hold", "{query}");
        assert!(!shown(&error).contains("the-code"), "{query}");
        assert!(error.hints()[0].contains("`earthkey login oidc/work`"));
    }
}

#[tokio::test]
async fn the_issuer_itself_is_believed() {
    for required in [false, true] {
        let mut plan = plan();
        plan.metadata.authorization_response_iss_parameter_supported = required;
        let sign_in = SignIn::begin(plan).await;
        let state = sign_in.printed("state");
        let callback = format!("/callback?code=c&state={state}&iss=https%3A%2F%2Fidp.test");
        assert_eq!(sign_in.get(&callback).await.status, 303);
        assert!(in_time(sign_in.task).await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_denial_is_an_answer() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    let callback = format!(
        "/callback?error=access_denied&error_description=no%1b%5b2J%0d%0a<script>&state={}",
        opened.state
    );
    assert_eq!(sign_in.get_with(&callback, &opened.cookie).await.status, 303);
    let last_page = sign_in.get("/done").await;
    assert!(last_page.body.contains("Not signed in"));
    let error = in_time(sign_in.task).await.unwrap().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), "the sign-in was denied");
    assert_eq!(error.causes(), ["access_denied: no [2J  <script>"]);
}

#[tokio::test]
async fn an_answer_that_no_server_gives_ends_the_sign_in_too() {
    // The state is right, so that nothing better will come: waiting would say nothing.
    for query in ["", "&code=", "&code=a&code=b", "&error=a&error=b"] {
        let sign_in = SignIn::begin(plan()).await;
        let callback = format!("/callback?state={}{query}", sign_in.printed("state"));
        let (_, error) = sign_in.fails_after(&callback).await;
        assert_eq!(error.to_string(), "the answer of the sign-in does not hold", "{query}");
    }
}

// Connections.

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

// The end.

#[tokio::test]
async fn the_last_page_is_served_before_the_flow_goes_on() {
    let sign_in = SignIn::begin(plan()).await;
    let state = sign_in.printed("state");
    sign_in.get(&format!("/callback?code=c&state={state}")).await;
    let last = sign_in
        .connect_with(&format!("GET /done HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", sign_in.port))
        .await;
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
    let listener = Listener::bind(None).await.unwrap();
    for socket in &listener.listeners {
        rustix::net::shutdown(socket, rustix::net::Shutdown::Both).unwrap();
    }
    let sign_in = SignIn::begin_at(plan(), listener).await;
    let error = sign_in.task.await.unwrap().err().unwrap();
    assert_eq!(error.to_string(), "nobody signed in within 600 seconds");
}

// Ports.

#[tokio::test]
async fn a_named_port_that_is_taken_is_an_error_that_says_so() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Listener::bind(Some(port)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.to_string(), format!("port {port} of this machine cannot be used"));
    assert!(error.hints().iter().any(|hint| hint.contains("--flow loopback:PORT")));
    assert!(error.hints().iter().any(|hint| hint.contains("--flow device")));
    assert_eq!(error.causes().len(), 1);
    drop(taken);
    assert_eq!(Listener::bind(Some(port)).await.unwrap().port(), port);
}

#[tokio::test]
async fn a_port_that_is_taken_on_ipv6_alone_is_taken() {
    // Without IPv6 nobody can squat there.
    let Ok(squatter) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else { return };
    let port = squatter.local_addr().unwrap().port();
    let error = Listener::bind(Some(port)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    // What was bound on the way is free again.
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.is_ok());
}

#[tokio::test]
async fn both_addresses_are_ours_alone() {
    let listener = Listener::bind(None).await.unwrap();
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, listener.port())).await.is_err());
    assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, listener.port())).await.is_err());
    assert!(TcpListener::bind((Ipv6Addr::LOCALHOST, listener.port())).await.is_err());
    for socket in &listener.listeners {
        assert!(socket.local_addr().unwrap().ip().is_loopback());
    }
}
