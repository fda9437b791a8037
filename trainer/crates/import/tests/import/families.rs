// SPDX-License-Identifier: Apache-2.0

//! The families that can be imported are those that are listed.

use crate::{ChangedFixture, fixture};
use pol_import::{CheckpointFormat, checkpoint_formats};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn families_that_can_be_imported_are_listed() {
    let model_type = |path: &Path| {
        let config: Value =
            serde_json::from_slice(&fs::read(path.join("config.json")).ok()?).ok()?;
        Some(config["model_type"].as_str()?.to_owned())
    };
    let architecture = |path: &Path| {
        // These have tensors of all types, and belong to no family.
        if path.file_name()?.to_str()?.starts_with("encodings") {
            return None;
        }
        let (bytes, key) = (fs::read(path).ok()?, b"general.architecture");
        let at = bytes.windows(key.len()).position(|window| window == key)?;
        // The type of the value and its length are before it.
        let (length, text) = bytes[at + key.len() + 4..].split_first_chunk()?;
        let text = text.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        Some(String::from_utf8(text.to_owned()).unwrap())
    };
    let of_fixtures = |name: &dyn Fn(&Path) -> Option<String>| {
        let entries = fs::read_dir(fixture("")).unwrap();
        entries.filter_map(|entry| name(&entry.unwrap().path())).collect::<BTreeSet<_>>()
    };
    let [safetensors, gguf] = checkpoint_formats();
    let listed = |format: &CheckpointFormat| -> BTreeSet<String> {
        let families: BTreeSet<_> = format.families.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(families.len(), format.families.len());
        families
    };
    assert_eq!((safetensors.name, gguf.name), ("safetensors", "gguf"));
    // There is a fixture of each family, but for one that tests write.
    assert_eq!(listed(&safetensors), of_fixtures(&model_type));
    let mut architectures = of_fixtures(&architecture);
    architectures.insert("qwen2".to_owned());
    assert_eq!(listed(&gguf), architectures);
}

#[test]
fn a_family_that_cannot_be_imported_is_told_of_those_that_can() {
    let refusal = ChangedFixture::new("gpt2").config(json!({"model_type": "bert"})).refusal();
    assert!(refusal.contains("the architecture 'bert'"), "{refusal}");
    assert!(refusal.contains("imported are falcon, gemma, "), "{refusal}");
    assert!(refusal.contains(" gpt2 (DialoGPT too), "), "{refusal}");
    assert!(refusal.ends_with(" stablelm, and starcoder2"), "{refusal}");
}
