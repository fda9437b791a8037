// SPDX-License-Identifier: Apache-2.0

//! Measurement of the tolerance of the native numerics profile: a distance between that of honest
//! replays on different machines and that of the cheapest cheats.
//!
//! libtorch selects its kernels when it is loaded. So each setting that stands for other hardware
//! trains in a process of its own: this command again, with the hidden option `--task`.

mod report;
mod synthetic_text;
mod workload;

use anyhow::Result;
use clap::{Args, ValueEnum};
use pol_engine::deviation::Deviation;
use pol_primitives::recipe::Tier;
use report::{Calibration, Row};
use std::path::PathBuf;
use workload::Workload;

/// Tier of the lease that is trained.
const TIER: Tier = Tier::Whale;

const EXAMPLES: &str = "\
Trains a lease, then trains its first, middle and last segment again: honestly with the kernels of \
other machines, and as cheats would. Prints the distance of each from the first training, and a \
tolerance between them. Takes minutes.

Examples:
  pol-trainer calibrate                            the demo's model
  pol-trainer calibrate --width 256 --steps 5      a wider one, with segments of five steps
  pol-trainer recipe new --data data --tolerance 2000
      use the printed tolerance in a recipe";

/// Options of `calibrate`.
#[derive(Args, Clone)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CalibrateOptions {
    /// Width of the model.
    #[arg(long, value_name = "N", default_value_t = 128)]
    width: u32,
    /// Blocks of the model.
    #[arg(long, value_name = "N", default_value_t = 4)]
    layers: u16,
    /// Attention heads.
    #[arg(long, value_name = "N", default_value_t = 4)]
    heads: u16,
    /// Entries of the vocabulary.
    #[arg(long, value_name = "N", default_value_t = 8_192)]
    vocabulary: u32,
    /// Tokens of a sequence.
    #[arg(long, value_name = "N", default_value_t = 128)]
    sequence: u16,
    /// Sequences of a micro-batch.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(2..)
    )]
    micro_batch: u16,
    /// Micro-batches of a step.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    accumulation: u16,
    /// Steps of a segment.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    steps: u16,
    /// Segments to train. The first, the middle and the last one are measured.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    segments: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Do one part of the work in this process. Used by the command itself.
    #[arg(long, value_enum, hide = true, requires = "folder")]
    task: Option<Task>,
    /// Folder of the states of that part.
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
}

/// Part of the work that one process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Train the lease, and keep the starts and ends of the measured segments.
    Train,
    /// Train the measured segments again.
    Replay,
    /// Train the measured segments as cheats would.
    Cheat,
}

/// Environment variables with their values.
type Variables = &'static [(&'static str, &'static str)];

/// Settings that stand for other machines, with the variables in which they differ from stock ones.
const MACHINES: [(&str, Variables); 6] = [
    ("the same, again", &[]),
    ("2 threads", &[("OMP_NUM_THREADS", "2"), ("MKL_NUM_THREADS", "2")]),
    ("3 threads", &[("OMP_NUM_THREADS", "3"), ("MKL_NUM_THREADS", "3")]),
    (
        "AVX2",
        &[("ATEN_CPU_CAPABILITY", "avx2"), ("MKL_CBWR", "AVX2"), ("ONEDNN_MAX_CPU_ISA", "AVX2")],
    ),
    (
        "SSE, compatible",
        &[
            ("ATEN_CPU_CAPABILITY", "default"),
            ("MKL_CBWR", "COMPATIBLE"),
            ("ONEDNN_MAX_CPU_ISA", "SSE41"),
        ],
    ),
    (
        "SSE, compatible, 2 threads",
        &[
            ("ATEN_CPU_CAPABILITY", "default"),
            ("MKL_CBWR", "COMPATIBLE"),
            ("ONEDNN_MAX_CPU_ISA", "SSE41"),
            ("OMP_NUM_THREADS", "2"),
            ("MKL_NUM_THREADS", "2"),
        ],
    ),
];

/// Cheats with their names, and `true` for those that a tolerance must catch. The others are
/// measured to know their price, since nothing catches them below the tolerance.
const CHEATS: [(&str, Deviation, bool); 10] = [
    ("learning rate + 1 %", Deviation::Rate(1_010_000), true),
    ("learning rate − 1 %", Deviation::Rate(990_000), true),
    ("last step skipped", Deviation::SkippedStep, true),
    ("half of every batch", Deviation::HalfBatch, true),
    ("gradients at bfloat16 parameters", Deviation::Rounded(7), true),
    ("first moments + 1 %", Deviation::Momentum(1_010_000), true),
    ("gradients at TF32 parameters", Deviation::Rounded(10), false),
    ("drift of 3 %", Deviation::Drift(30_000), false),
    ("drift of 1 %", Deviation::Drift(10_000), false),
    ("drift of 0.1 %", Deviation::Drift(1_000), false),
];

/// Calibrates and prints the result.
pub(crate) fn run(options: &CalibrateOptions) -> Result<()> {
    let workload = Workload::new(options)?;
    if let (Some(task), Some(folder)) = (options.task, &options.folder) {
        println!("{}", serde_json::to_string(&workload.run(task, folder)?)?);
        return Ok(());
    }
    let calibration = calibrate(options, &workload)?;
    if options.json {
        println!("{}", serde_json::to_string(&calibration)?);
    } else {
        calibration.print();
    }
    Ok(())
}

/// Runs all tasks, each in a process of its own.
fn calibrate(options: &CalibrateOptions, workload: &Workload) -> Result<Calibration> {
    let folder = tempfile::tempdir()?;
    let run_task = |task, variables: &[(&str, &str)]| {
        workload.run_in_child(options, folder.path(), task, variables)
    };
    run_task(Task::Train, &[])?;
    let mut honest = Vec::new();
    let mut replay = |name: &str, variables: &[(&str, &str)]| -> Result<()> {
        let rows = run_task(Task::Replay, variables)?;
        honest.extend(rows.into_iter().map(|row| Row { name: name.into(), ..row }));
        Ok(())
    };
    for (name, variables) in MACHINES {
        replay(name, variables)?;
    }
    let cuda = pol_engine::device::cuda_is_available();
    if cuda {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_else(|_| "0".into());
        replay("CUDA", &[("CUDA_VISIBLE_DEVICES", visible.as_str())])?;
    }
    let cheats = run_task(Task::Cheat, &[])?;
    Ok(Calibration::new(workload.recipe(), cuda, honest, cheats))
}
