// SPDX-License-Identifier: Apache-2.0

//! Digests of documents. A change of a generator that changes one of them needs a higher
//! `GENERATOR_VERSION`, and then the new digests here.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use common::NgramModel;
use pol_synthesis::{
    CertaintyMeasure, CertaintyQuestions, Consistency, Content, DrawnText, Family, Form,
    GENERATOR_VERSION, PromptSource, Recipe, Resources, SamplingParameters, Tasks, TextFilter,
    TextModel,
};

/// Returns the start of the BLAKE3 of the documents and certificates of a recipe, in hexadecimal.
fn digest(content: Content, model: &dyn TextModel) -> String {
    let recipe = Recipe { content, ..Recipe::all_tasks([9; 32], 60) };
    let mut hasher = blake3::Hasher::new();
    let resources = Resources { model: Some(model), prompts: None };
    for made in recipe.open(resources).unwrap().documents() {
        if let Ok(made) = made.unwrap() {
            hasher.update(&made.document.bytes);
            hasher.update(&serde_json::to_vec(&made.certificate).unwrap());
        }
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

#[test]
fn tasks_change_only_with_the_version() {
    assert_eq!(GENERATOR_VERSION, 1);
    let model = NgramModel::new("no model is needed");
    let found = Family::ALL.map(|family| {
        let tasks = Tasks { families: vec![family], levels: (1, 5) };
        (family.name(), digest(Content::Tasks(tasks), &model))
    });
    let expected = [
        ("arithmetic", "0c9f6225d96cec4a"),
        ("algebra", "7ba1e0d2b11652c3"),
        ("logic", "e9ce53a37e3895c8"),
        ("lists", "4d17ad770096903c"),
        ("programs", "33a4ee6c2bcf0cac"),
        ("graphs", "d5f4147f96d413e0"),
        ("planning", "a447a0c504da847a"),
        ("reasoning", "5e643e8d634fbe44"),
        ("mistakes", "d479f15f7c7d62fe"),
    ];
    assert_eq!(found, expected.map(|(name, digest)| (name, digest.to_owned())));
}

#[test]
fn texts_of_a_model_change_only_with_the_version() {
    // The prompts, the seeds, and the selection are fixed, and the model is.
    let model = NgramModel::new("An answer is an answer.\nUser: is it?\nAnswer: yes.\nit is one.");
    let sampling = SamplingParameters { max_tokens: 40, ..SamplingParameters::default() };
    let forms = [Form::Continuation, Form::Instruction, Form::Dialogue { turns: 2 }];
    let found = forms.map(|form| {
        let drawn = DrawnText {
            form,
            model: model.identity(),
            prompts: PromptSource::Bundled,
            sampling: sampling.clone(),
            consistency: Consistency { samples: 3, agree: 2, min_overlap: 200_000 },
            filter: TextFilter { min_bytes: 4, ..TextFilter::default() },
        };
        digest(Content::Text(drawn), &model)
    });
    assert_eq!(found, ["7ed3b89ffbda6278", "c34bc285c535e5bb", "e455b42193b9229a"]);
    let certainty = CertaintyQuestions {
        model: model.identity(),
        families: vec![Family::Logic, Family::Lists],
        levels: (1, 2),
        sampling,
        measure: CertaintyMeasure::Agreement { samples: 4 },
        examples: 2,
        calibration: 40,
        bins: 3,
    };
    assert_eq!(digest(Content::Certainty(certainty), &model), "be9bee06cb832ca0");
}

#[test]
fn names_of_recipes_are_stable() {
    let recipe = Recipe::all_tasks([9; 32], 60);
    assert_eq!(hex::encode(&recipe.digest()[..8]), "1702eb2a65e18150");
}
