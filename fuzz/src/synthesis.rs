// SPDX-License-Identifier: Apache-2.0

//! Recipes, files of prompts, and certificates of tasks.

use crate::Target;
use pol_synthesis::{Certificate, PromptSet, Recipe};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "recipe", run: recipe, seeds: recipe_seeds },
    Target { name: "prompts", run: prompts, seeds: || vec![b"One.\n\n\"Two\\nlines.\"\n".into()] },
    Target { name: "certificate", run: certificate, seeds: certificate_seeds },
];

/// Reads bytes as recipes. One that is accepted is written and read as itself. One of tasks makes
/// documents, which its own synthesizer verifies.
fn recipe(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let recipes = [Recipe::from_json(text), Recipe::from_toml(text)];
    let mut is_recipe = false;
    for recipe in recipes.into_iter().flatten() {
        is_recipe = true;
        let json = serde_json::to_string(&recipe).expect("a recipe is JSON");
        assert_eq!(Recipe::from_json(&json).expect("it was written"), recipe);
        let (Ok(mut documents), Ok(maker)) = (recipe.documents(), recipe.open(Default::default()))
        else {
            continue;
        };
        let made = documents.next().expect("it has documents").expect("tasks need no model");
        let document = made.expect("tasks are not refused").document;
        maker.verify(&document).expect("it is of the recipe");
    }
    is_recipe
}

fn recipe_seeds() -> Vec<Vec<u8>> {
    let seed = "07".repeat(32);
    let recipe = |content: &str| {
        format!("version = 1\nseed = \"0x{seed}\"\ndocuments = 3\n{content}").into_bytes()
    };
    vec![
        recipe("[content.tasks]\nfamilies = [\"arithmetic\", \"logic\"]\nlevels = [1, 3]\n"),
        serde_json::to_vec(&Recipe::all_tasks([7; 32], 5)).expect("a recipe is JSON"),
    ]
}

fn prompts(bytes: &[u8]) -> bool {
    PromptSet::parse(bytes).is_ok()
}

/// Reads bytes as a certificate. One that holds proves its own text, and no other.
fn certificate(bytes: &[u8]) -> bool {
    let Ok(certificate) = serde_json::from_slice::<Certificate>(bytes) else { return false };
    let Ok(text) = certificate.proved_text() else { return false };
    assert_eq!(certificate.verify(text.as_bytes()), Ok(()));
    assert!(certificate.verify(format!("{text} ").as_bytes()).is_err());
    let json = serde_json::to_vec(&certificate).expect("a certificate is JSON");
    let read: Certificate = serde_json::from_slice(&json).expect("it was written");
    assert_eq!(read.proved_text().as_ref(), Ok(&text));
    true
}

fn certificate_seeds() -> Vec<Vec<u8>> {
    let recipe = Recipe::all_tasks([7; 32], 18);
    let documents = recipe.documents().into_iter().flatten();
    let certificate = |made: pol_synthesis::Synthetic| serde_json::to_vec(&made.certificate?).ok();
    documents.filter_map(|made| certificate(made.ok()?.ok()?)).collect()
}
