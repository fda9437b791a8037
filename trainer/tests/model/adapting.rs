// SPDX-License-Identifier: Apache-2.0

use crate::common::{MODELS, fixture, json, model, refusal, run, stdout};
use serde_json::{Value, json};
use std::{fs, path::Path};

#[test]
fn a_model_grows_and_computes_the_same() {
    let (short, out) = (MODELS.path("short"), MODELS.path("grown"));
    let sizes = [
        "--layers",
        "4",
        "--width",
        "20",
        "--heads",
        "6",
        "--feed-forward",
        "40",
        "--context",
        "64",
        "--vocabulary",
        "64",
        "--seed",
        "3",
    ];
    let grown =
        json(&model(&[&["adapt", &short, "--out", &out, "--json"][..], &sizes[..]].concat()));
    assert_eq!(grown["preserved"], true);
    let difference = grown["difference"]["largest"].as_f64().unwrap();
    assert!(
        difference < 1e-5 && grown["difference"]["scale"].as_f64().unwrap() > 0.1,
        "{}",
        grown["difference"]
    );
    let spec = &grown["spec"];
    let found =
        ["layers", "width", "heads", "key_value_heads", "feed_forward", "context", "vocabulary"]
            .map(|size| spec[size].as_u64());
    assert_eq!(found, [4, 20, 6, 3, 40, 64, 64].map(Some));
    let before = json(&model(&["show", &short, "--json"]));
    let report = &grown["report"];
    assert_eq!(report["tokenizer"], before["report"]["tokenizer"]);
    assert_eq!(report["source"], before["report"]["source"]);
    assert_eq!(report["adapted"][0]["from"], before["report"]["root"]);
    assert_eq!(
        report["adapted"][0]["sizes"]["blocks"],
        json!([[0, false], [1, false], [1, true], [1, true]])
    );
    assert_eq!(report["notes"], json!(["the last 3 rows of the embedding stand for no token"]));
    // The written model is complete, and the same for the same seed.
    assert_eq!(json(&model(&["show", &out, "--verify", "--json"]))["report"], *report);
    let again = MODELS.path("grown-again");
    let again =
        json(&model(&[&["adapt", &short, "--out", &again, "--json"][..], &sizes[..]].concat()));
    assert_eq!(again["report"]["root"], report["root"]);

    // A model with LayerNorm, tied embeddings and no tokenizer, to a width that is no multiple.
    let (gpt2, wide) = (MODELS.path("gpt2"), MODELS.path("gpt2-wide"));
    stdout(&model(&["import", &fixture("gpt2"), "--out", &gpt2]));
    let grown = json(&model(&["adapt", &gpt2, "--out", &wide, "--width", "23", "--json"]));
    assert!(
        grown["preserved"] == true && grown["difference"]["largest"].as_f64().unwrap() < 1e-5,
        "{grown}"
    );
    let other = stdout(&model(&[
        "adapt", &gpt2, "--out", &wide, "--width", "8", "--layers", "3", "--force",
    ]));
    assert!(
        other.contains("width from 16 to 8: strongest channels kept")
            && other.contains("train it before"),
        "{other}"
    );
    assert!(other.contains("layers from 2 to 3: silent copies of the last block added"), "{other}");
    assert!(other.contains("blocks are made of 0, 1, 1 (silent)"), "{other}");
}

#[test]
fn experts_are_added_measured_and_removed() {
    let (experts, pruned) = (MODELS.path("experts"), MODELS.path("pruned"));
    add_experts(&experts);
    let rewrite = propose_pruning(&experts);
    let options = ["--out", &pruned, "--json", "--rewrite", &rewrite.to_string()];
    let after = json(&model(&[&["adapt", &experts][..], &options].concat()));
    assert_eq!(
        (&after["preserved"], &after["spec"]["experts"]["count"]),
        (&json!(false), &json!(3))
    );
}

