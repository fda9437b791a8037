// SPDX-License-Identifier: Apache-2.0

//! Reads files, folders, or `-`, and prints the rate, what was refused, and the peak of memory.
//!
//! ```sh
//! cargo run --release -p pol-corpus --example read -- TEXTS
//! ```

use std::{path::PathBuf, time::Instant};

use pol_corpus::{Documents, ReadOptions, inputs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (start, options) = (Instant::now(), ReadOptions::default());
    let (mut documents, mut bytes, mut refusals) = (0u64, 0u64, 0u64);
    for input in inputs(&paths) {
        let input = match input? {
            Ok(input) => input,
            Err(refusal) => {
                println!("{}: {}", refusal.origin.location, refusal.reason);
                continue;
            }
        };
        for item in Documents::open(input, &options)? {
            match item? {
                Ok(document) => {
                    documents += 1;
                    bytes += document.text.len() as u64;
                }
                Err(refusal) => {
                    refusals += 1;
                    if refusals <= 10 {
                        let part = refusal.origin.part.join(" > ");
                        println!("{} {part}: {}", refusal.origin.location, refusal.reason);
                    }
                }
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{documents} documents of {bytes} bytes, {refusals} refusals");
    println!("{seconds:.2} s, {:.0} MB/s of text", bytes as f64 / 1e6 / seconds);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}
