// SPDX-License-Identifier: Apache-2.0

//! Largest memory of training and of replaying beside its prediction, for models of several sizes:
//!
//! ```sh
//! cargo run --release -p pol-engine --example memory -- [MODEL...]
//! ```
//!
//! `MODEL` is `30m`, `124m` or `1b`; without one, the first two are measured. The last takes 24 GB
//! of memory and 70 GB of disk. `TMPDIR` chooses the disk.

use pol_primitives::{model::ModelSpec, recipe::Recipe};
use std::{env, error::Error, path::Path, process::Command};

#[path = "../tests/fixture/mod.rs"]
mod fixture;
#[path = "../src/test_recipe.rs"]
mod test_recipe;

use fixture::peak::{prepare, recipe, replay, train};

/// Models with the lengths of sequences that are measured, and with sequences a micro-batch.
fn model(name: &str) -> Option<(ModelSpec, &'static [(u16, u16)])> {
    Some(match name {
        "30m" => (ModelSpec::gpt2(8_192, 512, 8, 8, 2_048, 4_096), &[(128, 8), (4_096, 1)]),
        "124m" => (ModelSpec::gpt2(50_257, 768, 12, 12, 3_072, 1_024), &[(128, 4), (1_024, 1)]),
        "1b" => (ModelSpec::gpt2(50_257, 1_536, 32, 24, 6_144, 1_024), &[(128, 1)]),
        _ => return None,
    })
}

/// Returns the bytes that `phase` takes, in a process of its own.
fn measure(phase: &str, name: &str, place: usize, folder: &Path) -> Result<u64, Box<dyn Error>> {
    let child = Command::new(env::current_exe()?)
        .args([phase, name, &place.to_string()])
        .arg(folder)
        .output()?;
    if !child.status.success() {
        return Err(String::from_utf8_lossy(&child.stderr).into());
    }
    Ok(String::from_utf8(child.stdout)?.trim().parse()?)
}

fn recipe_of(name: &str, place: usize) -> Result<Recipe, Box<dyn Error>> {
    let (spec, sizes) = model(name).ok_or("the models are 30m, 124m and 1b")?;
    let (length, sequences) = *sizes.get(place).ok_or("no such size")?;
    Ok(recipe(spec, length, sequences, test_recipe::recipe()))
}

fn print_rows(name: &str) -> Result<(), Box<dyn Error>> {
    let (spec, sizes) = model(name).ok_or("the models are 30m, 124m and 1b")?;
    for (place, &(length, sequences)) in sizes.iter().enumerate() {
        let folder = tempfile::tempdir()?;
        prepare(&recipe_of(name, place)?, folder.path());
        let activations = pol_step::step_bytes(&spec, sequences.into(), length.into())?;
        let predicted = 20 * spec.size() + activations;
        for phase in ["train", "replay"] {
            let peak = measure(phase, name, place, folder.path())?;
            println!(
                "| {name} | {length} × {sequences} | {phase} | {} | {} | {:.2} |",
                predicted >> 20,
                peak >> 20,
                peak as f64 / predicted as f64
            );
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [phase, name, place, folder] = &arguments[..] {
        let (recipe, folder) = (recipe_of(name, place.parse()?)?, Path::new(folder));
        let workers = std::thread::available_parallelism()?.get();
        let run = if phase == "train" { train } else { replay };
        println!("{}", run(&recipe, folder, workers));
        return Ok(());
    }
    println!("| model | tokens × sequences | work | predicted MiB | measured MiB | ratio |");
    println!("|---|---|---|---|---|---|");
    let names = if arguments.is_empty() { vec!["30m".into(), "124m".into()] } else { arguments };
    names.iter().try_for_each(|name| print_rows(name))
}
