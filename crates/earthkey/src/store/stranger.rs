//! Answers that are for somebody else (OpenID Connect Core, section 12.2).

use serde_json::Value;

use super::ledger::Binding;
use crate::error::printable;
use crate::oauth::jose;
use crate::oauth::token;
use crate::secret::IdToken;

/// Says for whom the body of an answer is, if its ID token names another issuer or another account than
/// the one of the sign-in. The token came from the token endpoint itself, so that its signature need
/// not be looked at (OpenID Connect Core, section 3.1.3.7, item 6).
pub(super) fn in_answer(body: &[u8], binding: Option<&Binding>) -> Option<String> {
    let Binding { subject: Some(subject), subject_issuer: Some(issuer), .. } = binding? else { return None };
    let id_token = token::parse_body(body).ok()?.id_token?;
    let claims = jose::peek(IdToken::expose(&id_token))?;
    let claim = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let (named_issuer, named_subject) = (claim("iss"), claim("sub"));
    if is_same_issuer(named_issuer, issuer) && named_subject == subject {
        return None;
    }
    Some(format!(
        "the ID token in it is for `{}` at `{}`, and the login is of `{subject}` at `{issuer}`",
        printable(named_subject, 200),
        printable(named_issuer, 200),
    ))
}

/// Compares issuers but for a slash at the end, and for the scheme that Google leaves out at times.
fn is_same_issuer(a: &str, b: &str) -> bool {
    let bare = |issuer: &str| issuer.trim_start_matches("https://").trim_end_matches('/').to_owned();
    bare(a) == bare(b)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn body(claims: &str) -> String {
        use base64::Engine;
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let id_token = format!("{}.{}.sig", part(r#"{"alg":"RS256"}"#), part(claims));
        format!(r#"{{"access_token":"a","id_token":"{id_token}"}}"#)
    }

    fn login() -> Binding {
        Binding {
            subject: Some("ada".into()),
            subject_issuer: Some("https://id.example/".into()),
            ..Binding::default()
        }
    }

    #[test]
    fn the_same_account_is_no_stranger() {
        let own = body(r#"{"iss":"https://id.example/","sub":"ada"}"#);
        assert_eq!(in_answer(own.as_bytes(), Some(&login())), None);
        for spelling in ["https://id.example", "id.example"] {
            let own = body(&format!(r#"{{"iss":"{spelling}","sub":"ada"}}"#));
            assert_eq!(in_answer(own.as_bytes(), Some(&login())), None, "{spelling}");
        }
    }

    #[test]
    fn another_subject_issuer_or_none_at_all_is_one() {
        for claims in [
            r#"{"iss":"https://id.example/","sub":"bea"}"#,
            r#"{"iss":"https://id.example/other","sub":"ada"}"#,
            r#"{"iss":"https://id.example/"}"#,
        ] {
            let told = in_answer(body(claims).as_bytes(), Some(&login())).expect(claims);
            assert!(told.ends_with("the login is of `ada` at `https://id.example/`"), "{told}");
        }
    }

    #[test]
    fn what_is_not_known_says_nothing() {
        let other = body(r#"{"iss":"https://id.example/","sub":"bea"}"#);
        let by_access_token = Binding { subject_issuer: None, ..login() };
        assert_eq!(in_answer(other.as_bytes(), Some(&by_access_token)), None);
        assert_eq!(in_answer(other.as_bytes(), None), None);
        assert_eq!(in_answer(br#"{"access_token":"a"}"#, Some(&login())), None);
    }
}
