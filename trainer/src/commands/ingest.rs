// SPDX-License-Identifier: Apache-2.0

//! `data ingest`: from texts to shards.

use super::progress::progress_bar;
use crate::{display::short_hash, reports::read_report};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use pol_corpus::{
    filters::{CleanConfig, Preset},
    pipeline::{DecontaminationReport, PipelineConfig, Progress, ReferenceFiles, Stage, Supply},
};
use pol_data::{EndOfText, IngestConfig, IngestRecord, REPORT_FILE, load_references};
use pol_import::describe;
use pol_primitives::{MILLION, Ppm};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Time between two lines about a stage.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// Texts to keep out that are listed with the documents dropped for them; report.json has more.
const LISTED_REFERENCES: usize = 5;

const INGEST_EXAMPLES: &str = "\
Examples:
  pol-trainer data ingest --input texts --out data
      train a tokenizer on the texts and cut them into shards
  pol-trainer data ingest --input texts --out data --tokenizer smollm2/tokenizer.json
      use the tokenizer of an imported model
  pol-trainer data ingest --input crawl.warc.gz --out data --clean web --language eng \\
      --min-quality 40 --opt-out opt-out.txt
      clean pages of the web, and keep the better ones in English
  pol-trainer data ingest --input texts --out data --decontaminate network-data \\
      --decontaminate tests.jsonl --decontaminate-field question
      drop documents with a passage of the text that another ingestion holds out, or of a test
  zstdcat posts.jsonl.zst | pol-trainer data ingest --input - --out data --text-field body
      read a pipe; each line is a document

Files are told apart by their contents: text, Markdown, HTML, JSONL, JSON, CSV, Parquet, WARC, books
of Project Gutenberg, and gzip, Zstandard, tar, or zip of these. Anything else is left out, and
report.json in the folder says why. An ingestion that is killed goes on with the texts that it has
read and compared, and counts words and tokenises anew.";

/// Rules of cleaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CleanOption {
    /// Any text, as it is.
    None,
    /// Pages of the web.
    Web,
    /// Books and other edited text.
    Books,
    /// Source code.
    Code,
    /// Conversations.
    Dialogue,
}

impl From<CleanOption> for Preset {
    fn from(option: CleanOption) -> Self {
        match option {
            CleanOption::None => Self::None,
            CleanOption::Web => Self::Web,
            CleanOption::Books => Self::Books,
            CleanOption::Code => Self::Code,
            CleanOption::Dialogue => Self::Dialogue,
        }
    }
}

