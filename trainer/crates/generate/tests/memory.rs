// SPDX-License-Identifier: Apache-2.0

//! A model takes hardly more memory while it is loaded than its weights in their own precision.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use common::{FORMS, Round, round};
use pol_generate::{LanguageModel, NativeModel, Prediction, SequenceInput};
use pol_import::{ImportReport, ImportedModel, load, open};
use pol_model::hash_values;
use pol_primitives::model::{Activation, Biases, ModelSpec, Norm, PositionEncoding};
use std::{env, error::Error, fs, path::Path, process::Command};

/// Folder of the model that a child process loads.
const FOLDER: &str = "POL_TEST_FOLDER";

/// A model of 45 million parameters in many small matrices.
fn spec() -> ModelSpec {
    ModelSpec {
        activation: Activation::Silu,
        gated: true,
        tied: false,
        norm: Norm::Rms { epsilon: 10_000 },
        positions: PositionEncoding::Rotary { dimensions: 64, base: 10_000, interleaved: false },
        biases: Biases::default(),
        ..ModelSpec::gpt2(8_192, 256, 48, 4, 768, 64)
    }
}

/// Returns the hash of the logits after a few tokens.
fn digest(model: &NativeModel) -> String {
    let (mut cache, mut prediction) = (model.new_cache(8).unwrap(), Prediction::default());
    model
        .forward(&mut [SequenceInput {
            cache: &mut cache,
            tokens: &[5, 4_000, 8_191, 17],
            prediction: &mut prediction,
        }])
        .unwrap();
    format!("{:?}", hash_values(&prediction.logits))
}

/// Returns a figure of this process in bytes.
fn status(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let kibibytes = line.trim_start_matches(':').trim_end_matches("kB").trim();
    kibibytes.parse::<usize>().unwrap() * 1_024
}

/// Loads the model in `folder` part by part.
fn read(folder: &Path) -> Result<NativeModel, Box<dyn Error>> {
    let mut model = open(folder)?;
    let spec = model.spec;
    NativeModel::from_reader(&spec, 2, |values| Ok(model.read(values)?))
}

/// Writes a model whose weights have a form.
fn save(spec: ModelSpec, form: Round, folder: &Path) {
    let value = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 25) as f32;
    let mut parameters: Vec<f32> = (0..spec.size()).map(|i| value(i) - 0.25).collect();
    round(&spec, &mut parameters, form);
    let report = ImportReport::default();
    ImportedModel { spec, parameters, root: [0; 32], tokenizer: None, report }
        .save(folder, false)
        .unwrap();
}

#[test]
fn loading_keeps_no_second_copy() {
    if let Some(folder) = env::var_os(FOLDER) {
        let before = status("VmRSS");
        let model = read(Path::new(&folder)).unwrap();
        let digest = digest(&model);
        println!("\nchild: {} {digest}", status("VmHWM") - before);
        return;
    }
    // Bits of a weight, where those of norms do not count.
    for (form, bits) in [("float32", 32), ("bfloat16", 16), ("float16", 16), ("Q4_K", 6)] {
        let (_, round) = FORMS.into_iter().find(|(name, _)| *name == form).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("model");
        save(spec(), round, &folder);
        // A process of its own, whose peak is that of the load and of the first token.
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "loading_keeps_no_second_copy", "--nocapture"])
            .env(FOLDER, &folder)
            .output()
            .unwrap();
        let output = String::from_utf8(child.stdout).unwrap();
        let line = output.lines().find_map(|line| line.strip_prefix("child: ")).unwrap();
        let (peak, found) = line.split_once(' ').unwrap();
        let loaded = load(&folder).unwrap();
        let whole = NativeModel::new(&loaded.spec, &loaded.parameters, 2).unwrap();
        assert_eq!(found, digest(&whole), "{form}");
        let (peak, weights) = (peak.parse::<u64>().unwrap(), spec().size() * bits / 8);
        println!("{form}: {peak} bytes at once for weights of {weights}");
        assert!(peak > weights * 9 / 10, "{form}: {peak} of {weights} cannot be right");
        // The process itself and a block of keys and values take some more.
        let most = weights * 11 / 10 + (4 << 20);
        assert!(peak < most, "{form}: {peak} bytes at once for weights of {weights}");
    }
}

#[test]
fn a_model_whose_file_changes_is_not_loaded() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("model");
    let small = ModelSpec::gpt2(101, 64, 2, 4, 96, 80);
    save(small, FORMS[0].1, &folder);
    assert!(read(&folder).is_ok());
    let weights = folder.join(pol_import::WEIGHTS_FILE);
    let whole = fs::read(&weights).unwrap();
    // While it is open, as when another program writes to it.
    let mut model = open(&folder).unwrap();
    let error = NativeModel::from_reader::<Box<dyn Error>>(&small, 1, |values| {
        fs::write(&weights, &whole[..whole.len() / 2])?;
        Ok(model.read(values)?)
    });
    let error = error.err().unwrap().to_string();
    assert!(error.contains("become shorter"), "{error}");
    fs::write(&weights, &whole).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    let mut model = open(&folder).unwrap();
    let error = NativeModel::from_reader::<Box<dyn Error>>(&small, 1, |values| {
        fs::write(&weights, &changed)?;
        Ok(model.read(values)?)
    });
    let error = error.err().unwrap().to_string();
    assert!(error.contains("hash to another root"), "{error}");
    // Parameters of another model.
    fs::write(&weights, &whole).unwrap();
    let mut model = open(&folder).unwrap();
    let larger = ModelSpec::gpt2(101, 64, 3, 4, 96, 80);
    let read = |values: &mut [f32]| -> Result<(), Box<dyn Error>> { Ok(model.read(values)?) };
    let error = NativeModel::from_reader(&larger, 1, read).err().unwrap().to_string();
    assert!(error.contains("another model"), "{error}");
}
