//! The registry of environment variables: every one that earthkey reads, its own and other programs'.
//!
//! A variable that is not in [`VARIABLES`] cannot be read through an
//! [`Environment`](crate::environment::Environment), so no answer can depend on it unnoticed.

use std::ffi::OsStr;
use std::fmt::Write as _;

/// Names the version of the front to the program it hands over to, which refuses another version than its own.
pub const FRONT_VERSION: &str = "EARTHKEY_FRONT_VERSION";

/// One environment variable, or a family of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// The name, or the beginning of the names of a family, in upper case where case does not matter.
    pub name: &'static str,
    /// How a name in the environment is matched with [`name`](Self::name).
    pub matching: Matching,
    /// Whose variable it is.
    pub owner: &'static str,
    /// Whether the value may be, or may hold, a secret.
    pub secret: bool,
    /// Whether a different value may lead to a different token.
    pub shapes_answer: bool,
    /// What it is for, in one sentence.
    pub purpose: &'static str,
}

/// How a variable's name is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matching {
    /// The very name.
    Exact,
    /// The name in upper or lower case or any mixture.
    AnyCase,
    /// Every name that begins so, in any case.
    AnyCasePrefix,
}

impl Variable {
    const fn new(name: &'static str, owner: &'static str, purpose: &'static str) -> Self {
        Self { name, matching: Matching::Exact, owner, secret: false, shapes_answer: true, purpose }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// Marks a variable that changes what is shown or how it is run, but never which token is served.
    const fn without_effect_on_the_answer(self) -> Self {
        Self { shapes_answer: false, ..self }
    }

    const fn any_case(self) -> Self {
        Self { matching: Matching::AnyCase, ..self }
    }

    const fn any_case_prefix(self) -> Self {
        Self { matching: Matching::AnyCasePrefix, ..self }
    }

    fn matches(&self, name: &OsStr) -> bool {
        let name = name.as_encoded_bytes();
        let ours = self.name.as_bytes();
        match self.matching {
            Matching::Exact => name == ours,
            Matching::AnyCase => name.eq_ignore_ascii_case(ours),
            Matching::AnyCasePrefix => {
                name.get(..ours.len()).is_some_and(|start| start.eq_ignore_ascii_case(ours))
            }
        }
    }
}

/// Returns the registry's entry for a name, the most specific one.
pub fn lookup(name: &OsStr) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.matches(name))
}

/// Returns the registry as a Markdown table, for the reference page.
pub fn markdown() -> String {
    let mut table =
        String::from("| Variable | Whose | Secret | Shapes the token | Purpose |\n|---|---|---|---|---|\n");
    for variable in VARIABLES {
        let (star, words) = match variable.matching {
            Matching::Exact => ("", ""),
            Matching::AnyCase => ("", ", in any case"),
            Matching::AnyCasePrefix => ("*", ", in any case"),
        };
        let yes_no = |yes| if yes { "yes" } else { "no" };
        writeln!(
            table,
            "| `{}{star}`{words} | {} | {} | {} | {} |",
            variable.name,
            variable.owner,
            yes_no(variable.secret),
            yes_no(variable.shapes_answer),
            variable.purpose
        )
        .expect("a String takes every write");
    }
    table
}

