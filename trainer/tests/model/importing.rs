// SPDX-License-Identifier: Apache-2.0

use crate::common::{fixture, model, stdout};
use serde_json::Value;
use std::path::Path;

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
fn refusals_to_import_are_explained() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("model").to_str().unwrap().to_owned();
    for (source, expected) in [
        ("no such thing", "neither a file or folder here nor a name on the hub"),
        (&*fixture(""), "has no config.json"),
    ] {
        let output = model(&["import", source, "--out", &out]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(expected), "{error}");
        assert!(!Path::new(&out).exists());
    }
}
