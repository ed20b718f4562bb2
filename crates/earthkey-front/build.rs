//! Links the unwinder into the program. As a library of its own, libgcc_s, it takes a fifth of the time of
//! a start to find, map and relocate.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, wanted: &str| env::var(name).is_ok_and(|value| value == wanted);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        // By its file's name, since the folder is known to the linker alone.
        println!("cargo::rustc-link-lib=dylib:+verbatim=libgcc_eh.a");
    }
}
