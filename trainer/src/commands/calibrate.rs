//! The tolerance of the native numerics profile, measured: between how far honest replays end from
//! each other and how near the cheapest cheats come.
//!
//! libtorch chooses its kernels when it is loaded, so every setting that stands for other hardware
//! trains in a process of its own, which is this command again with `--task`.

use crate::commands::recipe::{Sizes, recipe};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use pol_engine::{
    Job, LeaseData, TrainingState,
    determinism::{self, Mode},
    evaluate,
    native::{self, Deviation},
    train_segment,
};
use pol_model::initial_parameters;
use pol_primitives::{
    MILLION, Ppm,
    data::ShardId,
    lease::Lease,
    prf::Prf,
    recipe::{MAX_TOLERANCE, MIN_TOLERANCE, Numerics, Recipe, Tier},
    sketch::{PARTS, part},
};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

const TIER: Tier = Tier::Whale;
const TRAINER: [u8; 32] = [1; 32];
/// Sequences that harm is measured on, which no segment reads.
const HELD_OUT: usize = 64;
/// How many times the largest honest distance a tolerance has to be, and how many times the
/// tolerance a cheat: with less, what a sketch sees of them may fall on the other side.
const HONEST_MARGIN: f64 = 3.0;
const CHEAT_MARGIN: f64 = 2.0;

#[derive(Args, Clone)]
pub struct CalibrateOptions {
    /// Width of the model.
    #[arg(long, default_value_t = 128)]
    width: u32,
    /// Blocks of the model.
    #[arg(long, default_value_t = 4)]
    layers: u16,
    /// Attention heads.
    #[arg(long, default_value_t = 4)]
    heads: u16,
    /// Entries of the vocabulary.
    #[arg(long, default_value_t = 8_192)]
    vocabulary: u32,
    /// Tokens of a sequence.
    #[arg(long, default_value_t = 128)]
    sequence: u16,
    /// Sequences of a micro-batch.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..))]
    micro_batch: u16,
    /// Micro-batches of a step.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    accumulation: u16,
    /// Steps of a segment.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    /// Segments to train; the first, the middle and the last one are measured.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=64))]
    segments: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Do one part of the work in this process; used by the command itself.
    #[arg(long, value_enum, hide = true, requires = "folder")]
    task: Option<Task>,
    /// Folder of that part's states.
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
}

/// What a process of the measurement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Trains the lease, and keeps starts and ends of the measured segments.
    Train,
    /// Trains the measured segments again.
    Replay,
    /// Trains them as cheats would.
    Cheat,
}

/// Settings that stand for other machines, by the variables that differ from stock ones.
const MACHINES: [(&str, &[(&str, &str)]); 6] = [
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

/// What cheats do, and whether a tolerance must catch it. The others are measured to know their
/// price: below the tolerance, nothing catches them.
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

/// How far one end of a segment is from the end that the reference reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Distance {
    /// The segment.
    pub segment: u16,
    /// In each part, exactly; nothing where the reference changed nothing.
    pub exact: [Option<f64>; PARTS],
    /// In each part, as sketches estimate it.
    pub sketched: [Ppm; PARTS],
    /// Share of the segment's improvement on other text that is lost, where that was measured.
    pub harm: Option<f64>,
}

impl Distance {
    /// The largest exact distance, and its part.
    fn largest(&self) -> (f64, usize) {
        let known =
            self.exact.iter().enumerate().filter_map(|(part, distance)| Some(((*distance)?, part)));
        known.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, 0))
    }

    /// The largest distance that sketches see.
    fn largest_sketched(&self) -> Ppm {
        self.sketched.into_iter().max().unwrap_or(0)
    }
}

/// One setting or cheat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// Whether a tolerance must tell it from honest replays.
    pub must_be_caught: bool,
    /// For each measured segment.
    pub distances: Vec<Distance>,
}

/// What was measured, and what follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Calibration {
    /// Values of the model.
    pub parameters: u64,
    /// Steps of a segment.
    pub steps: u16,
    /// Whether a CUDA device took part.
    pub cuda: bool,
    /// Honest replays.
    pub honest: Vec<Row>,
    /// Cheats.
    pub cheats: Vec<Row>,
    /// Largest distance of an honest replay.
    pub spread: f64,
    /// Smallest distance of a cheat that must be caught.
    pub cheapest: f64,
    /// The tolerance to put into a recipe; none where there is none with a margin to both sides.
    pub tolerance: Option<Ppm>,
}

