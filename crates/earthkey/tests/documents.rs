//! The documentation keeps what it promises: pages that it names are there, so are the tests, and
//! what is generated is current.

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use earthkey_record::variables;

const VARIABLES_BEFORE: &str = "\
# Environment variables

Every variable that is read, earthkey's own and other programs'. Nothing else in the environment can
change an answer. *Secret* says whether the value may be, or hold, a secret; *shapes the token* whether
another value may lead to another token, so that a record of earlier does not count any more. For
`ES_HTTP*` that is all so far: what they hold is not used.

A test writes this page from the registry and compares it.

";

#[test]
fn the_page_of_variables_is_current() {
    let page = root().join("docs/variables.md");
    let text = format!("{VARIABLES_BEFORE}{}", variables::markdown());
    if env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::write(&page, &text).expect("the page can be written");
    }
    assert_eq!(
        read(&page),
        text,
        "docs/variables.md is not what the registry says; write it anew: \
         UPDATE_DOCS=1 cargo nextest run -p earthkey --test documents"
    );
}

#[test]
fn everything_that_a_page_links_to_is_there() {
    let mut missing = Vec::new();
    let mut count = 0;
    for page in pages() {
        for link in links(&read(&page)) {
            count += 1;
            let (file, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            let holds = target.is_file()
                && (anchor.is_empty() || anchors(&read(&target)).any(|known| known == anchor));
            if !holds {
                missing.push(format!("{}: {}", page.display(), link.target));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(count > 50, "only {count} links were found");
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let readme = root().join("README.md");
    let text = read(&readme);
    let linked: Vec<_> = links(&text).map(|link| readme.with_file_name(link.target)).collect();
    let lost: Vec<_> = pages().into_iter().filter(|page| *page != readme && !linked.contains(page)).collect();
    assert!(lost.is_empty(), "README.md does not name {lost:?}");
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let page = root().join("SECURITY.md");
    let text = read(&page);
    let mut count = 0;
    let mut missing = Vec::new();
    for row in text.lines().filter(|line| line.starts_with('|')) {
        for link in links(row) {
            count += 1;
            let source = read(&page.with_file_name(&link.target));
            let name = link.text.trim_matches('`');
            if !["fn", "def"].iter().any(|word| source.contains(&format!("{word} {name}("))) {
                missing.push(format!("{name} in {}", link.target));
            }
        }
    }
    assert!(missing.is_empty(), "SECURITY.md names tests that are not there:\n{}", missing.join("\n"));
    assert!(count > 50, "only {count} tests are named");
}

#[test]
fn what_is_wrong_with_a_page_would_be_seen() {
    let page = "# A page\n\n## Its `part`, two\n\nSee [`x`](a/b.rs#c), ![p](d.svg), [w](https://w.test/).\n";
    let found: Vec<_> = links(page).map(|link| (link.text, link.target)).collect();
    assert_eq!(found, [("`x`".to_owned(), "a/b.rs#c".to_owned()), ("p".to_owned(), "d.svg".to_owned())]);
    assert_eq!(anchors(page).collect::<Vec<_>>(), ["a-page", "its-part-two"]);
}

/// A link to a file of this tree.
struct Link {
    text: String,
    target: String,
}

/// Returns the links and pictures of a page that stay in this tree.
fn links(page: &str) -> impl Iterator<Item = Link> {
    page.match_indices("](").filter_map(|(at, _)| {
        let text = &page[page[..at].rfind('[')? + 1..at];
        let target = page[at + 2..].split_once(')')?.0;
        (!target.contains("://")).then(|| Link { text: text.to_owned(), target: target.to_owned() })
    })
}

/// Returns what a link can name behind `#`: headings, as they are shown on the web.
fn anchors(page: &str) -> impl Iterator<Item = String> {
    page.lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')))
        .map(|heading| {
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().to_lowercase().replace(' ', "-")
        })
}

/// Returns the pages for people.
fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut pages = vec![root.join("README.md"), root.join("SECURITY.md")];
    for entry in fs::read_dir(root.join("docs")).expect("docs can be listed") {
        let path = entry.expect("docs can be listed").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