/// Options of `data ingest`.
#[derive(Args)]
#[command(after_help = INGEST_EXAMPLES)]
pub(crate) struct IngestOptions {
    /// File, folder, or `-` for standard input. Can be repeated.
    #[arg(long, value_name = "PATH", required_unless_present = "store")]
    input: Vec<PathBuf>,
    /// Folder that `data acquire` filled. Can be repeated.
    #[arg(long, value_name = "DIR")]
    store: Vec<PathBuf>,
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Rules of cleaning.
    #[arg(long, value_enum, value_name = "RULES", default_value = "none")]
    clean: CleanOption,
    /// Language to keep, as an ISO 639-3 code such as eng. Can be repeated. [default: all]
    #[arg(long, value_name = "CODE")]
    language: Vec<String>,
    /// Field of tables that holds the text; dots lead into nested objects. Can be repeated.
    /// [default: text, content, or another usual name]
    #[arg(long, value_name = "NAME")]
    text_field: Vec<String>,
    /// Least quality of a document, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    min_quality: f64,
    /// Model of quality, in place of the one that ships with the program.
    #[arg(long, value_name = "FILE")]
    quality_model: Option<PathBuf>,
    /// List of hosts, addresses, and hashes whose owners do not want them to be trained on.
    #[arg(long, value_name = "FILE")]
    opt_out: Option<PathBuf>,
    /// Text that must not be trained on. Can be repeated.
    ///
    /// A file or folder in any format of inputs, such as the questions of a test; a folder of
    /// `data ingest`, for the text that it holds out; or the folder `train` or `held-out` in one.
    /// A document that shares 13 words in a row with it is dropped, whatever their case and
    /// punctuation. A shorter text is looked for as a whole if it has 8 words or more. All of it
    /// has to be readable. Of a document over 1 MiB, the piece of at most 1 MiB is dropped.
    /// report.json has the number of documents for each text, and documents.zst the hash of the
    /// text in the record of each document.
    #[arg(long, value_name = "PATH")]
    decontaminate: Vec<PathBuf>,
    /// Field of tables that holds such text; dots lead into nested objects. Can be repeated.
    /// [default: text, content, or another usual name]
    #[arg(long, value_name = "NAME", requires = "decontaminate")]
    decontaminate_field: Vec<String>,
    /// signatures.bin of another ingestion, or folder of `data fetch-signatures`. Documents like
    /// those in it are dropped. Can be repeated.
    #[arg(long, value_name = "PATH")]
    against: Vec<PathBuf>,
    /// Cut passages that occurred before.
    #[arg(long)]
    cut_repeats: bool,
    /// Entries of the vocabulary.
    #[arg(long, value_name = "N", default_value_t = 8_192)]
    vocabulary: u32,
    /// Tokens of a training sequence.
    #[arg(long, value_name = "N", default_value_t = 128)]
    sequence: u16,
    /// Tokens of a shard, a multiple of the sequence.
    #[arg(long, value_name = "N", default_value_t = 4_096)]
    shard_tokens: u32,
    /// Share of the text that is never trained on, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0)]
    held_out: f64,
    /// Drop held-out documents that share 13 words in a row with text to train on.
    ///
    /// Without it, whole documents that are alike are on one side, and passages may be on both.
    #[arg(long)]
    clean_held_out: bool,
    /// Tokenizer to use instead of training one.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Token of that tokenizer that separates texts.
    /// [default: the token with which the imported model in the tokenizer's folder ends texts;
    /// otherwise the first of the well-known tokens that end texts, or else turns of conversations]
    #[arg(long, value_name = "TOKEN", requires = "tokenizer")]
    end_of_text: Option<String>,
    /// Replace a folder made with other texts or options.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON, and the progress as a JSON object per line on standard error.
    #[arg(long)]
    json: bool,
}

impl IngestOptions {
    /// Ingests texts and prints a summary.
    pub(crate) fn run(self) -> Result<()> {
        let references = ReferenceFiles {
            quality_model: self.quality_model.clone(),
            opt_out: self.opt_out.clone(),
            decontaminate: self.decontaminate.clone(),
            decontaminate_fields: self.decontaminate_field.clone(),
            against: self.against.clone(),
        };
        let is_standard = |path: &PathBuf| path.as_os_str() == "-";
        ensure!(
            !(self.input.iter().any(is_standard) && self.decontaminate.iter().any(is_standard)),
            "standard input can be read only once; give --input or --decontaminate a file"
        );
        let (json, config) = (self.json, self.config()?);
        let display = Display::new(json);
        let watch = |progress| display.show(progress);
        let record = pol_data::ingest(&config, load_references(&references)?, &watch);
        display.end();
        print(&config.out, &record?, json)?;
        if !json && !references.decontaminate.is_empty() {
            let report = read_report(&config.out.join(REPORT_FILE))?;
            report.decontamination.iter().for_each(|it| println!("{}", describe_comparison(it)));
        }
        Ok(())
    }

