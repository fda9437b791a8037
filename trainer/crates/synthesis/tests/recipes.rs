// SPDX-License-Identifier: Apache-2.0

//! Recipes are read strictly, and make the same documents in any order.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use common::NgramModel;
use pol_synthesis::{
    Certificate, Content, Family, PromptSet, Recipe, Resources, SynthesisError, Tasks, TextModel,
};
use proptest::prelude::*;

const TASKS: &str = r#"
version = 1
seed = "0x0000000000000000000000000000000000000000000000000000000000000001"
documents = 9
[content.tasks]
families = ["graphs", "planning"]
levels = [2, 4]
"#;

fn text_recipe(model: &NgramModel, rest: &str) -> String {
    let identity = model.identity();
    format!(
        r#"{{"version": 1, "seed": "{1}", "documents": 5, "content": {{"text": {{
            "form": "continuation",
            "model": {{"root": "0x{0}", "tokenizer": "{1}", "decoder": "ngrams/1", "spec": "{1}"}},
            "prompts": "bundled"{rest}}}}}}}"#,
        hex::encode(identity.root),
        "00".repeat(32),
    )
}

#[test]
fn both_formats_give_the_same_recipe() {
    let recipe = Recipe::from_toml(TASKS).unwrap();
    let tasks = Tasks { families: vec![Family::Graphs, Family::Planning], levels: (2, 4) };
    assert_eq!(recipe.content, Content::Tasks(tasks));
    let json = serde_json::to_string(&recipe).unwrap();
    assert_eq!(Recipe::from_json(&json).unwrap(), recipe);
    let scale = codec::Encode::encode(&recipe);
    assert_eq!(<Recipe as codec::Decode>::decode(&mut &scale[..]).unwrap(), recipe);
}

#[test]
fn recipes_name_the_model_that_they_need() {
    let model = NgramModel::new("abc");
    let recipe = Recipe::continuations(model.identity(), [3; 32], 7);
    recipe.validate().unwrap();
    assert_eq!(recipe.model(), Some(&model.identity()));
    let json = serde_json::to_string(&recipe).unwrap();
    assert_eq!(Recipe::from_json(&json).unwrap(), recipe);
    assert_eq!(Recipe::from_toml(TASKS).unwrap().model(), None);
}

#[test]
fn every_field_changes_the_digest() {
    let digest = |from: &str, to: &str| {
        assert!(TASKS.contains(from));
        Recipe::from_toml(&TASKS.replace(from, to)).unwrap().digest()
    };
    let all = [
        digest("documents = 9", "documents = 9"),
        digest("documents = 9", "documents = 10"),
        digest("001\"", "002\""),
        digest("\"graphs\", ", ""),
        digest("[2, 4]", "[1, 4]"),
        digest("[2, 4]", "[2, 5]"),
    ];
    assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])));
}

