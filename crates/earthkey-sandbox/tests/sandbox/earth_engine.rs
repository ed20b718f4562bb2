//! The Earth Engine API.

use earthkey_sandbox::{Expiring, Options, Realm, Sandbox};
use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::bench::google::{ALGORITHMS, CLOUD_PLATFORM, DRIVE, EARTH_ENGINE, MODELS, api_refusal, bearer};
use crate::bench::{Answer, Bench, string};

const DISCOVERY: &str = "/google/earthengine.googleapis.com/$discovery/rest?version=v1&prettyPrint=false";

async fn algorithms(bench: &Bench, tokens: &Value, path: &str, billed: Option<&str>) -> Answer {
    let project = format!("/google/earthengine.googleapis.com/v1/projects/{path}/algorithms");
    let mut request = bench.http.get(bench.at(&project)).header(AUTHORIZATION, bearer(tokens));
    if let Some(billed) = billed {
        request = request.header("x-goog-user-project", billed);
    }
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn the_description_leads_back_to_where_it_is_played() {
    let bench = Bench::new().await;
    let document = bench.get(DISCOVERY).await.value();
    assert_eq!((&document["version"], &document["id"]), (&json!("v1"), &json!("earthengine:v1")));
    for name in ["rootUrl", "baseUrl"] {
        assert_eq!(document[name], "https://earthengine.googleapis.com/");
    }
    let list = &document["resources"]["projects"]["resources"]["algorithms"]["methods"]["list"];
    assert_eq!(list["path"], "v1/{+parent}/algorithms");
    // Nobody needs a token for it, but one that is not good is not ignored.
    let refused = bench.get_as(DISCOVERY, "Bearer ya29.nonsense").await;
    assert_eq!(api_refusal(&refused).0, 401);
    let tokens = bench.google_login(DRIVE).await;
    assert_eq!(bench.get_as(DISCOVERY, &bearer(&tokens)).await.status, StatusCode::OK);
    let catalog =
        bench.get("/google/storage.googleapis.com/earthengine-stac/catalog/catalog_deprecated.json");
    assert_eq!(catalog.await.value()["links"], json!([]));
}

#[tokio::test]
async fn algorithms_are_for_those_with_a_scope_for_them() {
    let bench = Bench::new().await;
    let read_only = "https://www.googleapis.com/auth/earthengine.readonly";
    for scope in [EARTH_ENGINE, read_only, CLOUD_PLATFORM] {
        let tokens = bench.google_login(scope).await;
        for version in ["v1", "v1alpha", "v1beta"] {
            let path = ALGORITHMS.replace("/v1/", &format!("/{version}/"));
            let answer = bench.get_as(&path, &bearer(&tokens)).await;
            assert_eq!(answer.status, StatusCode::OK, "{scope} {}", answer.text);
            assert!(answer.value()["algorithms"][0]["name"].is_string());
        }
    }
    let tokens = bench.google_login(DRIVE).await;
    let refused = api_refusal(&bench.get_as(ALGORITHMS, &bearer(&tokens)).await);
    assert_eq!((refused.0, refused.1.as_str()), (403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT"));
    assert_eq!(refused.2, "Request had insufficient authentication scopes.");
}

#[tokio::test]
async fn a_token_must_be_active() {
    let bench = Bench::new().await;
    let tokens = bench.google_login(CLOUD_PLATFORM).await;
    bench.control().expire(Realm::Google, Expiring::Access);
    for path in [ALGORITHMS, MODELS] {
        let refused = bench.get_as(path, &bearer(&tokens)).await;
        assert!(api_refusal(&refused).2.starts_with("Request had invalid authentication credentials."));
        assert!(refused.header("www-authenticate").starts_with("Bearer "));
        let missing = api_refusal(&bench.get(path).await);
        assert_eq!((missing.0, missing.1.as_str()), (401, "CREDENTIALS_MISSING"));
    }
}

#[tokio::test]
async fn some_projects_do_not_work() {
    let bench = Bench::new().await;
    let tokens = bench.google_login(EARTH_ENGINE).await;
    let ask = async |path: &str, billed: Option<&str>| {
        let answer = algorithms(&bench, &tokens, path, billed).await;
        if answer.status == StatusCode::OK { None } else { Some(api_refusal(&answer)) }
    };
    assert_eq!(ask("my-project", None).await, None);
    assert_eq!(ask("my-project", Some("other-project")).await, None);

    let disabled = "Earth Engine API has not been used in project sandbox-disabled before or it is disabled. \
                    Enable it by visiting https://console.developers.google.com/apis/api/\
                    earthengine.googleapis.com/overview?project=sandbox-disabled then retry. If you enabled \
                    this API recently, wait a few minutes for the action to propagate to our systems and retry.";
    let expected = Some((403, "SERVICE_DISABLED".to_owned(), disabled.to_owned()));
    assert_eq!(ask("sandbox-disabled", None).await, expected);
    assert_eq!(ask("my-project", Some("sandbox-disabled")).await, expected);

    for project in ["sandbox-forbidden", "517222506229", "764086051850", "1057398310658"] {
        let text = format!(
            "Caller does not have required permission to use project {project}. Grant the caller the \
             roles/serviceusage.serviceUsageConsumer role, or a custom role with the \
             serviceusage.services.use permission, by visiting \
             https://console.developers.google.com/iam-admin/iam/project?project={project} and then retry. \
             Propagation of the new permission may take a few minutes."
        );
        let expected = Some((403, "USER_PROJECT_DENIED".to_owned(), text));
        assert_eq!(ask(project, None).await, expected);
        assert_eq!(ask("my-project", Some(project)).await, expected);
    }

    let unregistered = "Not signed up for Earth Engine or project is not registered. Visit \
                        https://developers.google.com/earth-engine/guides/access";
    let expected = Some((403, String::new(), unregistered.to_owned()));
    assert_eq!(ask("sandbox-unregistered", None).await, expected);
    let record = bench.control().requests(Some(ALGORITHMS)).pop().unwrap();
    assert_eq!((record.status, record.quota_project.as_deref()), (Some(403), Some("1057398310658")));
}

#[tokio::test]
async fn projects_are_logged_if_they_are_plain() {
    let bench = Bench::new().await;
    let tokens = bench.google_login(EARTH_ENGINE).await;
    let cases = [
        (Some("my-project"), Some("my-project")),
        (Some("ya29.sandbox-secret"), None),
        (Some(""), None),
        (None, None),
    ];
    for (sent, kept) in cases {
        algorithms(&bench, &tokens, "my-project", sent).await;
        let record = bench.control().requests(Some(ALGORITHMS)).pop().unwrap();
        assert_eq!(record.quota_project.as_deref(), kept, "{sent:?}");
    }
}

#[tokio::test]
async fn documents_can_be_the_librarys_own() {
    let folder = tempfile::tempdir().unwrap();
    let discovery = json!({
        "version": "v1alpha",
        "rootUrl": "https://elsewhere.example/",
        "resources": {"projects": {"methods": {"list": {
            "path": "v1alpha/{+parent}/x",
            "flatPath": "v1alpha/projects/{id}/x",
            "description": "v1alpha/ stays here",
        }}}},
    });
    let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
    write("cloud_api_discovery_document.json", &discovery.to_string());
    let options = || Options { earthengine_documents: Some(folder.path().to_owned()), ..Options::default() };
    let error = Sandbox::start(options()).await.unwrap_err();
    assert!(error.to_string().contains("algorithms.json"), "{error}");
    write("algorithms.json", "[]");
    let error = Sandbox::start(options()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    write("algorithms.json", "{\"algorithms\": [{\"name\": \"algorithms/Mine\"}]}");

    let bench = Bench::with(options()).await;
    let document = bench.get(DISCOVERY).await.value();
    assert_eq!(
        (&document["version"], string(&document, "rootUrl")),
        (&json!("v1"), "https://earthengine.googleapis.com/")
    );
    let list = &document["resources"]["projects"]["methods"]["list"];
    assert_eq!((&list["path"], &list["flatPath"]), (&json!("v1/{+parent}/x"), &json!("v1/projects/{id}/x")));
    assert_eq!(list["description"], "v1alpha/ stays here");
    let tokens = bench.google_login(EARTH_ENGINE).await;
    let algorithms = bench.get_as(ALGORITHMS, &bearer(&tokens)).await.value();
    assert_eq!(algorithms["algorithms"][0]["name"], "algorithms/Mine");
}