impl Calibration {
    fn new(recipe: &Recipe, cuda: bool, honest: Vec<Row>, cheats: Vec<Row>) -> Self {
        let distances = |rows: &[Row], must: bool| -> Vec<f64> {
            let rows = rows.iter().filter(|row| row.must_be_caught == must);
            rows.flat_map(|row| &row.distances).map(|distance| distance.largest().0).collect()
        };
        let spread = distances(&honest, false).into_iter().fold(0.0, f64::max);
        let cheapest = distances(&cheats, true).into_iter().fold(f64::INFINITY, f64::min);
        Self {
            parameters: recipe.model.size(),
            steps: recipe.steps_per_segment(TIER),
            cuda,
            honest,
            cheats,
            spread,
            cheapest,
            tolerance: propose(spread, cheapest),
        }
    }

    fn print(&self) {
        println!(
            "{} parameters, {} steps a segment, CUDA: {}",
            self.parameters,
            self.steps,
            if self.cuda { "yes" } else { "no" }
        );
        println!(
            "largest relative L2 distance from the reference, in millionths, and where; sketched; harm in % of the improvement"
        );
        for (title, rows) in [("honest", &self.honest), ("cheats", &self.cheats)] {
            println!(
                "\n{title:<34} {:>7} {:>10} {:>9} {:>7}  part",
                "segment", "exact", "sketched", "harm"
            );
            for row in rows {
                for distance in &row.distances {
                    let (exact, at) = distance.largest();
                    let harm =
                        distance.harm.map_or(String::new(), |harm| format!("{:.2}", harm * 100.0));
                    let at = part(at).filter(|_| exact > 0.0);
                    let at = at
                        .map_or(String::new(), |(array, group)| format!("{group:?} of {array:?}"));
                    let sketched = distance.largest_sketched();
                    println!(
                        "{:<34} {:>7} {:>10.1} {sketched:>9} {harm:>7}  {at}",
                        row.name,
                        distance.segment,
                        exact * 1e6
                    );
                }
            }
        }
        println!(
            "\nhonest replays end up to {:.1} millionths apart, the cheapest cheat {:.1}",
            self.spread * 1e6,
            self.cheapest * 1e6
        );
        match self.tolerance {
            Some(tolerance) => {
                let share = f64::from(tolerance) / f64::from(MILLION);
                println!(
                    "tolerance: {tolerance} millionths, {:.1} times the first; the second is {:.1} times it",
                    share / self.spread,
                    self.cheapest / share
                );
                for row in &self.cheats {
                    let seen = row.distances.iter().map(Distance::largest_sketched);
                    let caught = seen.filter(|&sketched| sketched > tolerance).count();
                    println!(
                        "  {:<34} caught in {caught} of {} segments",
                        row.name,
                        row.distances.len()
                    );
                }
            }
            None => println!(
                "no tolerance has a margin of {HONEST_MARGIN} to the first and {CHEAT_MARGIN} to the second"
            ),
        }
    }
}

/// A tolerance between honest replays and cheats, as many times the one as the other is it, if that
/// leaves both their margins.
fn propose(spread: f64, cheapest: f64) -> Option<Ppm> {
    let least = (spread * HONEST_MARGIN).max(f64::from(MIN_TOLERANCE) / 1e6);
    let most = (cheapest / CHEAT_MARGIN).min(f64::from(MAX_TOLERANCE) / 1e6);
    let middle = (spread * cheapest).sqrt();
    (least <= most).then(|| (middle.clamp(least, most) * 1e6).round() as Ppm)
}