    fn config(self) -> Result<IngestConfig> {
        ensure!((0.0..=50.0).contains(&self.held_out), "--held-out is a share in percent, 0 to 50");
        let preset = Preset::from(self.clean);
        ensure!(
            self.language.is_empty() || preset.tells_languages(),
            "these rules do not tell languages; give --language with --clean web, books, or \
             dialogue"
        );
        let percent = 0.0..=100.0;
        ensure!(percent.contains(&self.min_quality), "--min-quality is in percent, 0 to 100");
        let end_of_text = match (self.end_of_text, &self.tokenizer) {
            (Some(name), _) => EndOfText::Named(name),
            (None, Some(tokenizer)) => end_of_text_beside(tokenizer),
            (None, None) => EndOfText::Known,
        };
        let paths = self.input.into_iter().map(Supply::Path);
        let stores = self.store.into_iter().map(|store| Supply::Store(store, 0));
        Ok(IngestConfig {
            inputs: paths.chain(stores).collect(),
            out: self.out,
            corpus: PipelineConfig {
                clean: CleanConfig { languages: self.language, ..CleanConfig::of(preset) },
                min_quality: ppm(self.min_quality),
                repeats: self.cut_repeats.then(Default::default),
                held_out: ppm(self.held_out),
                clean_held_out: self.clean_held_out,
                ..PipelineConfig::default()
            },
            text_fields: self.text_field,
            vocabulary: self.vocabulary,
            sequence: self.sequence,
            shard_tokens: self.shard_tokens,
            tokenizer: self.tokenizer,
            end_of_text,
            force: self.force,
            lineage: None,
        })
    }
}

/// Returns a share in percent in millionths.
fn ppm(percent: f64) -> Ppm {
    (percent / 100.0 * f64::from(MILLION)) as Ppm
}

/// Returns the choice of an imported model, if the tokenizer is in the folder of one.
pub(super) fn end_of_text_beside(tokenizer: &Path) -> EndOfText {
    let model = tokenizer.parent().and_then(|folder| describe(folder).ok());
    model.map_or(EndOfText::Known, |(_, report)| EndOfText::Model(report.special.end))
}

/// Returns what became of the comparison with texts that nobody may train on.
fn describe_comparison(compared: &DecontaminationReport) -> String {
    let DecontaminationReport { digest, references, ignored, runs, found } = compared;
    let mut text = format!(
        "kept out: {references} texts with {runs} runs of words, digest {}",
        short_hash(digest)
    );
    if *ignored > 0 {
        text += &format!("; {ignored} are too short to be looked for");
    }
    for reference in found.iter().take(LISTED_REFERENCES) {
        text +=
            &format!("\n  {} documents share words with {}", reference.documents, reference.name);
    }
    text
}

fn print(out: &Path, record: &IngestRecord, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(record)?);
        return Ok(());
    }
    println!(
        "{}: {} shards to train on, {} held out, {} tokens each, vocabulary {}, {} between texts",
        out.display(),
        record.train.shards,
        record.held_out.shards,
        record.shard_tokens,
        record.vocabulary,
        record.end_of_text
    );
    let length = u64::from(record.train.shards) + u64::from(record.held_out.shards);
    if let Some(share) = (u64::from(record.held_out.shards) * 1_000).checked_div(length) {
        println!("held out: {}.{} % of the shards", share / 10, share % 10);
    }
    if record.dropped > 0 || record.refused > 0 {
        println!(
            "left out: {} documents by rules or as duplicates, {} inputs that are no text; see {}",
            record.dropped,
            record.refused,
            out.join(REPORT_FILE).display()
        );
    }
    Ok(())
}

/// Display of the progress: a bar for each stage, or lines of JSON.
pub(super) struct Display {
    json: bool,
    shown: Mutex<Shown>,
}

/// Stage that is shown.
struct Shown {
    name: &'static str,
    bar: ProgressBar,
    since: Instant,
}

impl Display {
    pub(super) fn new(json: bool) -> Self {
        let shown = Shown { name: "", bar: ProgressBar::hidden(), since: Instant::now() };
        Self { json, shown: Mutex::new(shown) }
    }

