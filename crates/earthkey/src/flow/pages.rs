//! The pages that a loopback listener shows. No script, no code, nothing from elsewhere.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const STYLE: &str = "\
:root{color-scheme:light dark;--fg:#14202b;--bg:#f6f8f9;--card:#fff;--line:#d5dde3}\
@media(prefers-color-scheme:dark){:root{--fg:#e8eef2;--bg:#0e151b;--card:#17212a;--line:#2c3a46}}\
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--bg);color:var(--fg);\
font:1.05rem/1.5 system-ui,sans-serif}\
main{max-width:26rem;margin:1rem;padding:2rem;background:var(--card);border:1px solid var(--line);\
border-radius:.75rem}h1{margin:0 0 .5rem;font-size:1.4rem}p{margin:0}";

/// Returns a whole page.
pub(super) fn page(title: &str, text: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · earthkey</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1><p>{text}</p></main></body></html>"
    )
}

/// Returns the content security policy of every page: this style and nothing else.
pub(super) fn policy() -> String {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
