// SPDX-License-Identifier: Apache-2.0

//! Recipes and prompts are parsed without harm, and recipes of tasks make documents.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pol_synthesis::{PromptSet, Recipe};

fuzz_target!(|bytes: &[u8]| {
    let _ = PromptSet::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for recipe in [Recipe::from_json(text), Recipe::from_toml(text)].into_iter().flatten() {
        if let Ok(mut documents) = recipe.documents() {
            assert!(documents.next().is_some_and(|made| made.is_ok()));
        }
    }
});
