//! Google: Application Default Credentials, and what Earth Engine and Gemini share with them.
//!
//! A login is a person's (a refresh token in a file of some client's making) or a program's (a key
//! that stays where it is). Nothing of Google's is discovered: the addresses are constants, but for
//! those that a client's or an account's own file names.

mod adc;
mod api;
mod authorized_user;
mod by_key;
mod by_person;
mod client_file;
mod json;
mod key;
mod kind;
mod refusal;
mod scope;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Map;
use serde_json::Value;
use url::Url;

pub(super) use self::adc::Adc;
pub(super) use self::api::ask;
pub(super) use self::authorized_user::AuthorizedUser;
pub(super) use self::authorized_user::AuthorizedUserSlot;
pub(super) use self::authorized_user::NewLogin;
pub use self::authorized_user::QuotaProject;
pub(super) use self::authorized_user::issued_to;
pub(super) use self::authorized_user::scopes as scopes_of;
pub(super) use self::by_key::has_key;
use self::by_key::key_source;
pub(super) use self::by_key::plan_by_key;
pub(super) use self::by_key::resolve_by_key;
pub(super) use self::by_person::client;
pub(super) use self::by_person::googles_own;
use self::by_person::googles_own_addresses;
pub(super) use self::by_person::known_client;
pub(super) use self::by_person::plan_by_person;
pub(super) use self::by_person::post_client;
pub(super) use self::client_file::ClientFile;
pub(super) use self::json::in_one_line;
pub(super) use self::key::Key;
pub(super) use self::refusal::explain;
pub use self::scope::only_read;
use super::Bearer;
use super::Checked;
use super::Context;
use super::Endpoints;
use super::IssuedTo;
use super::LoginOptions;
use super::NamedBy;
use super::Signing;
use super::Source;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::error::word;
use crate::flow::Redirect;
use crate::host::Notice;
use crate::host::env::display;
use crate::host::http::Request;
use crate::login::Login;
use crate::login::System;
use crate::oauth::client::Client;
use crate::oauth::metadata::Metadata;
use crate::oauth::pkce;
use crate::oauth::token::MAX_TOKEN_BODY;
use crate::refresh::Access;
use crate::secret::RefreshToken;
use crate::store::Home;
use crate::store::Slot;
use crate::store::places::unusable;
use crate::store::slot::Privacy;
use crate::store::slot::Rotation;

/// Where every grant of Google's goes.
pub const TOKEN_ENDPOINT: &str = "https://oauth2.googleapis.com/token";

/// The header that names the project which requests are counted for.
pub const QUOTA_HEADER: &str = "x-goog-user-project";

const ISSUER: &str = "https://accounts.google.com";
const AUTHORIZATION_ENDPOINT: &str = "https://accounts.google.com/o/oauth2/auth";
const REVOCATION_ENDPOINT: &str = "https://oauth2.googleapis.com/revoke";
const TOKENINFO: &str = "https://oauth2.googleapis.com/tokeninfo";
const QUOTA_VARIABLE: &str = "GOOGLE_CLOUD_QUOTA_PROJECT";
const KEYS: &str = "https://www.googleapis.com/oauth2/v3/certs";

/// Other addresses that lead to the same token endpoint; client files may hold them.
const OTHER_TOKEN_ENDPOINTS: [&str; 3] = [
    "https://accounts.google.com/o/oauth2/token",
    "https://www.googleapis.com/oauth2/v3/token",
    "https://www.googleapis.com/oauth2/v4/token",
];

/// The scope that `gcloud` and Google's libraries cannot do without.
pub(super) const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Google's libraries take a token for expired that lives for less than this, in seconds.
const LIBRARY_THRESHOLD: u64 = 225;

/// What tells the systems of Google apart.
pub(super) struct Preset {
    /// The client of a person who names none: a public constant of the system's own client.
    pub(super) client: Option<(&'static str, &'static str)>,
    /// What a person is asked for.
    pub(super) scopes: &'static [&'static str],
    /// The one of them that the system is about.
    pub(super) needed_scope: &'static str,
    /// What a service account's tokens are good for.
    pub(super) account_scopes: &'static [&'static str],
    /// Where the browser comes back to.
    pub(super) redirect: Redirect,
}

const PRESET: Preset = Preset {
    client: Some((
        "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com",
        "d-FL95Q19q7MQmFpd7hHD0Ty",
    )),
    scopes: &[
        "openid",
        "https://www.googleapis.com/auth/userinfo.email",
        CLOUD_PLATFORM,
        "https://www.googleapis.com/auth/sqlservice.login",
    ],
    needed_scope: CLOUD_PLATFORM,
    account_scopes: &[CLOUD_PLATFORM],
    redirect: Redirect { host: "localhost", path: "/", port: Some(8085) },
};

