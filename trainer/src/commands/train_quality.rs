// SPDX-License-Identifier: Apache-2.0

//! `data train-quality`: a model of quality from good and poor texts.

use super::progress::progress_bar;
use anyhow::{Context, Result, ensure};
use clap::Args;
use pol_corpus::{
    CorpusError, ReadOptions,
    quality::{
        Example, ExampleFile, KindReport, Measurement, QualityModel, QualityReport,
        ThresholdReport, TrainConfig, TrainProgress, labelled, train,
    },
};
use pol_primitives::{Hash, MILLION, Ppm};
use serde::Serialize;
use std::{
    cell::Cell,
    env,
    io::{self, BufWriter, Write},
    iter,
    path::{Path, PathBuf},
};
use tempfile::{NamedTempFile, TempPath};

/// Fewest texts of each label. With fewer, a model tells the texts apart and not their kinds.
const MIN_TEXTS: u64 = 50;

const TRAIN_QUALITY_EXAMPLES: &str = "\
Examples:
  pol-trainer data train-quality --good books --poor spam.jsonl.gz --out quality.model
      learn from four fifths of the texts, and measure the model on the others
  pol-trainer data ingest --input texts --out data --quality-model quality.model --min-quality 40
      use it
  python3 scripts/quality-set --out set
  pol-trainer data train-quality --examples set/train.jsonl --test set/test.jsonl --out model
      make the model that ships with the program again

It takes 50 good and 50 poor texts, better some thousands. The same texts and options give the \
same bytes on any machine. AUROC is the probability that a \
good text scores higher than a poor one. It and all shares are in millionths. Texts that are like \
each other can be on both sides of the measurement; texts of other sources, named by --test, tell \
more.";

/// Options of `data train-quality`.
#[derive(Args)]
#[command(after_help = TRAIN_QUALITY_EXAMPLES)]
pub(crate) struct TrainQualityOptions {
    /// File or folder with texts to learn from, or `-`, in any format that `data ingest` reads. Can
    /// be repeated.
    #[arg(long, value_name = "PATH", required_unless_present = "examples")]
    good: Vec<PathBuf>,
    /// File or folder with texts to leave out, or `-`. Can be repeated.
    #[arg(long, value_name = "PATH", required_unless_present = "examples")]
    poor: Vec<PathBuf>,
    /// File of examples: a JSON object per line, with text, good (true or false), and kind. Can be
    /// repeated.
    #[arg(long, value_name = "FILE")]
    examples: Vec<PathBuf>,
    /// File of examples to measure the model on, in place of a share of the texts. Can be repeated.
    #[arg(long, value_name = "FILE", conflicts_with = "held_out")]
    test: Vec<PathBuf>,
    /// File to write the model to.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if there is one.
    #[arg(long)]
    force: bool,
    /// Share of the texts that the model is measured on, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 20)]
    held_out: u8,
    /// Field of tables that holds the text; dots lead into nested objects. Can be repeated.
    /// [default: text, content, or another usual name]
    #[arg(long, value_name = "NAME")]
    text_field: Vec<String>,
    /// Seed of the hash of features, of the order of texts, and of the held-out share.
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().seed)]
    seed: u64,
    /// Binary logarithm of the number of weights, 8 to 20.
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().bits)]
    bits: u8,
    /// Number of times that each text is learned from.
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().passes)]
    passes: u32,
    /// Learning rate at the start, 1 to 10,000.
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().rate)]
    rate: u32,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Result of training.
#[derive(Debug, Serialize)]
struct Outcome {
    /// BLAKE3 of the model, which names it in records.
    #[serde(with = "pol_primitives::hex_hash")]
    model: Hash,
    /// Length of the model, in bytes.
    bytes: usize,
    /// Number of texts that it learned from.
    trained: u64,
    /// Number of things that are no text.
    refused: u64,
    /// Success on the texts that it did not learn from.
    measured: QualityReport,
}

impl TrainQualityOptions {
    /// Trains a model, measures it, and writes it.
    pub(crate) fn run(self) -> Result<()> {
        let json = self.json;
        let outcome = self.train()?;
        if json {
            println!("{}", serde_json::to_string(&outcome)?);
        } else {
            print!("{}", outcome.text(&self.out));
        }
        Ok(())
    }