#[test]
fn malformed_recipes_are_refused() {
    for (from, to, expected) in [
        ("documents", "document", "unknown field"),
        ("documents = 9", "documents = 9\ndocuments = 9", "duplicate"),
        ("documents = 9", "documents = -1", "invalid value"),
        ("documents = 9", "documents = 0", "documents must be from 1 to 4294967294, not 0"),
        ("version = 1", "version = 2", "has version 1; use a program of that version"),
        ("graphs", "poems", "unknown variant"),
        ("[\"graphs\", \"planning\"]", "[]", "the number of families must be from 1 to 64"),
        ("[2, 4]", "[4, 2]", "the lowest level must be from 1 to 2, not 4"),
        ("[2, 4]", "[2, 6]", "the highest level must be from 1 to 5, not 6"),
        ("[content.tasks]", "[content.jokes]", "unknown variant"),
        ("0x0000", "0x00", "hexadecimal digits"),
    ] {
        let error = Recipe::from_toml(&TASKS.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    assert!(Recipe::from_json("{").unwrap_err().to_string().contains("cannot be read"));
    let long = format!("#{}", "x".repeat(70_000));
    assert!(Recipe::from_toml(&long).unwrap_err().to_string().contains("more than 65536 bytes"));
}

#[test]
fn values_of_text_recipes_have_ranges() {
    let model = NgramModel::new("abc");
    assert!(Recipe::from_json(&text_recipe(&model, "")).is_ok());
    for (rest, expected) in [
        (r#", "sampling": {"max_tokens": 0}"#, "sampling.max_tokens must be from 1"),
        (r#", "sampling": {"temperature": 100000001}"#, "sampling.temperature"),
        (r#", "sampling": {"top_p": 0}"#, "sampling.top_p"),
        (r#", "sampling": {"min_p": 1000001}"#, "sampling.min_p"),
        (r#", "sampling": {"repetition_penalty": 1}"#, "sampling.repetition_penalty"),
        (r#", "sampling": {"heat": 1}"#, "unknown field"),
        (r#", "filter": {"max_bytes": 0}"#, "filter.max_bytes"),
        (r#", "filter": {"min_bytes": 9, "max_bytes": 8}"#, "filter.min_bytes"),
        (r#", "filter": {"ngram_words": 0}"#, "filter.ngram_words"),
        (r#", "filter": {"max_overlap": 1000001}"#, "filter.max_overlap"),
        (r#", "consistency": {"samples": 0, "agree": 1, "min_overlap": 1}"#, "consistency.samples"),
        (r#", "consistency": {"samples": 2, "agree": 3, "min_overlap": 1}"#, "consistency.agree"),
        (
            r#", "consistency": {"samples": 2, "agree": 2, "min_overlap": 0}"#,
            "consistency.min_overlap",
        ),
    ] {
        let error = Recipe::from_json(&text_recipe(&model, rest)).unwrap_err().to_string();
        assert!(error.contains(expected), "{rest}: {error}");
    }
    let turns =
        text_recipe(&model, "").replace("\"continuation\"", r#"{"dialogue": {"turns": 0}}"#);
    assert!(Recipe::from_json(&turns).unwrap_err().to_string().contains("form.dialogue.turns"));
}

#[test]
fn values_of_recipes_about_certainty_have_ranges() {
    let questions = format!(
        r#"{{"version": 1, "seed": "{0}", "documents": 5, "content": {{"certainty": {{
            "model": {{"root": "{0}", "tokenizer": "{0}", "decoder": "none", "spec": "{0}"}},
            "families": ["logic"], "levels": [1, 2], "examples": 2, "calibration": 16, "bins": 4,
            "measure": {{"agreement": {{"samples": 5}}}}}}}}}}"#,
        "00".repeat(32),
    );
    Recipe::from_json(&questions).unwrap();
    Recipe::from_json(
        &questions.replace(r#"{"agreement": {"samples": 5}}"#, r#""log_probability""#),
    )
    .unwrap();
    for (from, to, expected) in [
        ("\"logic\"", "\"logic\", \"graphs\"", "one right answer, not graphs"),
        ("\"samples\": 5", "\"samples\": 1", "measure.agreement.samples must be from 2"),
        ("\"examples\": 2", "\"examples\": 17", "examples must be from 0 to 16"),
        ("\"calibration\": 16", "\"calibration\": 15", "calibration must be from 16"),
        ("\"bins\": 4", "\"bins\": 0", "bins must be from 1 to 100"),
        ("agreement", "feeling", "unknown variant"),
    ] {
        let error = Recipe::from_json(&questions.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn documents_can_be_made_alone_and_in_any_order() {
    let recipe = Recipe::from_toml(TASKS).unwrap();
    let all: Vec<_> = recipe.documents().unwrap().map(|made| made.unwrap().unwrap()).collect();
    assert_eq!(all.len(), 9);
    let synthesizer = recipe.open(Resources::default()).unwrap();
    for (index, made) in (0..9).zip(&all).rev() {
        assert_eq!(&synthesizer.document(index).unwrap().unwrap(), made);
        assert_eq!(made.document.origin.part, [] as [String; 0]);
        synthesizer.verify(&made.document).unwrap();
    }
    assert_eq!(all[0].document.origin.source, "synthesis/graphs");
    assert_eq!(all[1].document.origin.source, "synthesis/planning");
    let error = synthesizer.document(9).unwrap_err().to_string();
    assert!(error.contains("the index of a document must be below 9, not 9"), "{error}");
    let rest: Vec<_> =
        recipe.documents().unwrap().resume(6, [""; 0]).map(|made| made.unwrap().unwrap()).collect();
    assert_eq!(rest, all[6..]);
}

#[test]
fn changed_documents_are_found() {
    let recipe = Recipe::from_toml(TASKS).unwrap();
    let synthesizer = recipe.open(Resources::default()).unwrap();
    let made = synthesizer.document(3).unwrap().unwrap().document;
    let mut changed = made.clone();
    changed.bytes[0] ^= 1;
    let error = synthesizer.verify(&changed).unwrap_err().to_string();
    assert!(error.contains("its bytes or its origin differ"), "{error}");
    for location in [
        made.origin.location.replace("/3", "/03"),
        made.origin.location.replace("/3", "/"),
        format!("{}/3", "00".repeat(32)),
        "elsewhere".to_owned(),
    ] {
        let mut changed = made.clone();
        changed.origin.location = location;
        let error = synthesizer.verify(&changed).unwrap_err().to_string();
        assert!(error.contains("its location names another recipe"), "{error}");
    }
}

#[test]
fn prompts_are_read_line_by_line() {
    let set = PromptSet::parse(b"first\n\n  \n\"two\\nlines\"\r\n").unwrap();
    assert_eq!(*set.digest(), <[u8; 32]>::from(blake3::hash(b"first\n\n  \n\"two\\nlines\"\r\n")));
    for (file, expected) in [
        (b"".to_vec(), "holds no prompt"),
        (b"\xff".to_vec(), "is not UTF-8"),
        (b"\"open".to_vec(), "has a line 1 that is no JSON string"),
        (vec![b'a'; 70_000], "has a line 1 of more than 65536 bytes"),
        (vec![b'\n'; (64 << 20) + 1], "has more than 67108864 bytes"),
    ] {
        let error = PromptSet::parse(&file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn resources_must_be_those_of_the_recipe() {
    let model = NgramModel::new("one");
    let other = NgramModel::new("another");
    let json = text_recipe(&model, "");
    let recipe = Recipe::from_json(&json).unwrap();
    assert!(matches!(recipe.documents(), Err(SynthesisError::NoModel(_))));
    let wrong = Resources { model: Some(&other), prompts: None };
    assert!(matches!(recipe.open(wrong), Err(SynthesisError::OtherModel { .. })));

    let set = PromptSet::parse(b"a prompt").unwrap();
    let file = format!(r#"{{"file": "0x{}"}}"#, hex::encode(set.digest()));
    let recipe = Recipe::from_json(&json.replace("\"bundled\"", &file)).unwrap();
    let model: Option<&dyn TextModel> = Some(&model);
    assert!(recipe.open(Resources { model, prompts: Some(&set) }).is_ok());
    let error = recipe.open(Resources { model, prompts: None }).err().unwrap().to_string();
    assert!(error.contains("and none is there"), "{error}");
    let other = PromptSet::parse(b"another prompt").unwrap();
    let error = recipe.open(Resources { model, prompts: Some(&other) }).err().unwrap().to_string();
    assert!(error.contains("and another one is there"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_harm(
        bytes: Vec<u8>, from in 0usize..200, with in "[ -~\n]{0,20}"
    ) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = Recipe::from_json(&text);
        let _ = PromptSet::parse(&bytes);
        let mut changed = TASKS.to_owned();
        changed.insert_str(from.min(TASKS.len()), &with);
        if let Ok(recipe) = Recipe::from_toml(&changed) {
            let mut documents = recipe.documents().unwrap();
            prop_assert!(documents.next().unwrap().is_ok());
        }
        let _ = <Recipe as codec::Decode>::decode(&mut &bytes[..]);
        let _ = serde_json::from_slice::<Certificate>(&bytes);
    }
}
