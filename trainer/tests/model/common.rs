// SPDX-License-Identifier: Apache-2.0

use crate::whole_tokenizer;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::LazyLock,
};

/// Runs `pol-trainer`.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pol-trainer")).args(arguments).output().unwrap()
}

/// Runs `pol-trainer model`.
pub(crate) fn model(arguments: &[&str]) -> Output {
    run(&[&["model"][..], arguments].concat())
}

/// Returns the standard output of a successful command as JSON.
pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// Runs a command that must fail with this exit code, and returns its standard error.
pub(crate) fn refusal(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    message
}

/// Returns the standard output of a successful command.
pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns the path of a fixture.
pub(crate) fn fixture(name: &str) -> String {
    let fixtures: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/import/tests/fixtures");
    fixtures.join(name).to_str().unwrap().to_owned()
}

/// Folder of imported models.
pub(crate) struct Models {
    scratch: PathBuf,
}

/// Two models of one checkpoint: `short` with its context of 32, and `long` with one of 512.
pub(crate) static MODELS: LazyLock<Models> = LazyLock::new(|| {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).unwrap();
    let models = Models { scratch };
    let (plain, tokenizer) = (models.path("plain"), models.path("tokenizer.json"));
    let (short, long) = (models.path("short"), models.path("long"));
    let file = fixture("llama.gguf");
    stdout(&model(&["import", &file, "--out", &plain]));
    whole_tokenizer::write(Path::new(&plain), 61, Path::new(&tokenizer));
    stdout(&model(&["import", &file, "--out", &short, "--tokenizer", &tokenizer]));
    stdout(&model(&["adapt", &short, "--out", &long, "--context", "512"]));
    models
});

impl Models {
    /// Returns the path of a model or another file in the folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.scratch.join(name).to_str().unwrap().to_owned()
    }

    /// Runs `pol-trainer generate` with a model.
    pub(crate) fn generate(&self, model: &str, arguments: &[&str]) -> Output {
        run(&[&["generate", "--model", &self.path(model)][..], arguments].concat())
    }

    /// Generates with the long model and returns the report.
    pub(crate) fn completion(&self, arguments: &[&str]) -> Value {
        json(&self.generate("long", &[arguments, &["--json"]].concat()))
    }
}
