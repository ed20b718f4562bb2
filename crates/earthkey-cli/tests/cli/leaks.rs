//! What no program may write: tokens, codes, verifiers, secrets.

use std::collections::BTreeSet;

/// Characters of the shortest secret: codes, verifiers and tokens hold 256 bits or more, in base64.
const LENGTH_OF_SECRETS: usize = 40;

/// What is a secret although it is short.
const SHORT: [&str; 1] = ["sandbox-secret"];

/// Finds every secret of a file, whatever its format.
pub(crate) fn secrets_in(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    runs(&text)
        .filter(|run| {
            is_jwt(run) || ["sandbox-", "ya29.", "real-"].iter().any(|start| run.starts_with(start))
        })
        .collect()
}

/// Returns whether a text is an access token: a signed one, or one of Google's.
pub(crate) fn is_access_token(text: &str) -> bool {
    is_jwt(text) || text.starts_with("ya29.")
}

/// Returns whether a text is a signed token.
pub(crate) fn is_jwt(text: &str) -> bool {
    text.starts_with("eyJ") && text.matches('.').count() == 2
}

/// Fails where a text holds a secret: one that is known, or anything that looks like one.
pub(crate) fn check(where_to: &str, text: &str, known: &BTreeSet<String>, is_allowed: impl Fn(&str) -> bool) {
    for secret in known.iter().map(String::as_str).chain(SHORT) {
        assert!(!text.contains(secret) || is_allowed(secret), "a secret is on {where_to}:\n{text}");
    }
    assert!(!text.contains("PRIVATE KEY"), "a key is on {where_to}:\n{text}");
    let (pages, words): (Vec<&str>, Vec<&str>) = text.split_whitespace().partition(|word| is_page(word));
    // A challenge is no secret: the verifier cannot be told from it.
    let words: Vec<&str> = words.into_iter().filter(|word| !word.starts_with("code_challenge=")).collect();
    for run in words.iter().flat_map(|word| runs(word)) {
        assert!(is_allowed(&run), "what looks like a secret is on {where_to}: {run}\n{text}");
    }
    for value in pages.iter().flat_map(|page| states(page)) {
        assert!(!words.iter().any(|word| word.contains(value)), "a state is on {where_to}: {value}\n{text}");
    }
}

/// Returns the runs of characters that may be secrets: long, and of every kind of character.
fn runs(text: &str) -> impl Iterator<Item = String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_random = |run: &&str| {
        run.len() >= LENGTH_OF_SECRETS
            && run.contains(|c: char| c.is_ascii_lowercase())
            && run.contains(|c: char| c.is_ascii_uppercase())
            && run.contains(|c: char| c.is_ascii_digit())
    };
    text.split(move |c| !is_part(c)).filter(is_random).map(str::to_owned)
}

/// Returns whether a word is the page that a person is to visit, which carries state and challenge.
fn is_page(word: &str) -> bool {
    word.contains("://") && word.contains("response_type=code")
}

/// Returns what belongs to one sign-in alone.
fn states(page: &str) -> impl Iterator<Item = &str> {
    let pairs = page.split(['?', '&']).filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| ["state", "nonce"].contains(name)).map(|(_, value)| value)
}

#[test]
fn secrets_are_found() {
    let known = BTreeSet::from(["short".to_owned()]);
    let leaks = |text: &str| std::panic::catch_unwind(|| check("paper", text, &known, |_| false)).is_err();
    let token = "Aa1".repeat(LENGTH_OF_SECRETS / 2);
    let page = format!("http://h/?response_type=code&state=S123&code_challenge={token}");
    assert!(!leaks("nothing to see"));
    assert!(leaks("it is (short)"));
    assert!(leaks(&format!("it is `{token}`")));
    assert!(leaks("the secret is sandbox-secret"));
    assert!(leaks("-----BEGIN PRIVATE KEY-----"));
    assert!(!leaks(&page));
    assert!(leaks(&format!("{page} S123")));
}
