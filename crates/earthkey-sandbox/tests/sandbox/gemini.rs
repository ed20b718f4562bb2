//! The Gemini API.

use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use serde_json::Value;

use crate::bench::google::{CLOUD_PLATFORM, EARTH_ENGINE, MODELS, api_refusal, bearer};
use crate::bench::{Answer, Bench};

async fn models(bench: &Bench, tokens: &Value, billed: &str) -> Answer {
    let request = bench.http.get(bench.at(MODELS)).header(AUTHORIZATION, bearer(tokens));
    Answer::of(request.header("x-goog-user-project", billed).send().await.unwrap()).await
}

#[tokio::test]
async fn models_are_for_those_with_a_scope_for_them() {
    let bench = Bench::new().await;
    let retriever = "https://www.googleapis.com/auth/generative-language.retriever";
    for scope in [CLOUD_PLATFORM, retriever] {
        let tokens = bench.google_login(scope).await;
        let answer = models(&bench, &tokens, "my-project").await;
        assert_eq!(answer.status, StatusCode::OK, "{scope} {}", answer.text);
        assert_eq!(answer.value()["models"][0]["name"], "models/gemini-sandbox");
    }
    let tokens = bench.google_login(CLOUD_PLATFORM).await;
    let request =
        bench.http.get(bench.at(&MODELS.replace("v1beta", "v1"))).header(AUTHORIZATION, bearer(&tokens));
    let request = request.header("x-goog-user-project", "my-project");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    let tokens = bench.google_login(EARTH_ENGINE).await;
    let refused = api_refusal(&models(&bench, &tokens, "my-project").await);
    assert_eq!((refused.0, refused.1.as_str()), (403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT"));
}

#[tokio::test]
async fn a_person_needs_a_project() {
    let bench = Bench::new().await;
    let tokens = bench.google_login(CLOUD_PLATFORM).await;
    let text = "Your application is authenticating by using local Application Default Credentials. The \
                generativelanguage.googleapis.com API requires a quota project, which is not set by default. \
                To learn how to set your quota project, see \
                https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds .";
    let refused = api_refusal(&bench.get_as(MODELS, &bearer(&tokens)).await);
    assert_eq!(refused, (403, "SERVICE_DISABLED".to_owned(), text.to_owned()));
    assert_eq!(models(&bench, &tokens, "my-project").await.status, StatusCode::OK);
    // Registration is for Earth Engine alone.
    assert_eq!(models(&bench, &tokens, "sandbox-unregistered").await.status, StatusCode::OK);
}

#[tokio::test]
async fn some_projects_do_not_work() {
    let bench = Bench::new().await;
    let tokens = bench.google_login(CLOUD_PLATFORM).await;
    let (status, reason, text) = api_refusal(&models(&bench, &tokens, "sandbox-disabled").await);
    assert_eq!((status, reason.as_str()), (403, "SERVICE_DISABLED"));
    assert!(text.starts_with("Gemini API has not been used in project sandbox-disabled before"), "{text}");
    assert!(text.contains("/apis/api/generativelanguage.googleapis.com/overview?project=sandbox-disabled"));
    for project in ["sandbox-forbidden", "32555940559"] {
        let (status, reason, text) = api_refusal(&models(&bench, &tokens, project).await);
        assert_eq!((status, reason.as_str()), (403, "USER_PROJECT_DENIED"));
        assert!(text.contains(&format!("to use project {project}. ")), "{text}");
    }
}
