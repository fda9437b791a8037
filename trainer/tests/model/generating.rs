// SPDX-License-Identifier: Apache-2.0

use crate::common::{MODELS, fixture, json, model, refusal, stdout};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Output};

#[test]
fn a_seed_fixes_the_text() {
    let sample = |seed: &str| {
        MODELS.completion(&[
            "--seed",
            seed,
            "--temperature",
            "1",
            "--max-tokens",
            "30",
            "--ignore-end",
            "the an",
        ])
    };
    let first = sample("7");
    assert_eq!(
        (&first["tokens"], &first["finish"], &first["seed"]),
        (&json!(30), &json!("length"), &json!(7))
    );
    assert_eq!(first["text"], sample("7")["text"]);
    assert_ne!(first["text"], sample("8")["text"]);
    // Temperature 0 takes the likeliest token, whatever the seed.
    let arguments =
        ["--seed", "7", "--temperature", "0", "--max-tokens", "30", "--ignore-end", "the an"];
    let best = MODELS.completion(&[&["--seed", "8"][..], &arguments[2..]].concat());
    assert_ne!(best["text"], first["text"]);
    // The text goes to standard output as it comes, and the figures to standard error.
    let shown = MODELS.generate("long", &arguments);
    assert_eq!(stdout(&shown), format!("{}\n", best["text"].as_str().unwrap()));
    let figures = String::from_utf8_lossy(&shown.stderr);
    assert!(
        figures.contains("30 tokens at")
            && figures.contains("tokens/s")
            && figures.contains("seed 7"),
        "{figures}"
    );
    // The text ends where a stop string begins.
    let text = best["text"].as_str().unwrap();
    let stop: String = text.chars().skip(text.chars().count() / 2).take(4).collect();
    let stopped = MODELS.completion(&[&["--stop", &stop][..], &arguments[..]].concat());
    assert_eq!(stopped["text"].as_str().unwrap(), &text[..text.find(&stop).unwrap()]);
    assert_eq!(stopped["finish"], json!({ "stop": stop }));
}

#[test]
fn prompts_of_a_batch_are_continued_as_if_alone() {
    let file = MODELS.path("prompts.txt");
    fs::write(&file, "the an\n\nin a zoo.\n").unwrap();
    let arguments = ["--seed", "5", "--temperature", "0", "--max-tokens", "12", "--ignore-end"];
    let batch = stdout(
        &MODELS.generate("long", &[&["--batch", &file, "--json"][..], &arguments[..]].concat()),
    );
    let batch: Vec<Value> = batch.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(batch.len(), 2);
    assert_eq!((&batch[0]["prompt"], &batch[1]["prompt"]), (&json!("the an"), &json!("in a zoo.")));
    let alone = MODELS.completion(&[&arguments[..], &["in a zoo."]].concat());
    assert_eq!(batch[1]["text"], alone["text"]);
    assert_ne!(batch[0]["text"], alone["text"]);
}

#[test]
fn reasoning_stays_within_its_budget() {
    let reason = |mode: &str| {
        let arguments = [
            "--reason",
            mode,
            "--budget",
            "90",
            "--seed",
            "3",
            "--temperature",
            "1",
            "--tools",
            "--json",
            "the an in a zoo",
        ];
        json(&MODELS.generate("long", &arguments))
    };
    let (chain, tree) = (reason("chain"), reason("tree"));
    for found in [&chain, &tree] {
        let reasoned = &found["reasoned"];
        assert!((1..=90).contains(&reasoned["tokens"].as_u64().unwrap()), "{found}");
        let path = reasoned["path"].as_array().unwrap();
        assert!(
            !path.is_empty() && path[0]["depth"] == 1 && path[0]["value"].as_f64().unwrap() < 0.0,
            "{found}"
        );
        assert!(reasoned["considered"].as_u64().unwrap() >= path.len() as u64, "{found}");
    }
    assert!(tree["reasoned"]["considered"].as_u64().unwrap() >= 3, "{tree}");
    assert_eq!(chain["reasoned"], reason("chain")["reasoned"]);
    let shown = stdout(&MODELS.generate(
        "long",
        &["--reason", "tree", "--budget", "60", "--seed", "3", "--branches", "2", "the an"],
    ));
    assert!(shown.starts_with("[0, value ") && shown.contains("The best path:"), "{shown}");
}

