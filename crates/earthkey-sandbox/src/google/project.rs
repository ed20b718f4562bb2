//! Projects: who is asked for, and which of them do not work.

use axum::http::HeaderMap;

use super::error::ApiError;

/// The projects of Google's own clients, which nobody else may use: that of Earth Engine's library,
/// and those it calls SDK projects itself.
const SDK_PROJECTS: [&str; 7] = [
    "517222506229",
    "764086051850",
    "618104708054",
    "32555940559",
    "522309567947",
    "1014160490159",
    "1057398310658",
];

/// A service that is enabled per project.
pub(crate) struct Service {
    pub(crate) title: &'static str,
    pub(crate) host: &'static str,
    /// Whether projects are registered for it beside.
    pub(crate) registers: bool,
}

/// Returns the project to be billed, if the header names it plainly.
pub(crate) fn of_header(headers: &HeaderMap) -> Option<&str> {
    let name = headers.get("x-goog-user-project")?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (!name.is_empty() && name.len() <= 63 && name.bytes().all(plain)).then_some(name)
}

/// Refuses a project with which a service does not work.
pub(crate) fn check(service: &Service, project: &str) -> Result<(), ApiError> {
    let Service { title, host, registers } = service;
    match project {
        "sandbox-disabled" => Err(ApiError::permission_denied(format!(
            "{title} has not been used in project {project} before or it is disabled. Enable it by visiting \
             {activation} then retry. If you enabled this API recently, wait a few minutes for the action \
             to propagate to our systems and retry.",
            activation = activation(host, project),
        ))
        .with_reason("SERVICE_DISABLED")
        .with("service", *host)
        .with("consumer", format!("projects/{project}"))
        .with("activationUrl", activation(host, project))),
        project if project == "sandbox-forbidden" || SDK_PROJECTS.contains(&project) => {
            Err(ApiError::permission_denied(format!(
                "Caller does not have required permission to use project {project}. Grant the caller the \
                 roles/serviceusage.serviceUsageConsumer role, or a custom role with the \
                 serviceusage.services.use permission, by visiting \
                 https://console.developers.google.com/iam-admin/iam/project?project={project} and then \
                 retry. Propagation of the new permission may take a few minutes."
            ))
            .with_reason("USER_PROJECT_DENIED")
            .with("service", *host)
            .with("consumer", format!("projects/{project}")))
        }
        "sandbox-unregistered" if *registers => Err(ApiError::permission_denied(
            "Not signed up for Earth Engine or project is not registered. Visit \
             https://developers.google.com/earth-engine/guides/access",
        )),
        _ => Ok(()),
    }
}

fn activation(host: &str, project: &str) -> String {
    format!("https://console.developers.google.com/apis/api/{host}/overview?project={project}")
}
