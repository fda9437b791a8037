// SPDX-License-Identifier: Apache-2.0

//! Training of a model: logistic regression by stochastic gradient descent in integers.

use super::{
    QualityModel, SMOOTHING,
    examples::Example,
    features::{BUCKET_BITS, Features},
    logistic::{ONE, logistic},
};
use crate::{CorpusError, error::IoContext};
use pol_primitives::{Hash, MILLION, prf::Prf};
use std::{
    env,
    fs::File,
    io::{BufWriter, Read, Seek, SeekFrom, Write},
};

/// Bytes of an example that are read. The rest of a longer one is left out.
const MAX_EXAMPLE_BYTES: usize = 1 << 16;
/// Bits of a feature's count, which stand above the bucket's number.
const COUNT_BITS: u32 = 32 - *BUCKET_BITS.end() as u32;
const MAX_COUNT: u32 = (1 << COUNT_BITS) - 1;
/// Fraction bits of a weight while it is trained, and in the model.
const TRAINED_BITS: u32 = 20;
const STORED_BITS: u32 = 8;
/// One of the logistic function's units, in those of a weight.
const UNIT: i64 = (1 << TRAINED_BITS) / ONE;
const MAX_WEIGHT: i64 = (1 << (TRAINED_BITS - STORED_BITS + 15)) - 1;
/// One, and the largest, as the weight of a class.
const CLASS_ONE: u64 = 1 << 10;
const CLASS_MAX: u64 = 1 << 20;

/// Options of training. The model is a function of these and of the examples in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainConfig {
    /// Seed of the hash of features and of the order of examples.
    pub seed: u64,
    /// Binary logarithm of the number of buckets, 8 to 20.
    pub bits: u8,
    /// Number of times that each example is learned from, 1 to 1,000.
    pub passes: u32,
    /// Learning rate at the start, 1 to 10,000. It falls linearly to zero.
    pub rate: u32,
}

impl Default for TrainConfig {
    /// Returns the options of the bundled model.
    fn default() -> Self {
        Self { seed: 1, bits: 16, passes: 10, rate: 200 }
    }
}

impl TrainConfig {
    fn validate(&self) -> Result<(), CorpusError> {
        let ranges = [
            (
                "bits",
                u32::from(self.bits),
                u32::from(*BUCKET_BITS.start()),
                u32::from(*BUCKET_BITS.end()),
            ),
            ("passes", self.passes, 1, 1000),
            ("rate", self.rate, 1, 10_000),
        ];
        match ranges.iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
            None => Ok(()),
            Some((name, value, low, high)) => Err(CorpusError::InvalidOption(format!(
                "{name} of training is {value}; give a number from {low} to {high}"
            ))),
        }
    }
}

/// Progress of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainProgress {
    /// Examples were read.
    Read {
        /// Number of examples so far.
        examples: u64,
    },
    /// Examples were learned from.
    Learned {
        /// Number of steps so far.
        steps: u64,
        /// Number of steps in all.
        total: u64,
    },
}

/// Trains a model that tells good examples from poor ones.
///
/// Both classes count the same, unless one has two thousand times as many examples. Memory holds 20
/// bytes an example: the features wait in a temporary file.
///
/// # Errors
///
/// Returns an error if an option is out of its range, if a class has no examples, if an example
/// cannot be read, or if the temporary file fails.
pub fn train(
    examples: impl IntoIterator<Item = Result<Example, CorpusError>>,
    config: &TrainConfig,
    mut progress: impl FnMut(TrainProgress),
) -> Result<QualityModel, CorpusError> {
    config.validate()?;
    let features = Features::new(config.seed, config.bits);
    let mut writer = Writer::new()?;
    for example in examples {
        let example = example?;
        writer.add(&features, &example.text, example.good)?;
        progress(TrainProgress::Read { examples: writer.entries.len() as u64 });
    }
    let mut examples = writer.finish()?;
    let mut learner = Learner::new(config, &examples.entries)?;
    let mut key = Hash::default();
    key[..8].copy_from_slice(&config.seed.to_le_bytes());
    for pass in 0..config.passes {
        let mut prf = Prf::new("quality/order", &key, &[&pass.to_le_bytes()]);
        for index in prf.permutation(examples.entries.len() as u32) {
            let entry = examples.entries[index as usize];
            learner.step(examples.read(entry)?, entry.good);
            progress(TrainProgress::Learned { steps: learner.done, total: learner.total });
        }
    }
    Ok(QualityModel { bits: config.bits, seed: config.seed, features, weights: learner.stored() })
}

/// Place of an example's features in the temporary file.
#[derive(Clone, Copy)]
struct Entry {
    start: u64,
    count: u32,
    good: bool,
}

/// Writer of features: one number for each bucket of an example, with its count.
struct Writer {
    file: BufWriter<File>,
    entries: Vec<Entry>,
    end: u64,
    buckets: Vec<u32>,
}