/// Every variable that is read. The first entry that matches a name counts, so families follow their members.
pub const VARIABLES: &[Variable] = &[
    Variable::new(
        "EARTHKEY_HOME",
        "earthkey",
        "One folder for configuration, state and cache, in place of the XDG directories",
    ),
    Variable::new(
        "EARTHKEY_SANDBOX",
        "earthkey",
        "URL of a sandbox that stands in for every system, as `--sandbox` does",
    ),
    // The program behind the front sees it and the front does not: both must compute the same digest.
    Variable::new(
        FRONT_VERSION,
        "earthkey",
        "Set by `earthkey` for `earthkey-cli`, so that files of two versions are not mixed",
    )
    .without_effect_on_the_answer(),
    Variable::new("HOME", "system", "The home directory, where the systems' own files lie"),
    Variable::new("XDG_CONFIG_HOME", "XDG", "Configuration directory, in place of `~/.config`"),
    Variable::new("XDG_DATA_HOME", "XDG", "Data directory, in place of `~/.local/share`"),
    Variable::new("XDG_STATE_HOME", "XDG", "State directory, in place of `~/.local/state`"),
    Variable::new("XDG_CACHE_HOME", "XDG", "Cache directory, in place of `~/.cache`"),
    Variable::new("BROWSER", "system", "The browser that a login opens").without_effect_on_the_answer(),
    Variable::new("DISPLAY", "system", "Set where a browser can be shown: the flow that a login chooses")
        .without_effect_on_the_answer(),
    Variable::new("WAYLAND_DISPLAY", "system", "As `DISPLAY`").without_effect_on_the_answer(),
    Variable::new("SSH_CONNECTION", "system", "Set on a remote machine, whose browser is not the person's")
        .without_effect_on_the_answer(),
    Variable::new("PATH", "system", "Where the program that opens a browser is found")
        .without_effect_on_the_answer(),
    Variable::new("NO_COLOR", "system", "Set and not empty: no colour").without_effect_on_the_answer(),
    Variable::new("TERM", "system", "Kind of terminal; `dumb` has no colour and no progress")
        .without_effect_on_the_answer(),
    Variable::new("SSL_CERT_FILE", "network", "File of further trusted certificate authorities"),
    Variable::new("SSL_CERT_DIR", "network", "Directory of further trusted certificate authorities"),
    Variable::new("HTTPS_PROXY", "network", "Proxy for https; the URL may hold a password").secret(),
    Variable::new("https_proxy", "network", "As `HTTPS_PROXY`, which goes before it").secret(),
    Variable::new("HTTP_PROXY", "network", "Proxy for http; the URL may hold a password").secret(),
    Variable::new("http_proxy", "network", "As `HTTP_PROXY`, which goes before it").secret(),
    Variable::new("ALL_PROXY", "network", "Proxy for both; the URL may hold a password").secret(),
    Variable::new("all_proxy", "network", "As `ALL_PROXY`, which goes before it").secret(),
    Variable::new("NO_PROXY", "network", "Hosts that are reached without the proxy"),
    Variable::new("no_proxy", "network", "As `NO_PROXY`, which goes before it"),
    Variable::new(
        "REQUEST_METHOD",
        "network",
        "Set in a CGI program, where `HTTP_PROXY` comes from the client and is ignored",
    ),
    Variable::new(
        "GOOGLE_APPLICATION_CREDENTIALS",
        "Google",
        "File of Application Default Credentials: a key, or a person's login",
    ),
    Variable::new(
        "CLOUDSDK_CONFIG",
        "Google",
        "Folder of `gcloud`'s files, with Application Default Credentials",
    ),
    Variable::new(
        "GOOGLE_CLOUD_QUOTA_PROJECT",
        "Google",
        "Project that requests are counted for, in place of the one in the file",
    ),
    Variable::new("OPENEO_CONFIG_HOME", "openEO", "Folder of the openEO client's files"),
    Variable::new("OPENEO_AUTH_METHOD", "openEO", "`client_credentials` selects that flow"),
    Variable::new("OPENEO_AUTH_PROVIDER_ID", "openEO", "The back-end's OpenID provider to use"),
    Variable::new("OPENEO_AUTH_CLIENT_ID", "openEO", "Client id of the client credentials flow"),
    Variable::new("OPENEO_AUTH_CLIENT_SECRET", "openEO", "Client secret of the client credentials flow")
        .secret(),
    Variable::new("ES_PROFILE", "EarthScope", "The EarthScope SDK's profile").any_case(),
    Variable::new(
        "ES_OAUTH2",
        "EarthScope",
        "Tokens, client and endpoint of the EarthScope SDK, one by one or as JSON",
    )
    .any_case_prefix()
    .secret(),
    Variable::new(
        "ES_BOOTSTRAP_SETTINGS",
        "EarthScope",
        "JSON of the EarthScope SDK's settings below all others",
    )
    .any_case()
    .secret(),
    Variable::new(
        "ES_HTTP",
        "EarthScope",
        "HTTP settings of the EarthScope SDK; further headers may hold a secret",
    )
    .any_case_prefix()
    .secret(),
    Variable::new("ES_", "EarthScope", "Every other setting of the EarthScope SDK").any_case_prefix(),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_entry_can_be_found_and_stands_once() {
        let mut names = HashSet::new();
        for variable in VARIABLES {
            assert!(names.insert(variable.name), "{} stands twice", variable.name);
            assert_eq!(
                lookup(OsStr::new(variable.name)),
                Some(variable),
                "{} is hidden by an earlier entry",
                variable.name
            );
        }
    }

    #[test]
    fn families_match_in_any_case_and_their_secrets_are_known() {
        let entry = |name: &str| lookup(OsStr::new(name)).map(|variable| (variable.name, variable.secret));
        assert_eq!(entry("es_oauth2__Refresh_Token"), Some(("ES_OAUTH2", true)));
        assert_eq!(entry("Es_Oauth2"), Some(("ES_OAUTH2", true)));
        assert_eq!(entry("es_bootstrap_settings"), Some(("ES_BOOTSTRAP_SETTINGS", true)));
        assert_eq!(entry("ES_HTTP__EXTRA_HEADERS"), Some(("ES_HTTP", true)));
        assert_eq!(entry("es_profile"), Some(("ES_PROFILE", false)));
        assert_eq!(entry("ES_RESOURCES__API_URL"), Some(("ES_", false)));
        assert_eq!(entry("OPENEO_AUTH_CLIENT_SECRET"), Some(("OPENEO_AUTH_CLIENT_SECRET", true)));
        assert_eq!(entry("openeo_auth_client_secret"), None);
        assert_eq!(entry("ES"), None);
        assert_eq!(entry("home"), None);
        assert_eq!(entry("EDITOR"), None);
    }

    #[test]
    fn the_table_has_a_row_for_each() {
        let table = markdown();
        assert_eq!(table.lines().count(), VARIABLES.len() + 2);
        assert!(table.contains("| `HOME` | system | no | yes |"));
        assert!(table.contains("| `ES_OAUTH2*`, in any case | EarthScope | yes | yes |"));
        assert!(table.contains("| `ES_PROFILE`, in any case | EarthScope | no | yes |"));
        assert!(table.contains("| `NO_COLOR` | system | no | no |"));
    }
}
