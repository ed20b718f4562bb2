//! The order of the library's modules: each uses only those above it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

const ORDER: [&str; 11] =
    ["secret", "error", "host", "oauth", "login", "config", "store", "grant", "refresh", "flow", "system"];

/// The facade is last and may use all.
const FACADE: &str = "earthkey";

#[test]
fn a_module_uses_only_the_modules_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for file in files {
        let inside = file.strip_prefix(&source).expect("below the source");
        let module = inside.iter().next().expect("a file").to_string_lossy().replace(".rs", "");
        if module == "lib" || inside.ends_with("tests.rs") || inside.iter().any(|part| part == "tests") {
            continue;
        }
        looked_at += 1;
        let own = rank(&module).unwrap_or_else(|| panic!("`{module}` has no place in the order"));
        let text = fs::read_to_string(&file).expect("source can be read");
        // Unit tests at the end of a file may use what they like.
        let code = text.split("#[cfg(test)]").next().expect("a first part");
        for used in uses(code) {
            if rank(used).is_some_and(|rank| rank > own) {
                wrong.push(format!("{} uses {used}", inside.display()));
            }
        }
    }
    assert!(looked_at > 30, "only {looked_at} files were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_use_of_a_later_module_would_be_seen() {
    assert_eq!(
        uses("use crate::flow::Flow;\nlet x = crate::system::plan();").collect::<Vec<_>>(),
        ["flow", "system"]
    );
    assert!(rank("system") > rank("store"));
}

fn rank(module: &str) -> Option<usize> {
    if module == FACADE {
        return Some(ORDER.len());
    }
    ORDER.iter().position(|known| *known == module)
}

/// Returns the modules that follow `crate::`.
fn uses(code: &str) -> impl Iterator<Item = &str> {
    code.match_indices("crate::").map(move |(at, found)| {
        let rest = &code[at + found.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("source can be listed") {
        let path = entry.expect("source can be listed").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
