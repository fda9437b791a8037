// SPDX-License-Identifier: Apache-2.0

//! Adds libtorch's folder to the run path of executables and tests. All crates that link libtorch
//! share this script.

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    match std::env::var("LIBTORCH") {
        Ok(libtorch) => println!("cargo::rustc-link-arg=-Wl,-rpath,{libtorch}/lib"),
        Err(_) => println!(
            "cargo::error=LIBTORCH is not set: run scripts/setup.sh once, then `. scripts/env.sh`"
        ),
    }
}
