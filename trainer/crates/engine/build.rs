// SPDX-License-Identifier: Apache-2.0

//! Adds the folder of libtorch to the run path of this package's executables.

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    match std::env::var("LIBTORCH") {
        Ok(libtorch) => println!("cargo::rustc-link-arg=-Wl,-rpath,{libtorch}/lib"),
        Err(_) => println!(
            "cargo::error=LIBTORCH is not set: run scripts/setup.sh once, then `. scripts/env.sh`"
        ),
    }
}