pub fn run(options: &CalibrateOptions) -> Result<()> {
    let work = Work::new(options)?;
    if let (Some(task), Some(folder)) = (options.task, &options.folder) {
        println!("{}", serde_json::to_string(&work.task(task, folder)?)?);
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    work.child(options, folder.path(), Task::Train, &[])?;
    let mut honest = Vec::new();
    let mut replay = |name: &str, variables: &[(&str, &str)]| -> Result<()> {
        let rows = work.child(options, folder.path(), Task::Replay, variables)?;
        honest.extend(rows.into_iter().map(|row| Row { name: name.into(), ..row }));
        Ok(())
    };
    for (name, variables) in MACHINES {
        replay(name, variables)?;
    }
    let cuda = native::cuda();
    if cuda {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_else(|_| "0".into());
        replay("CUDA", &[("CUDA_VISIBLE_DEVICES", visible.as_str())])?;
    }
    let cheats = work.child(options, folder.path(), Task::Cheat, &[])?;
    let calibration = Calibration::new(&work.recipe, cuda, honest, cheats);
    if options.json {
        println!("{}", serde_json::to_string(&calibration)?)
    } else {
        calibration.print()
    }
    Ok(())
}

/// The lease that is trained.
struct Work {
    recipe: Recipe,
    lease: Lease,
    data: LeaseData,
    held_out: Vec<Vec<u32>>,
    /// The measured segments.
    segments: Vec<u16>,
}

impl Work {
    fn new(options: &CalibrateOptions) -> Result<Self> {
        let CalibrateOptions {
            width,
            layers,
            heads,
            vocabulary,
            sequence,
            micro_batch,
            accumulation,
            steps,
            segments,
            ..
        } = *options;
        let inner_steps = steps
            .checked_mul(segments)
            .context("a lease of that many segments and steps is too long")?;
        let sizes = Sizes {
            vocabulary,
            width,
            layers,
            heads,
            sequence,
            shard_tokens: u32::from(sequence).saturating_mul(32),
            tiers: [(micro_batch, accumulation, inner_steps, 1); 4],
            segments,
        };
        let recipe = Recipe {
            numerics: Numerics::Native { tolerance: MIN_TOLERANCE },
            ..recipe(sizes, [0; 32])
        };
        recipe.validate()?;
        let count = recipe.shards_per_lease(TIER);
        let mut text = Text::new(vocabulary);
        let data = LeaseData::new(
            &recipe,
            (0..count).map(|_| text.tokens(recipe.shard_tokens + 1)).collect(),
        )?;
        let shards: Vec<ShardId> = (0..count).map(|index| ShardId { manifest: 0, index }).collect();
        let lease = Lease {
            nonce: 0,
            tier: TIER,
            round: 1,
            due_round: 1,
            seed: [0; 32],
            base_root: [0; 32],
            head_tokens: 0,
            recipe: recipe.hash(),
            carry: [0; 32],
            carry_round: 0,
            shards: shards.try_into().unwrap_or_default(),
        };
        let held_out = (0..HELD_OUT).map(|_| text.tokens(u32::from(sequence) + 1)).collect();
        let mut measured = vec![0, segments / 2, segments - 1];
        measured.dedup();
        Ok(Self { recipe, lease, data, held_out, segments: measured })
    }

    fn job(&self) -> Job<'_> {
        Job {
            recipe: &self.recipe,
            lease: &self.lease,
            account: &TRAINER,
            data: &self.data,
            workers: 1,
        }
    }

    /// Runs `task` in a process with stock settings on one thread, but for these `variables`.
    fn child(
        &self,
        options: &CalibrateOptions,
        folder: &Path,
        task: Task,
        variables: &[(&str, &str)],
    ) -> Result<Vec<Row>> {
        let mut command = Command::new(std::env::current_exe()?);
        let task = task.to_possible_value().context("every task has a name")?;
        command.args(["calibrate", "--task", task.get_name(), "--folder"]).arg(folder);
        for (flag, value) in [
            ("--width", options.width),
            ("--layers", options.layers.into()),
            ("--heads", options.heads.into()),
            ("--vocabulary", options.vocabulary),
            ("--sequence", options.sequence.into()),
            ("--micro-batch", options.micro_batch.into()),
            ("--accumulation", options.accumulation.into()),
            ("--steps", options.steps.into()),
            ("--segments", options.segments.into()),
        ] {
            command.args([flag, &value.to_string()]);
        }
        determinism::configure(&mut command, Mode::Stock);
        command.env("CUDA_VISIBLE_DEVICES", "").envs(variables.iter().copied());
        let output = command.output()?;
        ensure!(
            output.status.success(),
            "a measurement failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("a measurement printed no figures")
    }

    fn task(&self, task: Task, folder: &Path) -> Result<Vec<Row>> {
        match task {
            Task::Train => {
                let mut state =
                    TrainingState::fresh(initial_parameters(&self.recipe.model, &self.recipe.seed));
                for segment in 0..self.recipe.segments {
                    let measured = self.segments.contains(&segment);
                    if measured {
                        state.save(&start_of(folder, segment))?;
                    }
                    train_segment(&self.job(), &mut state, segment)?;
                    if measured {
                        state.save(&end_of(folder, segment))?;
                    }
                }
                Ok(Vec::new())
            }
            Task::Replay => Ok(vec![self.measure(folder, "", false, None)?]),
            Task::Cheat => {
                let cheats = CHEATS.into_iter();
                cheats
                    .map(|(name, deviation, must)| {
                        self.measure(folder, name, must, Some(deviation))
                    })
                    .collect()
            }
        }
    }

    /// Trains the measured segments again, and compares with what the reference kept.
    fn measure(
        &self,
        folder: &Path,
        name: &str,
        must_be_caught: bool,
        deviation: Option<Deviation>,
    ) -> Result<Row> {
        let (model, count) = (&self.recipe.model, usize::try_from(self.recipe.model.size())?);
        let mut distances = Vec::new();
        for &segment in &self.segments {
            let start = TrainingState::load(&start_of(folder, segment), count)?;
            let reference = TrainingState::load(&end_of(folder, segment), count)?;
            let mut end = start.clone();
            match deviation {
                None => drop(train_segment(&self.job(), &mut end, segment)?),
                Some(deviation) => native::deviate(&self.job(), &mut end, segment, deviation)?,
            }
            let exact = native::distance(model, &start, &end, &reference)?;
            let [claimed, replayed] = [&end, &reference].map(|end| {
                native::sketch(model, &self.recipe.seed, &TRAINER, segment, &start, end)
            });
            let harm = matches!(deviation, Some(Deviation::Drift(_))).then(|| -> Result<f64> {
                let [before, honest, drifted] =
                    [&start, &reference, &end].map(|state| self.loss(state));
                let (before, honest, drifted) = (before?, honest?, drifted?);
                Ok((drifted - honest) / (before - honest))
            });
            distances.push(Distance {
                segment,
                exact: exact.map(|distance| distance.is_finite().then_some(distance)),
                sketched: claimed?.distance(&replayed?),
                harm: harm.transpose()?,
            });
        }
        Ok(Row { name: name.into(), must_be_caught, distances })
    }

    /// Mean loss on text that nothing was trained on.
    fn loss(&self, state: &TrainingState) -> Result<f64> {
        let sequences: Vec<&[u32]> = self.held_out.iter().map(Vec::as_slice).collect();
        Ok(evaluate(&self.recipe.model, &state.parameters, &sequences, 1)?)
    }
}

fn start_of(folder: &Path, segment: u16) -> PathBuf {
    folder.join(format!("start-{segment}"))
}

fn end_of(folder: &Path, segment: u16) -> PathBuf {
    folder.join(format!("end-{segment}"))
}

/// Text with a rule to learn: three in four tokens follow from the one before, the others are
/// drawn, small ones more often than large.
struct Text {
    prf: Prf,
    vocabulary: u32,
    token: u32,
}

impl Text {
    fn new(vocabulary: u32) -> Self {
        Self { prf: Prf::new("pol/calibrate/1", &[0; 32], &[]), vocabulary, token: 0 }
    }

    fn tokens(&mut self, count: u32) -> Vec<u32> {
        let mut next = || {
            self.token = if self.prf.below(4) > 0 {
                (self.token.wrapping_mul(5).wrapping_add(3)) % self.vocabulary
            } else {
                let most = self.prf.below(self.vocabulary) + 1;
                self.prf.below(most)
            };
            self.token
        };
        (0..count).map(|_| next()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_keeps_its_distance_from_both() {
        assert_eq!(propose(1e-4, 1e-2), Some(1_000), "the geometric mean");
        assert_eq!(propose(1e-3, 1e-2), Some(3_162));
        assert_eq!(propose(1e-6, 1e-2), Some(MIN_TOLERANCE), "never smaller than rounding allows");
        assert_eq!(propose(2e-3, 1.3e-2), Some(6_000), "three times the spread");
        assert_eq!(propose(2e-3, 1.1e-2), None);
        assert_eq!(propose(1e-6, 1e-3), None);
    }
}
