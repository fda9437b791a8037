//! `pol-trainer model`, `generate` and what data takes from a model, as a user runs them.

use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::LazyLock,
};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pol-trainer")).args(arguments).output().unwrap()
}

fn model(arguments: &[&str]) -> Output {
    run(&[&["model"][..], arguments].concat())
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// What a command that fails with this code says.
fn refusal(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    said
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn fixture(name: &str) -> String {
    let fixtures: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/model/tests/fixtures");
    fixtures.join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_checkpoint_is_imported_and_shown() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("model").to_str().unwrap().to_owned();
    let imported: Value = serde_json::from_str(&stdout(&model(&[
        "import",
        &fixture("llama.gguf"),
        "--out",
        &out,
        "--json",
    ])))
    .unwrap();
    assert_eq!(imported["report"]["family"], "llama");
    assert_eq!(imported["spec"]["key_value_heads"], 2);
    let root = imported["report"]["root"].as_str().unwrap().to_owned();

    let shown = stdout(&model(&["show", &out, "--verify", "--tensors"]));
    assert!(
        shown.contains(&root)
            && shown.contains("[24, 16] F32 transposed, fused into h.0.attn.c_attn.weight (rows"),
        "{shown}"
    );
    let shown: Value = serde_json::from_str(&stdout(&model(&["show", &out, "--json"]))).unwrap();
    assert_eq!(shown["report"], imported["report"]);

    let again = model(&["import", &fixture("gpt2"), "--out", &out]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"));
    let forced = stdout(&model(&["import", &fixture("gpt2"), "--out", &out, "--force"]));
    assert!(forced.contains("gpt2 from") && forced.contains("left"), "{forced}");
    assert!(!forced.contains(&root));
}

#[test]
fn what_cannot_be_imported_is_explained() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("model").to_str().unwrap().to_owned();
    for (source, says) in [
        ("no such thing", "neither a file or folder here nor a model on the hub"),
        (&*fixture(""), "has no config.json"),
    ] {
        let output = model(&["import", source, "--out", &out]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(says), "{error}");
        assert!(!Path::new(&out).exists());
    }
}

/// Two models of one checkpoint: as it is, with a context of 32, and with one of 512.
struct Models {
    scratch: PathBuf,
}

static MODELS: LazyLock<Models> = LazyLock::new(|| {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).unwrap();
    let models = Models { scratch };
    stdout(&model(&["import", &fixture("llama.gguf"), "--out", &models.path("short")]));
    stdout(&model(&[
        "adapt",
        &models.path("short"),
        "--out",
        &models.path("long"),
        "--context",
        "512",
    ]));
    models
});

impl Models {
    fn path(&self, name: &str) -> String {
        self.scratch.join(name).to_str().unwrap().to_owned()
    }

    fn generate(&self, model: &str, arguments: &[&str]) -> Output {
        run(&[&["generate", "--model", &self.path(model)][..], arguments].concat())
    }

    fn written(&self, arguments: &[&str]) -> Value {
        json(&self.generate("long", &[arguments, &["--json"]].concat()))
    }
}

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
    let moved = grown["difference"]["largest"].as_f64().unwrap();
    assert!(
        moved < 1e-5 && grown["difference"]["scale"].as_f64().unwrap() > 0.1,
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
    // What is written is whole, read by others, and the same for the same seed.
    assert_eq!(json(&model(&["show", &out, "--verify", "--json"]))["report"], *report);
    let again = MODELS.path("grown-again");
    let again =
        json(&model(&[&["adapt", &short, "--out", &again, "--json"][..], &sizes[..]].concat()));
    assert_eq!(again["report"]["root"], report["root"]);

    // LayerNorm, tied, to a width that is no multiple; without a tokenizer.
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
    let parts =
        ["--experts", "3", "--introspection", "--second-pass", "1", "--superposition", "2x4"];
    let split = ["--rewrite", r#"{"split_expert":{"expert":0}}"#];
    let made = json(&model(
        &[&["adapt", &MODELS.path("short"), "--out", &experts, "--json"][..], &parts[..], &split]
            .concat(),
    ));
    assert!(
        made["preserved"] == true && made["difference"]["largest"].as_f64().unwrap() < 1e-5,
        "{made}"
    );
    assert_eq!(made["spec"]["experts"]["count"], 4);
    assert_eq!(
        made["spec"]["mind"],
        json!({ "superposition": { "branches": 2, "rank": 4 }, "introspection": true, "second_pass": 1 })
    );
    let shown = stdout(&model(&["show", &experts]));
    assert!(
        shown.contains(
            "4 experts in each block, 2 of them active: language, mathematics, code, language'"
        ),
        "{shown}"
    );
    // It writes, too.
    let text = json(&run(&[
        "generate",
        "--model",
        &experts,
        "--max-tokens",
        "5",
        "--ignore-end",
        "--json",
        "the",
    ]));
    assert_eq!(text["tokens"], 5);

    let texts = [("a.txt", "the an in the a "), ("b.txt", "zebras run. in a zoo.\n")].map(
        |(name, text)| {
            let path = MODELS.path(name);
            fs::write(&path, text.repeat(20)).unwrap();
            path
        },
    );
    let measure = ["--text", &texts[0], "--text", &texts[1]];
    let measured = json(&model(
        &[&["propose", &experts, "--json", "--sequences", "3"][..], &measure[..]].concat(),
    ));
    assert_eq!(measured["experts"], json!(["language", "mathematics", "code", "language'"]));
    // Nothing goes to the copy yet, which therefore would go first.
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
    let told = stdout(&model(&[&["propose", &experts][..], &measure[..]].concat()));
    assert!(
        told.contains("{\"prune_expert\":{\"expert\":3}}\n    expert language' gets 0.00 %"),
        "{told}"
    );
    assert!(told.contains("a.txt") && told.contains("mathematics"), "{told}");

    let after = json(&model(&[
        "adapt",
        &experts,
        "--out",
        &pruned,
        "--json",
        "--rewrite",
        &rewrite.to_string(),
    ]));
    assert_eq!(
        (&after["preserved"], &after["spec"]["experts"]["count"]),
        (&json!(false), &json!(3))
    );
}

#[test]
fn a_model_without_experts_is_to_grow_where_its_loss_falls_no_more() {
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
    let told = stdout(&model(&["propose", &short, "--text", &text]));
    assert!(told.contains("nothing is proposed: ") && told.contains("without --losses"), "{told}");
}

#[test]
fn what_cannot_be_adapted_or_measured_is_explained() {
    let (short, out, long) = (MODELS.path("short"), MODELS.path("never"), MODELS.path("long"));
    let misfit = r#"{"split_expert":{"expert":0}}"#;
    for (given, code, says) in [
        (
            &["adapt", &short, "--out", &out][..],
            1,
            "the model is so already; say what is to change, such as --layers 4",
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
        let said = refusal(&[&["model"][..], given].concat(), code);
        assert!(said.contains(says), "{given:?}: {said}");
    }
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_seed_fixes_the_text() {
    let sample = |seed: &str| {
        MODELS.written(&[
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
    // The best token every time, whatever the seed.
    let arguments =
        ["--seed", "7", "--temperature", "0", "--max-tokens", "30", "--ignore-end", "the an"];
    let best = MODELS.written(&[&["--seed", "8"][..], &arguments[2..]].concat());
    assert_ne!(best["text"], first["text"]);
    // The same as it comes, the rest beside it.
    let shown = MODELS.generate("long", &arguments);
    assert_eq!(stdout(&shown), format!("{}\n", best["text"].as_str().unwrap()));
    let said = String::from_utf8_lossy(&shown.stderr);
    assert!(
        said.contains("30 tokens at") && said.contains("tokens/s") && said.contains("seed 7"),
        "{said}"
    );
    // The end of the text is cut off where a stop string begins.
    let text = best["text"].as_str().unwrap();
    let stop: String = text.chars().skip(text.chars().count() / 2).take(4).collect();
    let stopped = MODELS.written(&[&["--stop", &stop][..], &arguments[..]].concat());
    assert_eq!(stopped["text"].as_str().unwrap(), &text[..text.find(&stop).unwrap()]);
    assert_eq!(stopped["finish"], json!({ "stop": stop }));
}

#[test]
fn prompts_of_a_batch_are_continued_as_they_are_alone() {
    let file = MODELS.path("prompts.txt");
    fs::write(&file, "the an\n\nin a zoo.\n").unwrap();
    let arguments = ["--seed", "5", "--temperature", "0", "--max-tokens", "12", "--ignore-end"];
    let batch = stdout(
        &MODELS.generate("long", &[&["--batch", &file, "--json"][..], &arguments[..]].concat()),
    );
    let batch: Vec<Value> = batch.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(batch.len(), 2);
    assert_eq!((&batch[0]["prompt"], &batch[1]["prompt"]), (&json!("the an"), &json!("in a zoo.")));
    let alone = MODELS.written(&[&arguments[..], &["in a zoo."]].concat());
    assert_eq!(batch[1]["text"], alone["text"]);
    assert_ne!(batch[0]["text"], alone["text"]);
}

#[test]
fn steps_are_reasoned_within_the_budget() {
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
fn what_cannot_be_written_is_explained() {
    let (short, none, empty) =
        (MODELS.path("short"), MODELS.path("none"), MODELS.path("empty.txt"));
    let untold = MODELS.path("untold");
    stdout(&model(&["import", &fixture("llama-tied"), "--out", &untold]));
    fs::write(&empty, "\n").unwrap();
    let long = "the an in a zoo ".repeat(9);
    for (given, code, says) in [
        (&["--model", &short, long.as_str()][..], 1, "shorten it"),
        (&["--model", &none, "the"], 1, "is not an imported model: it has no spec.json"),
        (
            &["--model", &untold, "the"],
            1,
            "has no tokenizer; import the model again with --tokenizer FILE",
        ),
        (
            &["--model", &short, "--chat", "the"],
            1,
            "it has no <|im_start|>, so this model knows no chat",
        ),
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
        let said = refusal(&[&["generate"][..], given].concat(), code);
        assert!(said.contains(says), "{given:?}: {said}");
    }
}

#[test]
fn data_is_cut_by_a_models_tokenizer() {
    let (texts, tokenizer) = (MODELS.path("corpus.txt"), MODELS.path("short/tokenizer.json"));
    fs::write(&texts, "the zebras run in a zoo. ".repeat(99)).unwrap();
    let sizes = ["--sequence", "16", "--shard-tokens", "64", "--held-out", "0", "--json"];
    let ingest = |name: &str, more: &[&str]| {
        let out = MODELS.path(name);
        json(&run(&[
            &["data", "ingest", "--input", &texts, "--out", &out, "--tokenizer", &tokenizer][..],
            &sizes[..],
            more,
        ]
        .concat()))
    };
    let usual = ingest("usual", &[]);
    assert_eq!(
        (&usual["end_of_text"], &usual["vocabulary"]),
        (&json!("<|endoftext|>"), &json!(61))
    );
    let named = ingest("named", &["--end-of-text", "[PAD40]"]);
    assert_eq!(named["end_of_text"], "[PAD40]");
    assert_ne!(named["train"], usual["train"]);
    let recipe = json(&run(&[
        "recipe",
        "new",
        "--data",
        &MODELS.path("usual"),
        "--model",
        &MODELS.path("long"),
        "--preset",
        "tiny",
    ]));
    assert_eq!(recipe["model"]["context"], 512);
    let out = MODELS.path("refused");
    let given = [
        "data",
        "ingest",
        "--input",
        &texts,
        "--out",
        &out,
        "--tokenizer",
        &tokenizer,
        "--end-of-text",
        "the",
    ];
    assert!(refusal(&given, 1).contains("the occurs in texts, so it cannot stand between them"));
}
