//! What runs behind the port: the parts of a sandbox and the routes to them.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

use crate::account::ACCOUNTS;
use crate::fault::Faults;
use crate::google::documents::Documents;
use crate::pages::{self, Index};
use crate::provider::{Provider, Realm};
use crate::requests::Requests;
use crate::settings::Settings;
use crate::tls::Tls;
use crate::{Options, control, earthscope, google, openeo};

/// The parts of a sandbox.
pub(crate) struct App {
    pub(crate) url: String,
    pub(crate) port: u16,
    pub(crate) providers: [Arc<Provider>; 4],
    pub(crate) requests: Requests,
    pub(crate) faults: Faults,
    /// What it takes to speak TLS, if it does.
    pub(crate) tls: Option<Tls>,
    documents: Documents,
}

impl App {
    /// Returns the parts of a sandbox at `url`.
    pub(crate) fn new(url: String, port: u16, options: &Options, documents: Documents) -> Arc<Self> {
        let provider = |realm| Provider::new(realm, &url, port, Settings::new(realm, options));
        let providers = Realm::ALL.map(provider);
        Arc::new(Self {
            url,
            port,
            providers,
            requests: Requests::default(),
            faults: Faults::default(),
            tls: options.tls.then(Tls::new),
            documents,
        })
    }

    /// Returns the provider of a realm.
    pub(crate) fn provider(&self, realm: Realm) -> &Arc<Provider> {
        let [oidc, openeo, earthscope, google] = &self.providers;
        match realm {
            Realm::Oidc => oidc,
            Realm::Openeo => openeo,
            Realm::Earthscope => earthscope,
            Realm::Google => google,
        }
    }

    /// Returns all routes.
    pub(crate) fn routes(self: &Arc<Self>) -> Router {
        let app = Arc::clone(self);
        let mut router = Router::new()
            .route("/", get(async move || index(&app)))
            .route(pages::STYLE_PATH, get(pages::style))
            .merge(openeo::routes(self.provider(Realm::Openeo)))
            .merge(earthscope::routes(self.provider(Realm::Earthscope)))
            .merge(google::routes(self.provider(Realm::Google), self.documents.clone()))
            .merge(control::routes(Arc::clone(self)));
        for provider in &self.providers {
            router = router.merge(provider.routes());
        }
        router
    }
}

fn index(app: &App) -> Response {
    let issuers = app.providers.iter().map(|own| (own.realm.title(), own.issuer())).collect();
    let accounts = ACCOUNTS.iter().map(|account| (account.name, account.username)).collect();
    let page = Index { title: "earthkey sandbox", url: &app.url, issuers, accounts };
    pages::page(StatusCode::OK, &page, None)
}
