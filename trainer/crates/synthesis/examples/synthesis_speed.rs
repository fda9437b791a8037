// SPDX-License-Identifier: Apache-2.0

//! Documents and megabytes a second of each generator, on one core.
//!
//! ```sh
//! cargo run --release -p pol-synthesis --example synthesis_speed -- 2000
//! ```

use pol_synthesis::{Content, Family, Recipe, SynthesisError, Tasks};
use std::time::Instant;

fn main() -> Result<(), SynthesisError> {
    let documents = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(2_000);
    println!("{:<12} {:>12} {:>8} {:>12}", "generator", "documents/s", "MB/s", "bytes each");
    for family in Family::ALL {
        let mut recipe = Recipe::all_tasks([1; 32], documents);
        recipe.content = Content::Tasks(Tasks { families: vec![family], levels: (1, 5) });
        let (start, mut bytes) = (Instant::now(), 0);
        for made in recipe.documents()? {
            bytes += made?.map_or(0, |made| made.document.bytes.len());
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{:<12} {:>12.0} {:>8.2} {:>12}",
            family.name(),
            f64::from(documents) / seconds,
            bytes as f64 / seconds / 1e6,
            bytes / documents as usize,
        );
    }
    Ok(())
}
