// SPDX-License-Identifier: Apache-2.0

//! Measures time and memory of loading a made model of about a billion parameters:
//!
//! ```sh
//! cargo run --release -p pol-generate --example loading -- bfloat16 [BLOCKS]
//! ```
//!
//! The first argument is a form of weights of `tests/common`. A block has 50 million parameters.
//! The model is loaded twice, each time in a process of its own: from its own file, and from packed
//! parameters.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{FORMS, round};
use pol_generate::{LanguageModel, NativeModel, PACKED_FILE, Prediction, SequenceInput};
use pol_import::{ImportReport, ImportedModel, WEIGHTS_FILE, open};
use pol_primitives::model::{Activation, Biases, ModelSpec, Norm, PositionEncoding};
use std::{env, error::Error, fs, io::Write, path::Path, process::Command, thread, time::Instant};

fn spec(blocks: u16) -> ModelSpec {
    ModelSpec {
        key_value_heads: 8,
        activation: Activation::Silu,
        gated: true,
        norm: Norm::Rms { epsilon: 10_000 },
        positions: PositionEncoding::Rotary { dimensions: 64, base: 10_000, interleaved: false },
        biases: Biases::default(),
        ..ModelSpec::gpt2(32_000, 2_048, blocks, 32, 6_144, 256)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [first, folder, file] = &arguments[..]
        && first == "--load"
    {
        return load(Path::new(folder), file);
    }
    let name = arguments.first().ok_or("give a form, such as bfloat16, and a number of blocks")?;
    let blocks = arguments.get(1).map_or(Ok(18), |blocks| blocks.parse())?;
    let form = FORMS.iter().find(|(form, _)| form == name).ok_or("there is no such form")?;
    let (spec, scratch) = (spec(blocks), tempfile::tempdir()?);
    let value = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 29) as f32;
    let mut parameters: Vec<f32> = (0..spec.size()).map(|i| value(i) - 0.015_625).collect();
    round(&spec, &mut parameters, form.1);
    let folder = scratch.path().join("model");
    let report = ImportReport::default();
    ImportedModel { spec, parameters, root: [0; 32], tokenizer: None, report }
        .save(&folder, false)?;
    println!("{} million parameters, {name}", spec.size() / 1_000_000);
    let (mut model, threads) = (open(&folder)?, thread::available_parallelism()?.get());
    let (root, path) = (model.report.root, folder.join(PACKED_FILE));
    let read = |values: &mut [f32]| -> Result<(), Box<dyn Error>> { Ok(model.read(values)?) };
    NativeModel::write_packed(&spec, &root, threads, read, &path)?;
    // The files are in the page cache: they were just written.
    for file in [WEIGHTS_FILE, PACKED_FILE] {
        print!("{file}, {} MB: ", fs::metadata(folder.join(file))?.len() / 1_000_000);
        std::io::stdout().flush()?;
        let mut child = Command::new(env::current_exe()?);
        if !child.arg("--load").arg(&folder).arg(file).status()?.success() {
            return Err("the model was not loaded".into());
        }
    }
    Ok(())
}

/// Loads the model in `folder` from a file, processes a token, and prints time and memory.
fn load(folder: &Path, file: &str) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut imported = open(folder)?;
    let (spec, threads) = (imported.spec, thread::available_parallelism()?.get());
    let model = if file == PACKED_FILE {
        NativeModel::from_packed(&spec, &imported.report.root, threads, &folder.join(file))?
    } else {
        NativeModel::from_reader::<Box<dyn Error>>(&spec, threads, |values| {
            Ok(imported.read(values)?)
        })?
    };
    let loaded = start.elapsed().as_secs_f64();
    let (mut cache, mut prediction) = (model.new_cache(64)?, Prediction::default());
    let mut next = |token: u32| -> Result<f64, Box<dyn Error>> {
        let start = Instant::now();
        let (cache, prediction) = (&mut cache, &mut prediction);
        model.forward(&mut [SequenceInput { cache, tokens: &[token], prediction }])?;
        Ok(start.elapsed().as_secs_f64())
    };
    let first = next(5)?;
    let others = (0..15).map(|i| next(100 * i)).collect::<Result<Vec<_>, _>>()?;
    let best = others.into_iter().fold(f64::INFINITY, f64::min);
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!(
        "loaded in {loaded:.2} s, first token after {:.2} s, then {:.1} tokens/s; {} MB of weights \
         are read for a token; {peak}",
        loaded + first,
        1.0 / best,
        model.bytes_per_token() / 1_000_000
    );
    Ok(())
}
