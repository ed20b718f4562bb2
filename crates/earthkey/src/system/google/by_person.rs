//! People who sign in with a client: Google's own, or one of theirs.

use super::AUTHORIZATION_ENDPOINT;
use super::Addresses;
use super::ClientFile;
use super::PersonsClient;
use super::Preset;
use super::TOKEN_ENDPOINT;
use super::googles;
use crate::config::Profile;
use crate::error::Error;
use crate::error::Result;
use crate::flow::Flow;
use crate::flow::Plan;
use crate::login::Login;
use crate::oauth::client::Client;
use crate::oauth::client::ClientAuthentication;
use crate::secret::ClientSecret;
use crate::system::Context;
use crate::system::Endpoints;
use crate::system::LoginOptions;
use crate::system::Signing;
use crate::system::Source;
use crate::system::TIMEOUT;
use crate::system::choose_flow;
use crate::system::opens_browser;

/// Chooses the client of a person's login: the one named now, the one known, the system's own.
pub(in super::super) fn client(
    cx: &Context<'_>,
    login: &Login,
    options: &LoginOptions,
    preset: &Preset,
    known: Option<PersonsClient>,
) -> Result<PersonsClient> {
    if let Some(path) = &options.client_id_file {
        let ClientFile { client, addresses, project } = ClientFile::load(cx, login, path)?;
        return Ok(PersonsClient { client, addresses, project });
    }
    if let Some(id) = &options.client_id {
        let is_known = known.as_ref().is_some_and(|known| known.client.id == *id);
        if let Some(known) = known.filter(|_| is_known && options.client_secret.is_none()) {
            return Ok(known);
        }
        let of_preset = preset.client.filter(|(own, _)| own == id);
        let secret = options.client_secret.clone().or(of_preset.map(|(_, secret)| ClientSecret::new(secret)));
        let secret = secret.ok_or_else(|| {
            Error::usage("Google wants the secret of a client, too")
                .hint(format!("earthkey login {login} --client-id-file client_secret.json"))
                .hint(format!("earthkey login {login} --client-id {id} --client-secret-stdin <FILE"))
        })?;
        return Ok(PersonsClient {
            client: post_client(id, secret),
            addresses: googles_own_addresses()?,
            project: None,
        });
    }
    if options.client_secret.is_some() {
        return Err(Error::usage("the secret of which client is not said")
            .hint(format!("earthkey login {login} --client-id ID --client-secret-stdin <FILE")));
    }
    if let Some(known) = known {
        return Ok(known);
    }
    let (id, secret) = preset.client.ok_or_else(|| {
        Error::configuration(format!("`{login}` needs a client of your own"))
            .caused_by("Google blocks its tools' own clients for this system's scopes")
            .hint("make a client of type `Desktop app`: https://console.cloud.google.com/auth/clients")
            .hint(format!("then name its file: `earthkey login {login} --client-id-file client_secret.json`"))
    })?;
    let client = post_client(id, ClientSecret::new(secret));
    Ok(PersonsClient { client, addresses: googles_own_addresses()?, project: None })
}

pub(super) fn googles_own_addresses() -> Result<Addresses> {
    Ok(Addresses { authorization: googles(AUTHORIZATION_ENDPOINT)?, token: googles(TOKEN_ENDPOINT)? })
}

/// Refuses a client of another server's where the system's own client would ask Google all the same.
pub(in super::super) fn googles_own(client: PersonsClient) -> Result<PersonsClient> {
    if client.addresses.token == googles(TOKEN_ENDPOINT)? {
        return Ok(client);
    }
    Err(Error::configuration(format!("the client's tokens come from `{}`", client.addresses.token))
        .caused_by("the clients that read this login's file ask Google whatever it says")
        .hint("sign in with a client of Google's, or keep the login as one of `oidc`"))
}

/// Returns a client that sends its secret in the form, as all of Google's do.
pub(in super::super) fn post_client(id: impl Into<String>, secret: ClientSecret) -> Client {
    Client { id: id.into(), authentication: ClientAuthentication::SecretPost(secret) }
}

/// Says how a person signs in, with a home and a client that are chosen.
pub(in super::super) fn plan_by_person(
    cx: &Context<'_>,
    options: &LoginOptions,
    preset: &Preset,
    client: PersonsClient,
    source: Source,
) -> Result<Signing> {
    let login = source.login.clone();
    let Endpoints::Known(metadata) = &source.endpoints else {
        return Err(Error::internal("Google's endpoints are always known"));
    };
    let known = cx.config.profile(&login).flow;
    let known = known.filter(|flow| flow != Flow::ServiceAccount.name());
    let flow = choose_flow(cx.host, metadata, options, known.as_deref())?;
    if !matches!(flow, Flow::Loopback(_) | Flow::Paste | Flow::Refresh) {
        return Err(Error::usage(format!("{} has no flow `{}`", login.system, flow.name()))
            .hint("its flows are loopback, paste, service-account and refresh"));
    }
    let client_id = client.client.id.clone();
    let scopes =
        options.scopes.clone().unwrap_or_else(|| preset.scopes.iter().map(|s| (*s).to_owned()).collect());
    let plan = Plan {
        login: login.clone(),
        again: options.command(&login),
        metadata: (**metadata).clone(),
        client: client.client,
        checks_id_token: metadata.jwks_uri.is_some() && scopes.iter().any(|scope| scope == "openid"),
        scopes,
        audience: None,
        // Without the second a person who has agreed before gets no refresh token.
        parameters: [("access_type", "offline"), ("prompt", "consent")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        redirect: preset.redirect,
        device_pkce: false,
        opens_browser: opens_browser(cx.host, options),
        timeout: options.timeout.unwrap_or(TIMEOUT),
    };
    let is_chosen = preset.client.is_none_or(|(own, _)| own != client_id);
    let client_id = Some(client_id).filter(|_| is_chosen);
    let profile = Profile { flow: Some(flow.to_string()), client_id, ..Profile::default() };
    let needed_scope = Some(preset.needed_scope);
    Ok(Signing { plan, flow, source, profile, companion: None, needed_scope, remark: None })
}

/// Returns the client of the login that is there, if a person chose it here: others may be of a kind
/// that no browser of this machine can come back to.
pub(in super::super) fn known_client(
    cx: &Context<'_>,
    login: &Login,
    client: Option<Client>,
) -> Result<Option<PersonsClient>> {
    let remembered = cx.config.profile(login).client_id;
    let client = client.filter(|client| remembered.as_ref() == Some(&client.id));
    client
        .map(|client| Ok(PersonsClient { client, addresses: googles_own_addresses()?, project: None }))
        .transpose()
}