    pub(super) fn show(&self, progress: Progress) {
        let name = match progress.stage {
            Stage::Hashing => "hashing",
            Stage::Reading => "reading",
            Stage::Comparing => "comparing",
            Stage::Repeats => "looking for repeats",
            Stage::Words => "counting words",
            Stage::Tokenizer => "training the tokenizer",
            Stage::Tokens => "tokenising",
        };
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = shown.name != name;
        if self.json {
            if is_new || shown.since.elapsed() >= LINE_INTERVAL {
                (shown.name, shown.since) = (name, Instant::now());
                if let Ok(line) = serde_json::to_string(&progress) {
                    eprintln!("{line}");
                }
            }
            return;
        }
        if is_new {
            shown.bar.finish_and_clear();
            let template = match progress.stage {
                Stage::Hashing | Stage::Reading => {
                    "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
                }
                _ => "{msg} {wide_bar} {pos} of {len} documents, {per_sec}, {eta} left",
            };
            (shown.name, shown.bar) = (name, progress_bar(false, template).with_message(name));
        }
        shown.bar.set_length(progress.total.max(progress.done));
        shown.bar.set_position(progress.done);
    }

    pub(super) fn end(&self) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use pol_corpus::pipeline::FoundReference;
    use std::fs;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: IngestOptions,
    }

    fn parse(arguments: &[&str]) -> Result<IngestOptions> {
        let program = ["ingest", "--out", "none"];
        Ok(Command::try_parse_from(program.iter().chain(arguments).copied())?.options)
    }

    #[test]
    fn documents_with_the_question_of_a_test_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let texts = folder.path().join("texts");
        fs::create_dir(&texts).unwrap();
        for text in 0..4u32 {
            let sentence = |at: u32| format!("Zebra {text} saw river {} at {at}. ", at * 7 + text);
            let text_of = (0..40).map(sentence).collect::<String>();
            fs::write(texts.join(format!("{text}.txt")), text_of).unwrap();
        }
        let question = "zebra 2 saw river 9 at 1 ZEBRA 2 saw river 16 at 2!";
        let tests = folder.path().join("tests.jsonl");
        fs::write(&tests, serde_json::json!({ "question": question }).to_string()).unwrap();
        let sizes = ["--sequence", "16", "--shard-tokens", "64", "--held-out", "0"];
        let (texts, tests) = (texts.to_str().unwrap(), tests.to_str().unwrap());
        let paths = ["--input", texts, "--decontaminate", tests];
        let out = folder.path().join("data");
        let run = |more: &[&str]| {
            let options = parse(&[&sizes[..], &paths, more].concat())?;
            IngestOptions { out: out.clone(), vocabulary: pol_data::MIN_VOCABULARY, ..options }
                .run()
        };
        let error = run(&[]).unwrap_err().to_string();
        assert!(error.contains("tests.jsonl › line 1") && error.contains("--decontaminate-field"));
        run(&["--decontaminate-field", "question"]).unwrap();
        let report = read_report(&out.join(REPORT_FILE)).unwrap();
        assert_eq!((report.train.documents, report.dropped["contamination"]), (3, 1));
    }

    #[test]
    fn options_of_decontamination_need_each_other() {
        let alone = parse(&["--input", "a", "--decontaminate-field", "question"]);
        assert!(alone.err().unwrap().to_string().contains("--decontaminate <PATH>"));
        let twice = parse(&["--input", "-", "--decontaminate", "-"]).unwrap().run();
        assert!(twice.unwrap_err().to_string().contains("can be read only once"));
    }

    #[test]
    fn a_comparison_tells_what_it_dropped() {
        let found = |line: u64| FoundReference {
            name: format!("tests.jsonl › line {line}"),
            documents: 9 - line,
            ..FoundReference::default()
        };
        let found = (1..=7).map(found).collect();
        let compared = DecontaminationReport {
            references: 8,
            ignored: 2,
            runs: 99,
            found,
            ..Default::default()
        };
        let text = describe_comparison(&compared);
        assert!(text.starts_with("kept out: 8 texts with 99 runs of words, digest "), "{text}");
        assert!(text.contains("; 2 are too short to be looked for\n  8 documents"), "{text}");
        assert_eq!(text.lines().count(), 1 + LISTED_REFERENCES);
    }
}