/// Where a person signs in, and where the grant goes then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) authorization: Url,
    pub(super) token: Url,
}

/// A client with everything that signing in by it takes.
pub(super) struct PersonsClient {
    pub(super) client: Client,
    pub(super) addresses: Addresses,
    /// The project that the client is of.
    pub(super) project: Option<String>,
}

/// Says how to sign in.
pub(super) fn plan(cx: &Context<'_>, login: &Login, options: &LoginOptions) -> Result<Signing> {
    if let Some(signing) = plan_by_key(cx, login, options, &PRESET)? {
        return Ok(signing);
    }
    let path = match login.name {
        Some(_) => own_path(cx, login)?,
        None => adc::well_known(cx)?,
    };
    let present = read(cx, &path)?.map(|bytes| members(&bytes)).unwrap_or_default();
    let kind = present.get("type").and_then(Value::as_str).unwrap_or(authorized_user::TYPE);
    if kind != authorized_user::TYPE && !options.force {
        let (path, kind) = (path.display(), printable(kind, 60));
        return Err(Error::configuration(format!("`{path}` holds credentials of type `{kind}`"))
            .hint(format!(
                "keep them under another name: `mv {} {}`, then sign in",
                word(&path),
                word(format_args!("{path}.{kind}"))
            ))
            .hint("or have them moved to a file `….damaged`: add `--force`"));
    }
    let known = read(cx, &path)?.and_then(|bytes| AuthorizedUser::parse(&bytes, Whose::Googles).ok());
    let known = known_client(cx, login, known.map(|user| user.client))?;
    let client = googles_own(client(cx, login, options, &PRESET, known)?)?;
    let slot = AuthorizedUserSlot {
        login: Some(NewLogin {
            client: client.client.clone(),
            quota_project: valid(&options.quota_project)?,
            addresses: None,
        }),
        ..AuthorizedUserSlot::default()
    };
    let mut source = source(cx, login, home(cx, path, Arc::new(slot))?, &client)?;
    source.named_by = adc::named_by(cx)?.filter(|_| login.name.is_none()).map(NamedBy::Variable);
    let remark = match &options.quota_project {
        QuotaProject::Keep if !present.contains_key("quota_project_id") => Some(format!(
            "some of Google's APIs want a project that requests are counted for: `earthkey login {login} \
             --quota-project P`"
        )),
        _ => None,
    };
    Ok(Signing { remark, ..plan_by_person(cx, options, &PRESET, client, source)? })
}

/// Refuses a project that no header could hold.
pub(super) fn valid(quota_project: &QuotaProject) -> Result<QuotaProject> {
    if let QuotaProject::Set(project) = quota_project {
        project_id(project, "`--quota-project`")?;
    }
    Ok(quota_project.clone())
}

/// Finds the login that exists, or where it would be.
pub(super) fn resolve(cx: &Context<'_>, login: &Login) -> Result<Source> {
    // As for the libraries, a variable goes before everything else; so does it before a key.
    let is_named = login.name.is_none() && adc::named_by(cx)?.is_some();
    if !is_named && let Some(source) = resolve_by_key(cx, login, &PRESET)? {
        return Ok(source);
    }
    match login.name {
        Some(_) => resolve_by_file(cx, login, own_path(cx, login)?, Whose::Ours),
        None => match Adc::find(cx)? {
            Some(adc) => adc.source(cx, login, &PRESET),
            None => resolve_by_file(cx, login, adc::well_known(cx)?, Whose::Googles),
        },
    }
}

/// Finds every login.
pub(super) fn list(cx: &Context<'_>) -> Result<Vec<Login>> {
    let default = Login::of(System::Google);
    let is_there =
        adc::named_by(cx)?.is_some() || cx.is_there(&adc::well_known(cx)?)? || has_key(cx, &default);
    Ok(is_there.then_some(default).into_iter().chain(further(cx, System::Google)?).collect())
}

/// Refuses to show Google a token that is another server's.
pub(super) fn refuse_strangers(cx: &Context<'_>, source: &Source) -> Result<()> {
    let Some(place) = source.place() else { return Ok(()) };
    if is_googles(&place) || place == moved(cx, TOKEN_ENDPOINT)? {
        return Ok(());
    }
    let login = &source.login;
    Err(Error::configuration(format!("the token of `{login}` is not Google's, and is not shown to Google"))
        .caused_by(format!("it comes from `{place}`"))
        .hint(format!("have the token itself, for the server that it is for: `earthkey token {login}`")))
}

