//! What Earth Engine's library reads before it is ready: the description of the API, and the list
//! of its algorithms.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use axum::body::Bytes;
use serde_json::{Value, json};

use super::hosts;

/// How large a document may be.
const MAX_DOCUMENT: u64 = 16 * 1_024 * 1_024;

/// The version of the API that is played.
const VERSION: &str = "v1";

/// The documents, as they are sent.
#[derive(Clone)]
pub(crate) struct Documents {
    pub(crate) discovery: Bytes,
    pub(crate) algorithms: Bytes,
}

impl Documents {
    /// Returns small documents that suffice to get ready.
    pub(crate) fn built_in() -> Self {
        Self { discovery: encode(&lead_back(discovery())), algorithms: encode(&algorithms()) }
    }

    /// Returns the documents in a folder, the way the library's own tests keep them.
    pub(crate) fn load(folder: &Path) -> io::Result<Self> {
        let discovery = read(&folder.join("cloud_api_discovery_document.json"))?;
        let algorithms = read(&folder.join("algorithms.json"))?;
        Ok(Self { discovery: encode(&lead_back(discovery)), algorithms: encode(&algorithms) })
    }
}

fn read(path: &Path) -> io::Result<Value> {
    let named = |kind, text: &dyn std::fmt::Display| {
        io::Error::new(kind, format!("cannot use {}: {text}", path.display()))
    };
    let mut text = Vec::new();
    let size = File::open(path)
        .and_then(|file| file.take(MAX_DOCUMENT + 1).read_to_end(&mut text))
        .map_err(|error| named(error.kind(), &error))?;
    if size as u64 > MAX_DOCUMENT {
        return Err(named(io::ErrorKind::InvalidData, &"it is too large"));
    }
    let document: Value =
        serde_json::from_slice(&text).map_err(|error| named(io::ErrorKind::InvalidData, &error))?;
    if document.is_object() {
        Ok(document)
    } else {
        Err(named(io::ErrorKind::InvalidData, &"it is no JSON object"))
    }
}

fn encode(document: &Value) -> Bytes {
    document.to_string().into()
}

/// Lets a description of the API lead to where the sandbox is played, in the version it has.
fn lead_back(mut document: Value) -> Value {
    let root = format!("https://{}/", hosts::EARTH_ENGINE);
    let other = document["version"].as_str().unwrap_or(VERSION).to_owned();
    for (name, value) in [("rootUrl", root.as_str()), ("baseUrl", &root), ("version", VERSION)] {
        document[name] = value.into();
    }
    document["id"] = format!("earthengine:{VERSION}").into();
    // Paths such as `v1alpha/{+parent}/algorithms`, wherever they are.
    let (own, prefix) = (format!("{VERSION}/"), format!("{other}/"));
    rewrite(&mut document["resources"], &prefix, &own);
    document
}

fn rewrite(value: &mut Value, prefix: &str, own: &str) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(path) if name == "path" || name == "flatPath" => {
                        if let Some(rest) = path.strip_prefix(prefix) {
                            *path = format!("{own}{rest}");
                        }
                    }
                    other => rewrite(other, prefix, own),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| rewrite(value, prefix, own)),
        _ => {}
    }
}

fn discovery() -> Value {
    let method = |id: &str, path: &str, parameter: &str, pattern: &str| {
        json!({
            "id": format!("earthengine.{id}"),
            "httpMethod": "GET",
            "path": path,
            "parameterOrder": [parameter],
            "parameters": {
                parameter: {"location": "path", "pattern": pattern, "required": true, "type": "string"},
            },
            "response": {"type": "object"},
        })
    };
    json!({
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "name": "earthengine",
        "title": "Earth Engine of a sandbox",
        "version": VERSION,
        "protocol": "rest",
        "servicePath": "",
        "batchPath": "batch",
        "parameters": {
            "alt": {"type": "string", "location": "query", "default": "json"},
            "fields": {"type": "string", "location": "query"},
            "key": {"type": "string", "location": "query"},
            "prettyPrint": {"type": "boolean", "location": "query", "default": "true"},
        },
        "schemas": {},
        "resources": {
            "projects": {
                "resources": {
                    "algorithms": {
                        "methods": {
                            "list": method(
                                "projects.algorithms.list",
                                "v1/{+parent}/algorithms",
                                "parent",
                                "^projects/[^/]+$",
                            ),
                        },
                    },
                },
            },
        },
    })
}

fn algorithms() -> Value {
    let argument = |name: &str, kind: &str| json!({"argumentName": name, "type": kind, "description": ""});
    json!({
        "algorithms": [
            {
                "name": "algorithms/Number.add",
                "description": "Adds two numbers.",
                "returnType": "Number",
                "arguments": [argument("left", "Number"), argument("right", "Number")],
            },
        ],
    })
}
