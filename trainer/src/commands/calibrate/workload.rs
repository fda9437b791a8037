// SPDX-License-Identifier: Apache-2.0

//! The lease that a calibration trains, and the tasks on it.

use super::{
    CHEATS, CalibrateOptions, TIER, Task,
    report::{Distance, Row},
    synthetic_text::SyntheticText,
};
use crate::preset::RecipeSizes;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use pol_engine::{
    LeaseData, LeaseJob, TrainingState,
    determinism::{self, NumericsMode},
    deviation::{Deviation, train_with_deviation},
    evaluate, segment_distance, sketch_segment, train_segment,
};
use pol_model::initial_parameters;
use pol_primitives::{
    data::ShardId,
    lease::Lease,
    recipe::{MIN_TOLERANCE, Recipe},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Account of the trainer.
const TRAINER: [u8; 32] = [1; 32];
/// Sequences on which harm is measured, and which no segment reads.
const HELD_OUT_SEQUENCES: usize = 64;

/// A lease on synthetic text.
pub(super) struct Workload {
    recipe: Recipe,
    lease: Lease,
    data: LeaseData,
    held_out: Vec<Vec<u32>>,
    /// Indices of the measured segments.
    segments: Vec<u16>,
}

impl Workload {
    pub(super) fn new(options: &CalibrateOptions) -> Result<Self> {
        let recipe = recipe(options)?;
        let count = recipe.shards_per_lease(TIER);
        let mut text = SyntheticText::new(options.vocabulary);
        let shards = (0..count).map(|_| text.tokens(recipe.shard_tokens + 1)).collect();
        let data = LeaseData::new(&recipe, shards)?;
        let ids: Vec<ShardId> = (0..count).map(|index| ShardId { manifest: 0, index }).collect();
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
            shards: ids.try_into().unwrap_or_default(),
        };
        let length = u32::from(options.sequence) + 1;
        let held_out = (0..HELD_OUT_SEQUENCES).map(|_| text.tokens(length)).collect();
        let mut segments = vec![0, options.segments / 2, options.segments - 1];
        segments.dedup();
        Ok(Self { recipe, lease, data, held_out, segments })
    }

    /// Returns the recipe of the lease.
    pub(super) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    fn job(&self) -> LeaseJob<'_> {
        LeaseJob {
            recipe: &self.recipe,
            lease: &self.lease,
            account: &TRAINER,
            data: &self.data,
            workers: 1,
        }
    }

    /// Runs `task` in a process of its own with stock settings on one thread, except for the given
    /// environment variables.
    pub(super) fn run_in_child(
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
        determinism::configure(&mut command, NumericsMode::Stock);
        command.env("CUDA_VISIBLE_DEVICES", "").envs(variables.iter().copied());
        let output = command.output()?;
        ensure!(
            output.status.success(),
            "a measurement failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("a measurement printed no figures")
    }

    /// Runs `task` in this process. States are kept in `folder`.
    pub(super) fn run(&self, task: Task, folder: &Path) -> Result<Vec<Row>> {
        match task {
            Task::Train => {
                self.train(folder)?;
                Ok(Vec::new())
            }
            Task::Replay => Ok(vec![self.measure(folder, "", false, None)?]),
            Task::Cheat => CHEATS
                .into_iter()
                .map(|(name, deviation, must)| self.measure(folder, name, must, Some(deviation)))
                .collect(),
        }
    }

    /// Trains the lease, and keeps the starts and ends of the measured segments.
    fn train(&self, folder: &Path) -> Result<()> {
        let parameters = initial_parameters(&self.recipe.model, &self.recipe.seed);
        let mut state = TrainingState::fresh(parameters);
        for segment in 0..self.recipe.segments {
            let measured = self.segments.contains(&segment);
            if measured {
                state.save(&start_path(folder, segment))?;
            }
            train_segment(&self.job(), &mut state, segment)?;
            if measured {
                state.save(&end_path(folder, segment))?;
            }
        }
        Ok(())
    }

    /// Trains the measured segments again, and measures the distances from the reference.
    fn measure(
        &self,
        folder: &Path,
        name: &str,
        must_be_caught: bool,
        deviation: Option<Deviation>,
    ) -> Result<Row> {
        let distances = self
            .segments
            .iter()
            .map(|&segment| self.measure_segment(folder, segment, deviation))
            .collect::<Result<_>>()?;
        Ok(Row { name: name.into(), must_be_caught, distances })
    }

    fn measure_segment(
        &self,
        folder: &Path,
        segment: u16,
        deviation: Option<Deviation>,
    ) -> Result<Distance> {
        let (model, count) = (&self.recipe.model, usize::try_from(self.recipe.model.size())?);
        let start = TrainingState::load(&start_path(folder, segment), count)?;
        let reference = TrainingState::load(&end_path(folder, segment), count)?;
        let mut end = start.clone();
        match deviation {
            None => drop(train_segment(&self.job(), &mut end, segment)?),
            Some(deviation) => train_with_deviation(&self.job(), &mut end, segment, deviation)?,
        }
        let exact = segment_distance(model, &start, &end, &reference)?;
        let [claimed, replayed] = [&end, &reference]
            .map(|end| sketch_segment(model, &self.recipe.seed, &TRAINER, segment, &start, end));
        let harm = if matches!(deviation, Some(Deviation::Drift(_))) {
            Some(self.harm(&start, &reference, &end)?)
        } else {
            None
        };
        Ok(Distance {
            segment,
            exact: exact.map(|distance| distance.is_finite().then_some(distance)),
            sketched: claimed?.distance(&replayed?),
            harm,
        })
    }

    /// Returns the share of the improvement on held-out text that `end` lacks.
    fn harm(
        &self,
        start: &TrainingState,
        reference: &TrainingState,
        end: &TrainingState,
    ) -> Result<f64> {
        let (before, honest, drifted) = (self.loss(start)?, self.loss(reference)?, self.loss(end)?);
        Ok((drifted - honest) / (before - honest))
    }

    /// Returns the mean loss on held-out text.
    fn loss(&self, state: &TrainingState) -> Result<f64> {
        let sequences: Vec<&[u32]> = self.held_out.iter().map(Vec::as_slice).collect();
        Ok(evaluate(&self.recipe.model, &state.parameters, &sequences, 1)?)
    }
}

/// Returns the recipe of the native profile with the given sizes.
fn recipe(options: &CalibrateOptions) -> Result<Recipe> {
    let inner_steps = options
        .steps
        .checked_mul(options.segments)
        .context("a lease of that many segments and steps is too long")?;
    let sizes = RecipeSizes {
        vocabulary: options.vocabulary,
        width: options.width,
        layers: options.layers,
        heads: options.heads,
        sequence: options.sequence,
        shard_tokens: u32::from(options.sequence).saturating_mul(32),
        tiers: [(options.micro_batch, options.accumulation, inner_steps, 1); 4],
        segments: options.segments,
    };
    let recipe = sizes.recipe([0; 32]).into_native(MIN_TOLERANCE);
    recipe.validate()?;
    Ok(recipe)
}

fn start_path(folder: &Path, segment: u16) -> PathBuf {
    folder.join(format!("start-{segment}"))
}

fn end_path(folder: &Path, segment: u16) -> PathBuf {
    folder.join(format!("end-{segment}"))
}