/// Adds experts and the layers of the mind to the short model, which keeps computing the same.
fn add_experts(out: &str) {
    let layers =
        ["--experts", "3", "--introspection", "--second-pass", "1", "--superposition", "2x4"];
    let split = ["--rewrite", r#"{"split_expert":{"expert":0}}"#];
    let adapt = ["adapt", &MODELS.path("short"), "--out", out, "--json"];
    let made = json(&model(&[&adapt[..], &layers, &split].concat()));
    assert!(
        made["preserved"] == true && made["difference"]["largest"].as_f64().unwrap() < 1e-5,
        "{made}"
    );
    assert_eq!(made["spec"]["experts"]["count"], 4);
    let superposition = json!({ "branches": 2, "rank": 4 });
    assert_eq!(
        made["spec"]["mind"],
        json!({ "superposition": superposition, "introspection": true, "second_pass": 1 })
    );
    let shown = stdout(&model(&["show", out]));
    let names = "4 experts in each block, 2 of them active: language, mathematics, code, language'";
    assert!(shown.contains(names), "{shown}");
    let options = ["--max-tokens", "5", "--ignore-end", "--json", "the"];
    let text = json(&run(&[&["generate", "--model", out][..], &options].concat()));
    assert_eq!(text["tokens"], 5);
}

/// Measures the use of the experts of a model, and returns the proposed rewrite.
fn propose_pruning(experts: &str) -> Value {
    let texts = [("a.txt", "the an in the a "), ("b.txt", "zebras run. in a zoo.\n")].map(
        |(name, text)| {
            let path = MODELS.path(name);
            fs::write(&path, text.repeat(20)).unwrap();
            path
        },
    );
    let texts = ["--text", &texts[0], "--text", &texts[1]];
    let propose = ["propose", experts, "--json", "--sequences", "3"];
    let measured = json(&model(&[&propose[..], &texts].concat()));
    assert_eq!(measured["experts"], json!(["language", "mathematics", "code", "language'"]));
    // No token goes to the copy yet, so it would be removed first.
    let rewrite = &measured["proposals"][0]["rewrite"];
    assert_eq!(*rewrite, json!({ "prune_expert": { "expert": 3 } }));
    assert_eq!(measured["proposals"][0]["reason"], json!({ "unused": { "share": 0.0 } }));
    for domain in measured["domains"].as_array().unwrap().iter().chain([&measured["all"]]) {
        assert!(
            domain["loss"].as_f64().unwrap() > 1.0 && domain["tokens"].as_u64().unwrap() >= 96,
            "{domain}"
        );
        for block in domain["shares"].as_array().unwrap() {
            let shares: Vec<f64> =
                block.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
            assert!(
                shares[3] == 0.0 && (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9,
                "{shares:?}"
            );
        }
    }
    let report = stdout(&model(&[&["propose", experts][..], &texts].concat()));
    assert!(
        report.contains("{\"prune_expert\":{\"expert\":3}}\n    expert language' gets 0.00 %"),
        "{report}"
    );
    assert!(report.contains("a.txt") && report.contains("mathematics"), "{report}");
    rewrite.clone()
}

#[test]
fn a_model_without_experts_should_grow_once_its_loss_is_flat() {
    let (short, text, losses) =
        (MODELS.path("short"), MODELS.path("text.txt"), MODELS.path("losses"));
    fs::write(&text, "the an in the a ".repeat(9)).unwrap();
    fs::write(&losses, "3.5 ".repeat(16)).unwrap();
    let flat = json(&model(&["propose", &short, "--text", &text, "--losses", &losses, "--json"]));
    let rewrites: Vec<&Value> =
        flat["proposals"].as_array().unwrap().iter().map(|proposal| &proposal["rewrite"]).collect();
    assert_eq!(rewrites[0]["upcycle"]["experts"]["count"], 5);
    assert_eq!(
        rewrites[1..],
        [&json!({ "widen": { "feed_forward": 30 } }), &json!({ "insert_block": { "at": 1 } })]
    );
    assert_eq!((&flat["loss_fall"], &flat["nothing"]), (&json!(0.0), &Value::Null));
    let report = stdout(&model(&["propose", &short, "--text", &text]));
    assert!(
        report.contains("nothing is proposed: ") && report.contains("without --losses"),
        "{report}"
    );
}

#[test]
fn refusals_to_adapt_or_measure_are_explained() {
    let (short, out, long) = (MODELS.path("short"), MODELS.path("never"), MODELS.path("long"));
    let misfit = r#"{"split_expert":{"expert":0}}"#;
    for (arguments, code, expected) in [
        (
            &["adapt", &short, "--out", &out][..],
            1,
            "these options change nothing; name a change, such as --layers 4",
        ),
        (
            &["adapt", &short, "--out", &out, "--rewrite", misfit],
            1,
            "has no experts; upcycle it first",
        ),
        (&["adapt", &short, "--out", &out, "--rewrite", "split"], 2, "a rewrite is JSON such as"),
        (&["adapt", &short, "--out", &long, "--layers", "4"], 1, "--force"),
        (
            &["adapt", &out, "--out", &out, "--layers", "4"],
            1,
            "make one with `pol-trainer model import`",
        ),
        (
            &["propose", &short, "--text", "/dev/null", "--length", "33"],
            1,
            "longer than the model's context of 32",
        ),
        (&["propose", &short, "--text", "/dev/null"], 1, "has no text that the model can predict"),
    ] {
        let message = refusal(&[&["model"][..], arguments].concat(), code);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    assert!(!Path::new(&out).exists());
}
