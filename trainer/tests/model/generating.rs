// SPDX-License-Identifier: Apache-2.0

use crate::common::{MODELS, fixture, json, model, refusal, stdout};
use serde_json::{Value, json};
use std::fs;

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
        (&["--model", &short], 2, "<PROMPT>"),
    ] {
        let message = refusal(&[&["generate"][..], arguments].concat(), code);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}