/// Asks Google what the token is good for.
pub(super) async fn check(cx: &Context<'_>, source: &Source, access: &Access) -> Result<Checked> {
    let endpoint = moved(cx, TOKENINFO)?;
    // In the body: an address may be kept by whatever stands between.
    let request = Request::post(endpoint.clone()).secret_field("access_token", access.token.expose());
    let answer = ask(cx, source, access, request).await?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let account = text("email").map(|email| printable(email, 200)).or_else(|| source.account.clone());
    let scopes = text("scope").unwrap_or_default().split_whitespace().count();
    Ok(Checked { account, called: endpoint.to_string(), found: Some(counted(scopes, "scope")) })
}

/// Returns where a login's own file lies, which no client of Google's knows of.
pub(super) fn own_path(cx: &Context<'_>, login: &Login) -> Result<PathBuf> {
    let file = format!("{}.json", login.name_or("default"));
    Ok(own_directory(cx, login.system)?.join(file))
}

/// Returns the folder of a system's files of ours.
pub(super) fn own_directory(cx: &Context<'_>, system: System) -> Result<PathBuf> {
    Ok(cx.host.env.state_directory()?.join(system.as_str()))
}

/// Returns the file of Application Default Credentials.
pub(super) fn well_known(cx: &Context<'_>) -> Result<PathBuf> {
    adc::well_known(cx)
}

/// Finds every login of a system besides its default one.
pub(super) fn further(cx: &Context<'_>, system: System) -> Result<Vec<Login>> {
    let paths = cx.list(&own_directory(cx, system)?)?;
    let by_file = paths.iter().filter_map(|path| {
        let stem = path.file_name()?.to_str()?.strip_suffix(".json")?;
        format!("{system}/{stem}").parse::<Login>().ok()
    });
    let by_key = cx.config.logins(system).into_iter().filter(|login| has_key(cx, login));
    let mut logins: Vec<_> = by_file.chain(by_key).filter(|login| login.name.is_some()).collect();
    logins.sort();
    logins.dedup();
    Ok(logins)
}

/// Whose a file is decides what of it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Ours: it says where its grant goes.
    Ours,
    /// Google's libraries': the grant goes to Google, whatever the file says.
    Googles,
}

/// Finds the login of a file in the form of Application Default Credentials. A file that cannot be
/// read as it is may be whole at the next look, which whoever uses it takes.
pub(super) fn resolve_by_file(
    cx: &Context<'_>,
    login: &Login,
    path: PathBuf,
    whose: Whose,
) -> Result<Source> {
    let home = home(cx, path, Arc::new(AuthorizedUserSlot { whose, ..AuthorizedUserSlot::default() }))?;
    let bytes = read(cx, &home.path)?;
    let user = bytes.as_deref().and_then(|bytes| AuthorizedUser::parse(bytes, whose).ok());
    let client = client_of(user.as_ref())?;
    let source = source(cx, login, home, &client)?;
    let Some(user) = user else { return Ok(Source { issued_to: IssuedTo::Home(None), ..source }) };
    let place = display(&source.home.path, &cx.host.env);
    let (quota_project, project_from) = quota_project(cx, user.quota_project, &place).unzip();
    Ok(Source {
        issued_to: IssuedTo::Home(Some(issued_to(&user.client, user.addresses.as_ref()))),
        scopes: user.scopes,
        quota_project,
        project_from,
        account: user.account,
        rapt: user.rapt,
        ..source
    })
}

/// Returns the client of a file, with the addresses of a file of ours.
pub(super) fn client_of(user: Option<&AuthorizedUser>) -> Result<PersonsClient> {
    let client = user.map_or_else(|| Client::public(""), |user| user.client.clone());
    let addresses = match user.and_then(|user| user.addresses.clone()) {
        Some(addresses) => addresses,
        None => googles_own_addresses()?,
    };
    Ok(PersonsClient { client, addresses, project: None })
}

/// Returns a home that no other program of ours has anything to lose by: Google replaces no tokens.
pub(super) fn home(cx: &Context<'_>, path: PathBuf, slot: Arc<dyn Slot>) -> Result<Home> {
    Ok(Home {
        path,
        slot,
        privacy: Privacy::Expected,
        rotation: Rotation::Never,
        ledgers: Some(cx.host.env.state_directory()?.join("ledgers")),
    })
}

