//! Ours, and what it cannot do without.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use earthkey::earthkey::Earthkey;
use earthkey::flow::Flow;
use earthkey::host::Clock;
use earthkey::host::Env;
use earthkey::host::FileSystem;
use earthkey::host::Host;
use earthkey::host::real::RealClock;
use earthkey::host::real::RealFileSystem;
use earthkey::host::real::RealHttp;
use earthkey::host::real::RealProcess;
use earthkey::host::real::RealRandom;
use earthkey::host::records::RealRecords;
use earthkey::host::scripted::ScriptedPerson;
use earthkey::login::Login;
use earthkey::refresh::Access;
use earthkey::refresh::Want;
use earthkey::system::LoginOptions;
use earthkey_sandbox::Options;
use earthkey_sandbox::Sandbox;
use serde_json::Value;
use tempfile::TempDir;

use crate::Result;
use crate::contestant::Contestant;
use crate::contestant::expect;
use crate::contestant::timed;

/// A service account that has signed in to a sandbox, in a home of its own on this machine.
pub(crate) struct SignedIn {
    earthkey: Earthkey,
    login: Login,
    token: String,
    key: Value,
    _home: TempDir,
}

impl SignedIn {
    pub(crate) async fn new() -> Result<Self> {
        let home = TempDir::new()?;
        let sandbox = Sandbox::start(Options::default()).await?;
        let key = sandbox.control().service_account_key(None);
        let path = home.path().join("key.json");
        RealFileSystem.create_new(&path, key.to_string().as_bytes())?;
        let earthkey = Earthkey::open(host(home.path(), sandbox.url()));
        let login: Login = "earthengine/robot".parse()?;
        let options =
            LoginOptions { flow: Some(Flow::ServiceAccount), key: Some(path), ..LoginOptions::default() };
        earthkey.login(&login, &options).await?;
        let token = earthkey.token(&login, &Want::default()).await?.access.token.expose().to_owned();
        sandbox.stop().await;
        Ok(Self { earthkey, login, token, key, _home: home })
    }

    /// Returns the token that everybody is to hand out.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Returns the key as if tokens were asked for at `token_uri`.
    pub(crate) fn key_for(&self, token_uri: &str) -> Value {
        let mut key = self.key.clone();
        key["token_uri"] = token_uri.into();
        key
    }
}

/// This machine, with nobody in front of it.
fn host(home: &Path, sandbox: &str) -> Host {
    let env = Env::new([("HOME", home.as_os_str()), ("EARTHKEY_SANDBOX", sandbox.as_ref())]);
    let nobody = Arc::new(ScriptedPerson::default());
    Host {
        clock: Arc::new(RealClock),
        fs: Arc::new(RealFileSystem),
        http: Arc::new(RealHttp::new(nobody.clone())),
        interaction: nobody,
        process: Arc::new(RealProcess::default()),
        records: Arc::new(RealRecords::new(env.cache_directory().ok())),
        random: Arc::new(RealRandom),
        env: Arc::new(env),
    }
}

/// The token of one login, each thread with its own `Cached`.
pub(crate) struct Ours<'a> {
    signed_in: &'a SignedIn,
}

impl<'a> Ours<'a> {
    pub(crate) fn new(signed_in: &'a SignedIn) -> Self {
        Self { signed_in }
    }
}

impl Contestant for Ours<'_> {
    fn package(&self) -> Option<&'static str> {
        Some("earthkey")
    }

    fn call(&self) -> &'static str {
        "cached.get()"
    }

    fn hand_out(&self, calls: u32) -> Result<Duration> {
        let is_expected = |access: Option<&Access>| {
            access.is_some_and(|access| access.token.expose() == self.signed_in.token)
        };
        let mut cached = self.signed_in.earthkey.cached(&self.signed_in.login, &Want::default());
        expect(is_expected(cached.get()))?;
        let took = timed(calls, || {
            black_box(cached.get());
        });
        expect(is_expected(cached.get()))?;
        Ok(took)
    }
}

/// The two clocks alone that tell whether a token is still good.
pub(crate) struct Clocks;

impl Contestant for Clocks {
    fn package(&self) -> Option<&'static str> {
        None
    }

    fn call(&self) -> &'static str {
        "the two clocks alone"
    }

    fn hand_out(&self, calls: u32) -> Result<Duration> {
        Ok(timed(calls, || (RealClock.now(), RealClock.since_boot())))
    }
}