    fn train(&self) -> Result<Outcome> {
        ensure!(self.held_out <= 90, "--held-out is a share in percent, 0 to 90");
        ensure!(
            self.force || !self.out.exists(),
            "{} exists; name another file, or replace it with --force",
            self.out.display()
        );
        let measures_share = self.test.is_empty();
        let share = if measures_share { Ppm::from(self.held_out) * (MILLION / 100) } else { 0 };
        let mut held_out = HeldOut::create()?;
        let (mut trained, mut refused) = (0, 0);
        let options = ReadOptions { text_fields: self.text_field.clone(), ..Default::default() };
        let texts = labelled(&self.good, true, &options)
            .chain(labelled(&self.poor, false, &options))
            .filter_map(|item| match item {
                Ok(Ok(example)) => Some(Ok(example)),
                Ok(Err(refusal)) => {
                    tracing::debug!(location = refusal.origin.location, "{}", refusal.reason);
                    refused += 1;
                    None
                }
                Err(error) => Some(Err(error)),
            });
        let files = self.examples.iter().flat_map(|path| examples_of(path));
        let [good, poor] = [const { Cell::new(0) }; 2];
        let examples = texts.chain(files).filter_map(|example| {
            if let Ok(example) = &example {
                let count = if example.good { &good } else { &poor };
                count.set(count.get() + 1);
            }
            match example {
                Ok(example) if example.is_held_out(self.seed, share) => {
                    held_out.add(&example).err().map(Err)
                }
                example => {
                    trained += 1;
                    Some(example)
                }
            }
        });
        let examples = examples.chain(iter::once_with(|| enough(good.get(), poor.get())).flatten());
        let Self { seed, bits, passes, rate, .. } = *self;
        let bar = progress_bar(self.json, "{msg} {wide_bar} {pos} of {len}, {eta} left");
        let model = train(examples, &TrainConfig { seed, bits, passes, rate }, |progress| {
            if let TrainProgress::Learned { steps, total } = progress {
                bar.set_message("learning");
                bar.set_length(total);
                bar.set_position(steps);
            }
        });
        bar.finish_and_clear();
        let model = model?;
        let held_out = held_out.finish()?;
        let own = [held_out.to_path_buf()];
        let measured = measure(&model, if measures_share { &own } else { &self.test })?;
        let bytes = model.to_bytes();
        write(&self.out, &bytes)?;
        Ok(Outcome { model: model.hash(), bytes: bytes.len(), trained, refused, measured })
    }
}

/// Returns an error as the last example if there are too few of a label.
fn enough(good: u64, poor: u64) -> Option<Result<Example, CorpusError>> {
    let reason = format!("there are {good} good and {poor} poor texts; give {MIN_TEXTS} of each");
    (good.min(poor) < MIN_TEXTS).then_some(Err(CorpusError::InvalidOption(reason)))
}

/// Iterates over the examples of a file.
fn examples_of(path: &Path) -> Box<dyn Iterator<Item = Result<Example, CorpusError>>> {
    match ExampleFile::open(path) {
        Ok(file) => Box::new(file),
        Err(error) => Box::new(iter::once(Err(error))),
    }
}

/// Measures a model on the examples of files.
fn measure(model: &QualityModel, files: &[PathBuf]) -> Result<QualityReport> {
    let mut measurement = Measurement::default();
    for example in files.iter().flat_map(|path| examples_of(path)) {
        let Example { text, good, kind, .. } = example?;
        measurement.add(good, &kind, model.score(&text));
    }
    Ok(measurement.report())
}

/// Writes a model, which appears whole.
fn write(path: &Path, model: &[u8]) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(context)?;
    file.write_all(model).and_then(|()| file.as_file().sync_all()).with_context(context)?;
    file.persist(path).map_err(|error| error.error).with_context(context)?;
    Ok(())
}

/// Examples that are not learned from, in a temporary file: inputs such as pipes are read once.
struct HeldOut(BufWriter<NamedTempFile>);

impl HeldOut {
    fn create() -> Result<Self> {
        let file = NamedTempFile::new().context("cannot create a temporary file")?;
        Ok(Self(BufWriter::new(file)))
    }

    fn add(&mut self, example: &Example) -> Result<(), CorpusError> {
        serde_json::to_writer(&mut self.0, example)
            .map_err(io::Error::from)
            .and_then(|()| self.0.write_all(b"\n"))
            .map_err(|source| CorpusError::Io {
                action: "write to a file in",
                path: env::temp_dir(),
                source,
            })
    }

    fn finish(self) -> Result<TempPath> {
        let file = self.0.into_inner().map_err(|error| error.into_error());
        Ok(file.context("cannot write a temporary file")?.into_temp_path())
    }
}