impl Writer {
    fn new() -> Result<Self, CorpusError> {
        let file = tempfile::tempfile().io_context("create a file in", &env::temp_dir())?;
        Ok(Self { file: BufWriter::new(file), entries: Vec::new(), end: 0, buckets: Vec::new() })
    }

    fn add(&mut self, features: &Features, text: &str, good: bool) -> Result<(), CorpusError> {
        let text = &text[..text.floor_char_boundary(MAX_EXAMPLE_BYTES)];
        self.buckets.clear();
        features.visit(text, |bucket| self.buckets.push(bucket as u32));
        self.buckets.sort_unstable();
        let mut count = 0;
        for run in self.buckets.chunk_by(|one, other| one == other) {
            let times = (run.len() as u32).min(MAX_COUNT);
            let number = run[0] | (times << (32 - COUNT_BITS));
            self.file
                .write_all(&number.to_le_bytes())
                .io_context("write to a file in", &env::temp_dir())?;
            count += 1;
        }
        if self.entries.len() == u32::MAX as usize {
            return Err(CorpusError::InvalidOption(
                "there are more than four billion examples; give fewer".into(),
            ));
        }
        self.entries.push(Entry { start: self.end, count, good });
        self.end += 4 * u64::from(count);
        Ok(())
    }

    fn finish(self) -> Result<Examples, CorpusError> {
        let file = self.file.into_inner().map_err(|error| error.into_error());
        let file = file.io_context("write to a file in", &env::temp_dir())?;
        Ok(Examples { file, entries: self.entries, bytes: Vec::new() })
    }
}

/// Features of all examples, in a temporary file.
struct Examples {
    file: File,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl Examples {
    /// Reads the buckets of an example, each with its count.
    fn read(&mut self, entry: Entry) -> Result<Vec<(u32, i64)>, CorpusError> {
        self.bytes.resize(4 * entry.count as usize, 0);
        self.file
            .seek(SeekFrom::Start(entry.start))
            .and_then(|_| self.file.read_exact(&mut self.bytes))
            .io_context("read a file in", &env::temp_dir())?;
        let (numbers, _) = self.bytes.as_chunks();
        Ok(numbers
            .iter()
            .map(|bytes| {
                let number = u32::from_le_bytes(*bytes);
                let bucket = number & (u32::MAX >> COUNT_BITS);
                (bucket, i64::from(number >> (32 - COUNT_BITS)))
            })
            .collect())
    }
}

/// State of training. Every number is an integer, so each step is the same on every machine.
struct Learner {
    weights: Vec<i64>,
    /// Weights of the errors of poor and of good examples.
    classes: [i128; 2],
    rate: i128,
    done: u64,
    total: u64,
}

impl Learner {
    fn new(config: &TrainConfig, entries: &[Entry]) -> Result<Self, CorpusError> {
        let good = entries.iter().filter(|entry| entry.good).count() as u64;
        let poor = entries.len() as u64 - good;
        let class = |count: u64| {
            let weight = ((good + poor) * CLASS_ONE).checked_div(2 * count);
            weight.map(|weight| weight.min(CLASS_MAX).into()).ok_or_else(|| {
                CorpusError::InvalidOption(format!(
                    "there are {good} good and {poor} poor examples; training needs both"
                ))
            })
        };
        Ok(Self {
            weights: vec![0; 1 << config.bits],
            classes: [class(poor)?, class(good)?],
            rate: i128::from(config.rate),
            done: 0,
            total: u64::from(config.passes) * entries.len() as u64,
        })
    }

    /// Moves the weights of an example's features against the error of its score.
    fn step(&mut self, buckets: Vec<(u32, i64)>, good: bool) {
        let length: i64 = SMOOTHING + buckets.iter().map(|(_, count)| count).sum::<i64>();
        let sum: i64 =
            buckets.iter().map(|&(bucket, count)| self.weights[bucket as usize] * count).sum();
        let score = logistic(sum / length / UNIT);
        let target = if good { MILLION } else { 0 };
        let error = i128::from(target) - i128::from(score);
        let left = i128::from(self.total - self.done);
        let gain = error * self.classes[usize::from(good)] * self.rate * left;
        let unit = i128::from(MILLION) * i128::from(CLASS_ONE) * i128::from(self.total);
        let gain = (gain << TRAINED_BITS) / unit;
        let gain = gain.clamp(-(1 << 45), 1 << 45) as i64;
        for (bucket, count) in buckets {
            let weight = &mut self.weights[bucket as usize];
            *weight = (*weight + gain * count / length).clamp(-MAX_WEIGHT, MAX_WEIGHT);
        }
        self.done += 1;
    }

    /// Returns the weights as the model stores them.
    fn stored(self) -> Vec<i16> {
        const SHIFT: u32 = TRAINED_BITS - STORED_BITS;
        let round = |weight: i64| ((weight + (1 << (SHIFT - 1))) >> SHIFT).min(i16::MAX.into());
        self.weights.into_iter().map(|weight| round(weight) as i16).collect()
    }
}