#[test]
fn refusals_to_generate_are_explained() {
    let (short, none, empty) =
        (MODELS.path("short"), MODELS.path("none"), MODELS.path("empty.txt"));
    let without_tokenizer = MODELS.path("without_tokenizer");
    stdout(&model(&["import", &fixture("llama-tied"), "--out", &without_tokenizer]));
    fs::write(&empty, "\n").unwrap();
    let long = "the an in a zoo ".repeat(9);
    for (arguments, code, expected) in [
        (&["--model", &short, long.as_str()][..], 1, "shorten the prompt"),
        (&["--model", &none, "the"], 1, "is not an imported model: it has no spec.json"),
        (
            &["--model", &without_tokenizer, "the"],
            1,
            "has no tokenizer; import the model again with --tokenizer FILE",
        ),
        (&["--model", &short, "--chat", "the"], 1, "it knows no chat"),
        (&["--model", &short, "--batch", &empty], 1, "there is no prompt"),
        (
            &["--model", &short, "--temperature", "-1", "the"],
            1,
            "temperature must be 0 or more, and finite, not -1",
        ),
        (
            &["--model", &short, "--top-p", "0", "the"],
            1,
            "top-p must be above 0 and at most 1, not 0",
        ),
        (
            &["--model", &short, "--sensitivity", "2", "the"],
            1,
            "sensitivity must be from 0 to 1, not 2",
        ),
        (&["--model", &short, "--temperature", "warm", "the"], 2, "invalid value 'warm'"),
        (&["--model", &short, "--read-ahead", "65", "the"], 2, "invalid value '65'"),
        (&["--model", &short], 2, "<PROMPT>"),
    ] {
        let message = refusal(&[&["generate"][..], arguments].concat(), code);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

#[test]
fn packed_parameters_give_the_same_text() {
    let (short, packed) = (MODELS.path("short"), MODELS.path("packed"));
    stdout(&model(&["adapt", &short, "--out", &packed, "--context", "256"]));
    let arguments =
        ["--seed", "7", "--temperature", "1", "--max-tokens", "30", "--ignore-end", "--json"];
    let generate = || MODELS.generate("packed", &[&arguments[..], &["the an"]].concat());
    let text = |output: &Output| json(output)["text"].clone();
    let before = text(&generate());
    let file = MODELS.path("packed/packed.bin");
    let written = json(&model(&["pack", &packed, "--json"]));
    assert_eq!(written["bytes"].as_u64().unwrap(), fs::metadata(&file).unwrap().len());
    assert_eq!(text(&generate()), before);
    // A damaged file is left alone.
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let damaged = generate();
    assert_eq!(text(&damaged), before);
    let warnings = String::from_utf8_lossy(&damaged.stderr);
    assert!(warnings.contains("has changed") && warnings.contains("model pack"), "{warnings}");
    // An import has one from the start, unless it is left out.
    let (with, without) = (MODELS.path("with"), MODELS.path("without"));
    stdout(&model(&["import", &fixture("llama.gguf"), "--out", &with]));
    stdout(&model(&["import", &fixture("llama.gguf"), "--out", &without, "--no-pack"]));
    let has_file = [with, without].map(|folder| Path::new(&folder).join("packed.bin").exists());
    assert_eq!(has_file, [true, false]);
}

#[test]
fn controls_change_the_text_and_reading_ahead_does_not() {
    let usual = ["--seed", "7", "--temperature", "0", "--max-tokens", "40", "--ignore-end"];
    let text = |more: &[&str]| {
        let arguments = [&usual[..], more, &["the an in a zoo"]].concat();
        MODELS.completion(&arguments)["text"].as_str().unwrap().to_owned()
    };
    let plain = text(&[]);
    assert_eq!(text(&["--read-ahead", "6"]), plain);
    let rounded = text(&["--float16-cache"]);
    assert_eq!(text(&["--float16-cache", "--threads", "1", "--read-ahead", "6"]), rounded);
    // Token 3 is the letter c.
    let only = text(&["--logit-bias", "3=100", "--repetition-penalty", "1"]);
    assert_eq!(only, "c".repeat(40));
    let loops = ["--logit-bias", "3=100", "--repetition-penalty", "1", "--dry", "100"];
    assert_ne!(text(&loops), only);
    let schema = MODELS.path("schema.json");
    fs::write(&schema, r#"{"type": "array", "items": {"type": "integer"}}"#).unwrap();
    for (arguments, code, expected) in [
        (&["--logit-bias", "c=1", "x"][..], 2, "a bias is TOKEN=NUMBER"),
        (&["--logit-bias", "3=101", "x"], 1, "a bias must be -100 to 100, not 101"),
        (&["--logit-bias", "61=1", "x"], 1, "in the vocabulary, not 61"),
        (&["--typical-p", "0", "x"], 1, "typical-p must be above 0"),
        (&["--xtc", "2", "x"], 1, "the probability of XTC"),
        (&["--mirostat", "0", "x"], 1, "the target of mirostat"),
        (&["--dry-base", "2", "x"], 2, "--dry"),
        (&["--schema", &schema, "--tools", "x"], 2, "--tools"),
        (&["--float16-cache", "--decoder", "torch", "x"], 1, "only the native decoder"),
        (&["--float16-cache", "--receipt", "r.json", "x"], 2, "--float16-cache"),
    ] {
        let model = MODELS.path("short");
        let command = [&["generate", "--model", &model][..], arguments].concat();
        let message = refusal(&command, code);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}
