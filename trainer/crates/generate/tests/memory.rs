// SPDX-License-Identifier: Apache-2.0

//! A model takes hardly more memory while it is loaded than its weights in their own precision.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use common::{FORMS, Round, round};
use pol_generate::{LanguageModel, NativeModel, PACKED_FILE, Prediction, SequenceInput};
use pol_import::{ImportReport, ImportedModel, load, open};
use pol_model::hash_values;
use pol_primitives::model::{Activation, Biases, ModelSpec, Norm, PositionEncoding};
use std::{env, error::Error, fs, path::Path, process::Command};

/// Folder of the model that a child process loads.
const FOLDER: &str = "POL_TEST_FOLDER";
/// Set if it loads packed parameters.
const PACKED: &str = "POL_TEST_PACKED";

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

/// Loads the packed parameters in `folder`.
fn read_packed(folder: &Path) -> NativeModel {
    let model = open(folder).unwrap();
    let path = folder.join(PACKED_FILE);
    NativeModel::from_packed(&model.spec, &model.report.root, 2, &path).unwrap()
}

/// Writes packed parameters into `folder`.
fn pack(folder: &Path) {
    let mut model = open(folder).unwrap();
    let (spec, root) = (model.spec, model.report.root);
    let read = |values: &mut [f32]| -> Result<(), Box<dyn Error>> { Ok(model.read(values)?) };
    NativeModel::write_packed(&spec, &root, 2, read, &folder.join(PACKED_FILE)).unwrap();
}

/// Loads the model in `folder` in a process of its own. Returns the peak of its memory, in bytes,
/// and the hash of its logits.
fn load_in_child(folder: &Path, packed: bool) -> (u64, String) {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "loading_keeps_no_second_copy", "--nocapture"]).env(FOLDER, folder);
    if packed {
        child.env(PACKED, "1");
    }
    let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
    let line = output.lines().find_map(|line| line.strip_prefix("child: ")).unwrap();
    let (peak, found) = line.split_once(' ').unwrap();
    (peak.parse().unwrap(), found.to_owned())
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
        let folder = Path::new(&folder);
        let before = status("VmRSS");
        let model =
            if env::var_os(PACKED).is_some() { read_packed(folder) } else { read(folder).unwrap() };
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
        pack(&folder);
        let loaded = load(&folder).unwrap();
        let whole = NativeModel::new(&loaded.spec, &loaded.parameters, 2).unwrap();
        let (expected, weights) = (digest(&whole), spec().size() * bits / 8);
        for packed in [false, true] {
            // The peak is that of the load and of the first token.
            let (peak, found) = load_in_child(&folder, packed);
            assert_eq!(found, expected, "{form}, packed: {packed}");
            println!("{form}: {peak} bytes at once for weights of {weights}, packed: {packed}");
            assert!(peak > weights * 9 / 10, "{form}: {peak} of {weights} cannot be right");
            // The process itself and a block of keys and values take some more.
            let most = weights * 11 / 10 + (4 << 20);
            assert!(peak < most, "{form}: {peak} bytes at once for weights of {weights}");
        }
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
