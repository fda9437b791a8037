// SPDX-License-Identifier: Apache-2.0

use crate::common::{MODELS, json, model, refusal, run, stdout};
use pol_chain::Signer;
use pol_generate::{NativeModel, PACKED_FILE};
use pol_primitives::Hash;
use pol_receipt::{MAX_RECEIPT_BYTES, Receipt, ReceiptFile};
use serde_json::Value;
use std::{fs, path::Path};

const PROMPT: &str = "the an";

/// Generates a text with a receipt, and returns the path of the receipt.
fn receipt(name: &str, more: &[&str]) -> String {
    let path = MODELS.path(name);
    let arguments = ["--receipt", &path, "--dev-account", "alice", "--seed", "7", "--max-tokens"];
    let arguments =
        [&arguments[..], &["20", "--temperature", "1", "--ignore-end"], more, &[PROMPT]];
    stdout(&MODELS.generate("long", &arguments.concat()));
    path
}

fn read(path: &str) -> ReceiptFile {
    ReceiptFile::parse(&fs::read(path).unwrap()).unwrap()
}

/// Writes the receipt at `path` again, changed and signed by its account.
fn falsify(path: &str, change: impl FnOnce(&mut Receipt)) {
    let (mut file, signer) = (read(path), Signer::from_uri("//Alice").unwrap());
    change(&mut file.receipt);
    let sign = |digest: &Hash| signer.sign_message(digest);
    let signed = ReceiptFile::sign(file.receipt, signer.account(), sign);
    fs::write(path, signed.disclosing(file.disclosed).to_json().unwrap()).unwrap();
}