impl Outcome {
    /// Returns the result in words.
    fn text(&self, out: &Path) -> String {
        let Self { model, bytes, trained, refused, measured } = self;
        let area = |auroc: Option<Ppm>| auroc.map_or("none".into(), |auroc| auroc.to_string());
        let mut text = format!(
            "{}: {bytes} bytes, 0x{}, learned from {trained} texts\n",
            out.display(),
            hex::encode(model)
        );
        if *refused > 0 {
            text += &format!("left out: {refused} things that are no text\n");
        }
        text += &format!(
            "measured on {} good and {} poor texts: AUROC {}\n",
            measured.good,
            measured.poor,
            area(measured.auroc)
        );
        for ThresholdReport { threshold, good, poor } in &measured.thresholds {
            text += &format!("  {threshold} keeps {good} of good, {poor} of poor\n");
        }
        for KindReport { kind, good, texts, auroc, median } in &measured.kinds {
            let label = if *good { "good" } else { "poor" };
            let auroc = area(*auroc);
            text += &format!("  {label} {kind:16} {texts:6} AUROC {auroc:>7} median {median}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Returns options for 60 texts of each label, in two formats.
    fn options(folder: &Path) -> TrainQualityOptions {
        let good = folder.join("prose");
        fs::create_dir_all(&good).unwrap();
        for number in 0..60 {
            let text = format!("The old man walked {number} miles to the sea and sat down there. ");
            fs::write(good.join(format!("{number:02}.txt")), text.repeat(3)).unwrap();
        }
        let poor = folder.join("menus.jsonl");
        let menu = |number| {
            let text = format!("Home | About {number} | Login | Cart ({number}) | Help | Sitemap");
            serde_json::json!({ "menu": text, "good": false, "text": text }).to_string() + "\n"
        };
        fs::write(&poor, (0..60).map(menu).collect::<String>()).unwrap();
        TrainQualityOptions {
            good: vec![good],
            poor: vec![poor],
            examples: Vec::new(),
            test: Vec::new(),
            out: folder.join("model"),
            force: false,
            held_out: 20,
            text_field: vec!["menu".into()],
            seed: 1,
            bits: 10,
            passes: 3,
            rate: 200,
            json: true,
        }
    }

    #[test]
    fn a_model_is_trained_and_measured_on_texts_that_it_did_not_see() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        let outcome = options.train().unwrap();
        let measured = &outcome.measured;
        assert_eq!(outcome.trained + measured.good + measured.poor, 120);
        assert!(measured.good > 3 && measured.poor > 3, "{measured:?}");
        assert!(measured.auroc > Some(950_000), "{measured:?}");
        let kinds: Vec<_> = measured.kinds.iter().map(|kind| kind.kind.as_str()).collect();
        assert_eq!(kinds, ["menus.jsonl", "prose"]);
        let bytes = fs::read(&options.out).unwrap();
        let files = pol_corpus::pipeline::ReferenceFiles {
            quality_model: Some(options.out.clone()),
            ..Default::default()
        };
        assert_eq!(files.load().unwrap().quality.unwrap().hash(), outcome.model);
        let error = options.train().unwrap_err().to_string();
        assert!(error.contains("replace it with --force"), "{error}");
        // The same again, and another seed.
        let options = TrainQualityOptions { force: true, ..options };
        options.train().unwrap();
        assert_eq!(fs::read(&options.out).unwrap(), bytes);
        TrainQualityOptions { seed: 2, ..options }.train().unwrap();
        assert_ne!(fs::read(folder.path().join("model")).unwrap(), bytes);
    }

    #[test]
    fn files_of_examples_are_learned_from_and_measured_on() {
        let folder = tempfile::tempdir().unwrap();
        let usual = options(folder.path());
        let menus = usual.poor.clone();
        let options =
            TrainQualityOptions { poor: Vec::new(), examples: menus.clone(), test: menus, ..usual };
        let outcome = options.train().unwrap();
        assert_eq!((outcome.trained, outcome.measured.poor), (120, 60));
        assert_eq!((outcome.measured.good, outcome.measured.auroc), (0, None));
        let text = outcome.text(&options.out);
        assert!(text.contains("measured on 0 good and 60 poor texts: AUROC none"), "{text}");
    }

    #[test]
    fn texts_that_cannot_be_learned_from_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let fails = |change: &dyn Fn(&mut TrainQualityOptions)| {
            let mut options = options(folder.path());
            change(&mut options);
            let error = options.train().unwrap_err();
            assert!(!options.out.exists(), "{error:#}");
            crate::error::explain(&error)
        };
        assert!(fails(&|o| o.held_out = 91).contains("0 to 90"));
        assert!(fails(&|o| o.poor.clear()).contains("60 good and 0 poor texts; give 50 of each"));
        assert!(fails(&|o| o.good[0].push("00.txt")).contains("there are 1 good and 60 poor"));
        assert!(fails(&|o| o.bits = 40).contains("bits of training is 40"));
        assert!(fails(&|o| o.good[0] = "nowhere".into()).contains("cannot read nowhere"));
        assert!(fails(&|o| o.examples = vec!["nowhere".into()]).contains("cannot open nowhere"));
        assert!(fails(&|o| o.test = vec![o.good[0].join("00.txt")]).contains("is no example"));
        assert!(fails(&|o| o.out = o.out.join("none/model")).contains("cannot write"));
    }
}
