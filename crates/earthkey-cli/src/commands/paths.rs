//! `earthkey paths`.

use std::path::PathBuf;
use std::process::ExitCode;

use earthkey::earthkey::Earthkey;
use serde_json::Value;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;
use crate::output::table;

pub(crate) fn run(earthkey: &Earthkey, output: &Output) -> Result<ExitCode, Failure> {
    let env = &earthkey.host().env;
    let mut paths: Vec<(String, PathBuf)> = vec![
        ("configuration".into(), env.config_directory()?.join("config.toml")),
        ("state".into(), env.state_directory()?),
        ("records".into(), env.cache_directory()?),
    ];
    paths.extend(earthkey.homes()?);
    let exists = |path: &PathBuf| earthkey.host().fs.stat(path).is_ok();
    if output.json {
        let document =
            paths.iter().map(|(what, path)| json!({"what": what, "path": path, "exists": exists(path)}));
        output.document(&Value::Array(document.collect()))?;
    } else {
        let rows: Vec<_> = paths
            .iter()
            .map(|(what, path)| {
                let there = if exists(path) { "" } else { "(not there yet)" };
                vec![(what.clone(), None), (path.display().to_string(), None), (there.to_owned(), None)]
            })
            .collect();
        output.line(&table(&["WHAT", "PATH", ""], &rows, output.stdout))?;
    }
    Ok(ExitCode::SUCCESS)
}