/// Verifies a receipt with the long model. Returns the result and the error.
fn verify(path: &str, more: &[&str]) -> (Value, String) {
    let long = MODELS.path("long");
    let arguments = ["verify-receipt", path, "--model", &long, "--json"];
    let output = run(&[&arguments[..], more].concat());
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert_eq!(output.status.success(), result["verdict"] == "match", "{output:?}");
    (result, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_text_is_generated_again_from_its_receipt() {
    let path = receipt("open.json", &["--disclose", "prompt,output"]);
    let file = read(&path);
    assert!(!file.disclosed.output.as_ref().unwrap().is_empty());
    assert_eq!(file.receipt.tokens, 20);
    let (result, _) = verify(&path, &[]);
    assert_eq!((&result["verdict"], &result["again"]), (&"match".into(), &result["receipt"]));
    assert_eq!(result["account"], Signer::from_uri("//Alice").unwrap().ss58());
    let threads = verify(&path, &["--threads", "1"]).0;
    assert_eq!(threads["verdict"], "match", "threads change no bits");

    let shown = run(&["verify-receipt", &path, "--model", &MODELS.path("long")]);
    assert!(stdout(&shown).starts_with("MATCH: signed by 5"));

    falsify(&path, |receipt| receipt.tokens -= 1);
    let (result, error) = verify(&path, &[]);
    assert_eq!(result["verdict"], "mismatch");
    assert!(error.contains("does not make the text"), "{error}");
    let shown = run(&["verify-receipt", &path, "--model", &MODELS.path("long")]);
    assert!(shown.stdout.starts_with(b"MISMATCH"));
}

#[test]
fn a_root_is_not_claimed_for_packed_parameters_of_others() {
    let (short, foreign) = (MODELS.path("short"), MODELS.path("foreign"));
    stdout(&model(&["adapt", &short, "--out", &foreign, "--context", "512"]));
    // The file names the root of the folder, and has parameters of its own.
    let (spec, report) = pol_import::describe(Path::new(&foreign)).unwrap();
    let zeros = |values: &mut [f32]| -> Result<(), pol_generate::Error> {
        values.fill(0.0);
        Ok(())
    };
    let packed = Path::new(&foreign).join(PACKED_FILE);
    NativeModel::write_packed(&spec, &report.root, 1, zeros, &packed).unwrap();
    let usual = ["--seed", "7", "--max-tokens", "20", "--temperature", "1", "--ignore-end"];
    let text = |name: &str, more: &[&str]| {
        let arguments = [&usual[..], &["--json"], more, &[PROMPT]].concat();
        json(&MODELS.generate(name, &arguments))["text"].clone()
    };
    let honest = text("long", &[]);
    assert_ne!(text("foreign", &[]), honest);
    let path = MODELS.path("foreign.json");
    assert_eq!(text("foreign", &["--receipt", &path, "--dev-account", "alice"]), honest);
    let shown = run(&["verify-receipt", &path, "--model", &foreign, "--prompt", PROMPT]);
    assert!(stdout(&shown).starts_with("MATCH"));
    let message = refusal(&["model", "show", &foreign, "--verify"], 1);
    assert!(message.contains("not those of the model"), "{message}");
    stdout(&model(&["pack", &foreign]));
    stdout(&model(&["show", &foreign, "--verify"]));
}

#[test]
fn a_prompt_may_stay_with_its_owner() {
    let path = receipt("closed.json", &[]);
    assert_eq!(read(&path).disclosed, Default::default());
    assert!(verify(&path, &[]).1.contains("give it with --prompt"));
    assert!(verify(&path, &["--prompt", "another"]).1.contains("not the prompt"));
    assert_eq!(verify(&path, &["--prompt", PROMPT]).0["verdict"], "match");
    // Terms that change how a text is made are the receipt's, not those of the command line.
    let tools = receipt("tools.json", &["--tools", "--stop", "an", "--sensitivity", "0.5"]);
    assert_eq!(verify(&tools, &["--prompt", PROMPT]).0["verdict"], "match");
}

#[test]
fn texts_of_other_decoders_are_not_compared() {
    let threads = |number| ["--threads", number];
    let path = receipt("torch.json", &[&["--decoder", "torch"], &threads("1")[..]].concat());
    let prompt = ["--prompt", PROMPT];
    let same = verify(&path, &[&prompt[..], &threads("1")].concat()).0;
    assert_eq!(same["verdict"], "match");
    assert_eq!(same["decoder"], "pol-generate/torch/1");
    for (path, more) in [(&path, "2"), (&receipt("later.json", &[]), "1")] {
        falsify(path, |receipt| {
            receipt.generator.decoder = receipt.generator.decoder.replace("native/1", "native/9");
        });
        let (result, error) = verify(path, &[&prompt[..], &threads(more)].concat());
        assert_eq!(result["verdict"], "incomparable");
        assert!(error.contains("cannot be compared") && !error.contains("MISMATCH"), "{error}");
    }
}

#[test]
fn each_reason_against_a_receipt_is_named() {
    let refused = |name: &str, change: fn(&mut Receipt), reason: &str| {
        let path = receipt(name, &["--disclose", "prompt"]);
        falsify(&path, change);
        let error = verify(&path, &[]).1;
        assert!(error.contains(reason), "{error}");
    };
    refused("model.json", |receipt| receipt.generator.model = [9; 32], "another model");
    let specification = |receipt: &mut Receipt| receipt.generator.specification = [9; 32];
    refused("specification.json", specification, "another specification");
    refused("tokenizer.json", |receipt| receipt.generator.tokenizer = [9; 32], "another tokenizer");
    refused("control.json", |receipt| receipt.terms.top_p = 7.0, "top-p must be");

    let path = receipt("changed.json", &["--disclose", "prompt"]);
    let folder = refusal(&["verify-receipt", &path], 1);
    assert!(folder.contains("give the folder with --model"), "{folder}");
    let mut changed: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut refused = |change: &dyn Fn(&mut Value), reason: &str| {
        change(&mut changed);
        fs::write(&path, changed.to_string()).unwrap();
        let error = verify(&path, &[]).1;
        assert!(error.contains(reason) && error.contains("changed.json"), "{error}");
    };
    refused(&|json| json["receipt"]["tokens"] = 3.into(), "the signature is not");
    refused(&|json| json["version"] = 2.into(), "receipts of version 2 are unknown");
    refused(&|json| *json = serde_json::json!({}), "this is not a receipt");
    refused(&|json| *json = " ".repeat(MAX_RECEIPT_BYTES).into(), "larger than a receipt");
    fs::write(&path, "[".repeat(99)).unwrap();
    assert!(verify(&path, &[]).1.contains("nested deeper than a receipt"));
}

#[test]
fn receipts_need_a_key_and_one_text() {
    let (long, path) = (MODELS.path("long"), MODELS.path("none.json"));
    let refused = |arguments: &[&str], code| {
        refusal(
            &[&["generate", "--model", &long, "--receipt", &path][..], arguments].concat(),
            code,
        )
    };
    assert!(refused(&[PROMPT], 1).contains("no key is given"));
    assert!(refused(&["--batch", "prompts.txt"], 2).contains("cannot be used with"));
    assert!(refused(&["--reason", "chain", PROMPT], 2).contains("cannot be used with"));
    let disclosed = ["generate", "--model", &long, "--disclose", "prompt", PROMPT];
    assert!(refusal(&disclosed, 2).contains("--receipt"));
    let result = json(&MODELS.generate("long", &["--json", PROMPT]));
    assert!(result["text"].is_string(), "without a receipt no key is needed");
}
