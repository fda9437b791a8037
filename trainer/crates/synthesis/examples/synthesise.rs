// SPDX-License-Identifier: Apache-2.0

//! Prints the documents of a recipe of tasks, as lines of JSON with their proofs.
//!
//! ```sh
//! cargo run --release -p pol-synthesis --example synthesise -- recipe.toml
//! ```
//!
//! Without a recipe it prints 45 documents of all kinds.

use pol_synthesis::Recipe;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recipe = match std::env::args().nth(1) {
        Some(path) => Recipe::from_toml(&std::fs::read_to_string(path)?)?,
        None => Recipe::all_tasks([0; 32], 45),
    };
    for made in recipe.documents()? {
        let Ok(made) = made? else { continue };
        let line = serde_json::json!({
            "origin": made.document.origin,
            "text": String::from_utf8_lossy(&made.document.bytes),
            "certificate": made.certificate,
        });
        println!("{line}");
    }
    Ok(())
}
