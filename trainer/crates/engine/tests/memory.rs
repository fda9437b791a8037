// SPDX-License-Identifier: Apache-2.0

//! A trainer, and a seat that replays, take at most 20 bytes a parameter beside activations.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod fixture;
#[path = "../src/test_recipe.rs"]
mod test_recipe;

use fixture::peak::{prepare, recipe, replay, train};
use pol_primitives::{model::ModelSpec, recipe::Recipe};
use std::{env, path::Path, process::Command};

/// Folder of the state that a child process trains from.
const FOLDER: &str = "POL_TEST_FOLDER";
/// Bytes that packed operands of products take, and the allocator.
const MORE: u64 = 72 << 20;

/// A recipe of a model of 24 million parameters, whose vector is larger than [`MORE`].
fn large() -> Recipe {
    let model = ModelSpec::gpt2(16_384, 512, 5, 8, 2_048, 16);
    recipe(model, 16, 2, test_recipe::recipe())
}

/// Asserts that `phase`, in a process of its own that runs `test`, takes at most 20 bytes a
/// parameter beside activations.
fn assert_peak(test: &str, phase: fn(&Recipe, &Path, usize) -> u64) {
    let recipe = large();
    if let Some(folder) = env::var_os(FOLDER) {
        println!("\nchild: {}", phase(&recipe, Path::new(&folder), 2));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    prepare(&recipe, folder.path());
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let output = String::from_utf8(child.stdout).unwrap();
    let peak = output.lines().find_map(|line| line.strip_prefix("child: "));
    let peak: u64 = peak.unwrap_or_else(|| panic!("{output}")).parse().unwrap();
    let vector = 4 * recipe.model.size();
    assert!(MORE < vector, "one vector too many would not be noticed");
    let activations = pol_step::step_bytes(&recipe.model, 2, 16).unwrap();
    let most = 5 * vector + activations + MORE;
    assert!(peak > 5 * vector - vector / 4, "{peak} bytes cannot be right for {vector} a vector");
    assert!(peak < most, "{peak} bytes at once, and {most} are allowed");
}

#[test]
fn a_trainer_takes_20_bytes_a_parameter() {
    assert_peak("a_trainer_takes_20_bytes_a_parameter", train);
}

#[test]
fn a_seat_takes_20_bytes_a_parameter() {
    assert_peak("a_seat_takes_20_bytes_a_parameter", replay);
}
