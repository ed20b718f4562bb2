//! Names of systems and logins: `SYSTEM` or `SYSTEM/NAME`.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::error::Result;
use crate::error::printable;

/// The systems that earthkey signs in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum System {
    /// Google Earth Engine.
    Earthengine,
    /// Google Cloud, by Application Default Credentials.
    Google,
    /// Google's Gemini API.
    Gemini,
    /// EarthScope's data services.
    Earthscope,
    /// Any openEO back-end.
    Openeo,
    /// Any OpenID provider.
    Oidc,
}

impl System {
    /// Every system, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Earthengine, Self::Google, Self::Gemini, Self::Openeo, Self::Earthscope, Self::Oidc];

    /// Returns the name that people type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Earthengine => "earthengine",
            Self::Google => "google",
            Self::Gemini => "gemini",
            Self::Earthscope => "earthscope",
            Self::Openeo => "openeo",
            Self::Oidc => "oidc",
        }
    }

    /// Returns whether the system's tokens are Google's.
    pub fn is_of_google(self) -> bool {
        matches!(self, Self::Earthengine | Self::Google | Self::Gemini)
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for System {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|system| system.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str);
            let error = Error::usage(format!("there is no system `{}`", printable(text, 40)));
            let error = match nearest(text, known) {
                Some(system) => error.hint(format!("did you mean `{system}`?")),
                None => error,
            };
            error.hint(format!("the systems are {}; see `earthkey login --help`", known.join(", ")))
        })
    }
}

/// Names one login: `openeo/HOST`, `earthscope/PROFILE`, `oidc/NAME`, or the system alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Login {
    /// The system.
    pub system: System,
    /// The name within the system; `None` is the system's default.
    pub name: Option<String>,
}

/// Characters of a login's name.
const MAX_NAME: usize = 200;

impl Login {
    /// Returns the default login of `system`.
    pub fn of(system: System) -> Self {
        Self { system, name: None }
    }

    /// Returns the login of `system` called `name`.
    pub fn named(system: System, name: impl Into<String>) -> Self {
        Self { system, name: Some(name.into()) }
    }

    /// Returns the name, or `fallback` for the system's default.
    pub fn name_or<'a>(&'a self, fallback: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(fallback)
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}/{name}", self.system),
            None => write!(f, "{}", self.system),
        }
    }
}

impl FromStr for Login {
    type Err = Error;

    /// Reads `SYSTEM` or `SYSTEM/NAME`. A name becomes part of file names and of messages, so it
    /// holds printable characters only and never leads out of a directory.
    fn from_str(text: &str) -> Result<Self> {
        let (system, name) = match text.split_once('/') {
            Some((system, name)) => (system, Some(name)),
            None => (text, None),
        };
        let system: System = system.parse()?;
        let Some(name) = name else { return Ok(Self::of(system)) };
        let allowed = |c: char| c.is_alphanumeric() || ".-_:[]@+~".contains(c);
        let fits = !name.trim().is_empty()
            && name.len() <= MAX_NAME
            && !name.starts_with(['.', '-'])
            && name.chars().all(allowed);
        if fits {
            Ok(Self::named(system, name))
        } else {
            let error = Error::usage(format!("`{}` cannot name a login", printable(text, 80))).hint(
                "a login is SYSTEM or SYSTEM/NAME; a name holds letters, digits and . - _ : @ + ~, no blanks, \
                 and begins with neither . nor -",
            );
            let is_profile = system == System::Earthscope && name.contains(' ');
            Err(if is_profile {
                error.hint(
                    "a profile of the SDK goes by the name of its folder: `my prof` is `earthscope/my-prof`",
                )
            } else {
                error
            })
        }
    }
}

/// Returns which of several names is most like a text that is none of them, if one is.
pub fn nearest<T: AsRef<str>>(text: &str, names: impl IntoIterator<Item = T>) -> Option<T> {
    // As alike as clap takes words to be whose commands it suggests.
    const ALIKE: f64 = 0.8;
    let likeness = |name: T| (strsim::jaro(&text.to_lowercase(), name.as_ref()), name);
    let alike = names.into_iter().map(likeness).filter(|(likeness, _)| *likeness > ALIKE);
    alike.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_read_as_they_are_written() {
        for text in ["oidc", "oidc/work", "openeo/127.0.0.1:8080", "openeo/[::1]:1", "earthscope/my-prof"] {
            assert_eq!(text.parse::<Login>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_name_that_is_almost_one_is_found() {
        let nearest = |text| nearest(text, System::ALL.map(System::as_str));
        for (text, expected) in [
            ("earthengin", "earthengine"),
            ("earth-engine", "earthengine"),
            ("EarthScope", "earthscope"),
            ("geminni", "gemini"),
            ("openEO", "openeo"),
            ("odic", "oidc"),
        ] {
            assert_eq!(nearest(text), Some(expected), "{text}");
        }
        for text in ["", "jupiter", "aws", "x"] {
            assert_eq!(nearest(text), None, "{text}");
        }
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for text in [
            "",
            "nowhere",
            "oidc/",
            "oidc/../x",
            "oidc/.hidden",
            "oidc/a/b",
            "oidc/-x",
            "oidc/a\nb",
            "oidc/a b",
            "earthscope/my prof",
            "oidc/ ",
        ] {
            assert!(text.parse::<Login>().is_err(), "{text:?}");
        }
    }
}