/// Returns a login of a client, in a home.
pub(super) fn source(cx: &Context<'_>, login: &Login, home: Home, client: &PersonsClient) -> Result<Source> {
    let metadata = metadata(cx, &client.addresses)?;
    // What another server does with a used token is not known.
    let is_googles = is_googles(&client.addresses.token);
    let home = if is_googles { home } else { Home { rotation: Rotation::Possible, ledgers: None, ..home } };
    Ok(Source {
        login: login.clone(),
        home,
        given: None,
        client: client.client.clone(),
        issuer: metadata.issuer.clone(),
        endpoints: Endpoints::Known(Box::new(metadata)),
        scopes: Vec::new(),
        audience: None,
        bearer: Bearer::Plain,
        api: None,
        quota_project: None,
        project_from: None,
        account: None,
        rapt: None,
        issued_to: IssuedTo::Elsewhere,
        named_by: None,
    })
}

fn metadata(cx: &Context<'_>, addresses: &Addresses) -> Result<Metadata> {
    let is_googles = is_googles(&addresses.token);
    let own = |address: &str| if is_googles { moved(cx, address).map(Some) } else { Ok(None) };
    Ok(Metadata {
        issuer: if is_googles {
            ISSUER.to_owned()
        } else {
            addresses.authorization.origin().ascii_serialization()
        },
        is_known_by_origin: !is_googles,
        authorization_endpoint: Some(moved(cx, addresses.authorization.as_str())?),
        token_endpoint: Some(moved(cx, addresses.token.as_str())?),
        revocation_endpoint: own(REVOCATION_ENDPOINT)?,
        jwks_uri: own(KEYS)?,
        code_challenge_methods_supported: is_googles.then(|| vec![pkce::METHOD.to_owned()]),
        ..Metadata::default()
    })
}

fn is_googles(token_endpoint: &Url) -> bool {
    let address = token_endpoint.as_str();
    address == TOKEN_ENDPOINT || OTHER_TOKEN_ENDPOINTS.contains(&address)
}

/// Returns an address of Google's, or where the sandbox plays it.
pub(super) fn moved(cx: &Context<'_>, address: &str) -> Result<Url> {
    let url = googles(address)?;
    let place = format!("google/{}{}", url.host_str().unwrap_or_default(), url.path());
    cx.moved(address, &place)?.map_or(Ok(url), |moved| googles(&moved))
}

fn googles(address: &str) -> Result<Url> {
    Url::parse(address).map_err(|error| Error::internal("an address of Google's is none").caused_by(error))
}

/// Returns the project that requests are counted for, and where it is from: the variable's, else the
/// file's.
pub(super) fn quota_project(
    cx: &Context<'_>,
    of_file: Option<String>,
    place: &str,
) -> Option<(String, String)> {
    match cx.host.env.text(QUOTA_VARIABLE) {
        Some(project) => usable_project(cx, project, &format!("`{QUOTA_VARIABLE}`")),
        None => usable_project(cx, &of_file?, place),
    }
}

/// Returns a project as it was found, and where, unless no header could hold it: that is told, and keeps
/// nobody from using or ending the login.
pub(super) fn usable_project(cx: &Context<'_>, text: &str, place: &str) -> Option<(String, String)> {
    project_id(text, place)
        .map(|project| (project, place.to_owned()))
        .inspect_err(|error| {
            let causes = error.causes().join(": ");
            cx.host.interaction.tell(&Notice::Warning(&format!("{error}: {causes}; it is left out")));
        })
        .ok()
}

/// Reads a project's id or number, which becomes part of a header.
pub(super) fn project_id(text: &str, place: &str) -> Result<String> {
    let fits = text.len() <= 100
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !text.contains("..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte));
    if fits {
        return Ok(text.to_owned());
    }
    Err(Error::configuration(format!("`{}` is no id of a project", printable(text, 100)))
        .caused_by(format!("it is named by {place}"))
        .hint("a project's id has letters, digits and hyphens, such as `my-project-42`"))
}

/// Reads a file that the answer depends on.
pub(super) fn read(cx: &Context<'_>, path: &std::path::Path) -> Result<Option<Vec<u8>>> {
    cx.read(path).map_err(|error| unusable("cannot read", path, error))
}

/// Says how many there are of something.
pub(super) fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Returns the members of a JSON object, and none of anything else.
pub(super) fn members(bytes: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// Builds a revocation, for which Google wants the token alone.
pub(super) fn revocation_request(endpoint: &Url, token: &RefreshToken) -> Request {
    Request::post(endpoint.clone()).max_body(MAX_TOKEN_BODY).secret_field("token", token.expose())
}

/// Returns when a token should be refreshed, so that Google's libraries find it fresh.
pub(super) fn early_at(obtained_at: u64, expires_at: u64) -> u64 {
    let half_life = obtained_at + expires_at.saturating_sub(obtained_at) / 2;
    expires_at.saturating_sub(LIBRARY_THRESHOLD).max(half_life)
}

#[cfg(test)]
mod tests;
