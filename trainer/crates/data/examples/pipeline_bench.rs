// SPDX-License-Identifier: Apache-2.0

//! Measures the stages of the pipeline on a file of JSON lines: the side of this project in
//! `scripts/bench-data.sh`.
//!
//! `pipeline_bench stages FOLDER OUT` runs all but the last stage one after the other and prints a
//! record of each. `pipeline_bench whole FOLDER OUT` runs them as a provider does, from
//! `corpus.jsonl` to shards, and prints records of the whole, of the last stage, and of the largest
//! resident memory. `pipeline_bench ingest FILE OUT` does what `pol-trainer data ingest` does by
//! default, and prints records of all stages and of the whole.

use pol_corpus::{
    Content, Documents, Input, Origin, ReadOptions,
    dedup::{DedupConfig, Deduplicator, Entry},
    filters::{CleanConfig, Cleaner, Preset, Setting},
    pipeline::{PipelineConfig, References, Stage, Supply},
    quality::QualityModel,
};
use pol_data::{EndOfText, IngestConfig, ingest};
use serde_json::json;
use std::{
    env,
    error::Error,
    fs,
    path::Path,
    sync::{Mutex, OnceLock},
    time::Instant,
};

/// Least quality that both programs keep.
const MIN_QUALITY: u32 = 250_000;
/// Clock ticks of a second in `/proc`, on every Linux.
const TICKS: f64 = 100.0;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [mode, folder, out] = arguments.as_slice() else {
        return Err("give `stages`, `whole`, or `ingest`, FOLDER or FILE, and OUT".into());
    };
    let (folder, out) = (Path::new(folder), Path::new(out));
    fs::create_dir_all(out)?;
    match mode.as_str() {
        "stages" => stages(&folder.join("corpus.jsonl"), out),
        "whole" => whole(folder, out),
        "ingest" => ingest_file(folder, out),
        _ => Err(format!("there is no mode {mode}").into()),
    }
}

/// Returns the rules of the comparison: those of web pages without the language, whose model
/// datatrove cannot fetch everywhere.
fn rules() -> CleanConfig {
    let off = Setting { on: Some(false), ..Setting::default() };
    CleanConfig { rules: [("language".to_owned(), off)].into(), ..CleanConfig::of(Preset::Web) }
}

/// Runs one stage after the other, each on the output of the one before it.
fn stages(corpus: &Path, out: &Path) -> Outcome {
    let (cleaner, model) = (Cleaner::new(&rules())?, QualityModel::bundled()?);
    let start = Start::now()?;
    let texts = texts_of(corpus)?.collect::<Outcome<Vec<String>>>()?;
    start.report("read", amount_of(&texts))?;

    let (start, amount) = (Start::now()?, amount_of(&texts));
    let texts: Vec<_> = texts.into_iter().filter_map(|text| cleaner.clean(text).text).collect();
    start.report("filter", amount)?;

    let (start, amount) = (Start::now()?, amount_of(&texts));
    let texts = deduplicate(&out.join("duplicates"), texts)?;
    start.report("deduplicate", amount)?;

    let (start, amount) = (Start::now()?, amount_of(&texts));
    let kept = texts.iter().filter(|text| model.score(text) >= MIN_QUALITY).count();
    start.report("score", amount)?;
    println!("{}", json!({ "kept": kept }));
    Ok(())
}

fn deduplicate(folder: &Path, texts: Vec<String>) -> Outcome<Vec<String>> {
    let mut search = Deduplicator::open(folder, DedupConfig::default(), &[0; 32])?;
    for (id, text) in (0..).zip(&texts) {
        search.add(Entry { id, group: id, quality: 0 }, text)?;
    }
    let mut clusters = search.finish()?;
    let mut survivors = Vec::new();
    for (id, text) in (0..).zip(texts) {
        if clusters.get(id)?.is_some_and(|found| found.duplicate.is_none()) {
            survivors.push(text);
        }
    }
    Ok(survivors)
}

/// Runs all stages by one call.
fn whole(folder: &Path, out: &Path) -> Outcome {
    let corpus = folder.join("corpus.jsonl");
    let amount = texts_of(&corpus)?.try_fold((0, 0), |(documents, bytes), text| {
        Outcome::Ok((documents + 1, bytes + text?.len()))
    })?;
    let config = IngestConfig {
        inputs: vec![Supply::Path(corpus)],
        out: out.join("data"),
        corpus: PipelineConfig {
            clean: rules(),
            min_quality: MIN_QUALITY,
            repeats: None,
            ..PipelineConfig::default()
        },
        text_fields: Vec::new(),
        vocabulary: 0,
        sequence: 128,
        shard_tokens: 4096,
        tokenizer: Some(folder.join("tokenizer.json")),
        end_of_text: EndOfText::Known,
        force: false,
        lineage: None,
    };
    let quality = Some(QualityModel::bundled()?);
    let tokenise = OnceLock::new();
    let start = Start::now()?;
    let record = ingest(&config, References { quality, ..References::default() }, &|progress| {
        if progress.stage == Stage::Tokens {
            tokenise.get_or_init(|| Start::now().ok());
        }
    })?;
    start.report("whole", amount)?;
    let kept = (usize::try_from(record.documents)?, usize::try_from(record.bytes)?);
    if let Some(Some(start)) = tokenise.get() {
        start.report("tokenise", kept)?;
    }
    println!("{}", json!({ "peak_bytes": peak_bytes()? }));
    Ok(())
}

/// Ingests a file by the defaults, and tells the time of each stage.
fn ingest_file(file: &Path, out: &Path) -> Outcome {
    let bytes = usize::try_from(fs::metadata(file)?.len())?;
    let config = IngestConfig {
        inputs: vec![Supply::Path(file.to_owned())],
        out: out.join("data"),
        corpus: PipelineConfig { held_out: 20_000, ..PipelineConfig::default() },
        text_fields: Vec::new(),
        vocabulary: 8_192,
        sequence: 128,
        shard_tokens: 4096,
        tokenizer: None,
        end_of_text: EndOfText::Known,
        force: false,
        lineage: None,
    };
    let quality = Some(QualityModel::bundled()?);
    let whole = Start::now()?;
    let stage = Mutex::new(("hashing".to_owned(), whole));
    let begin = |name: String| -> Outcome {
        let mut stage = stage.lock().map_err(|error| error.to_string())?;
        if stage.0 != name {
            let (ended, start) = std::mem::replace(&mut *stage, (name, Start::now()?));
            start.report(&ended, (1, bytes))?;
        }
        Ok(())
    };
    let record = ingest(&config, References { quality, ..References::default() }, &|progress| {
        let done = progress.done == progress.total;
        let _ = begin(format!("{:?}{}", progress.stage, if done { ", end" } else { "" }));
    })?;
    begin("done".into())?;
    whole.report("whole", (usize::try_from(record.documents)?, bytes))?;
    println!("{}", json!({ "peak_bytes": peak_bytes()? }));
    Ok(())
}

/// Iterates over the texts of a file.
fn texts_of(path: &Path) -> Outcome<impl Iterator<Item = Outcome<String>>> {
    let content = Content::File(path.to_owned());
    let input = Input { origin: Origin::default(), media: None, content };
    let documents = Documents::open(input, &ReadOptions::default())?;
    Ok(documents.map(|document| Ok(document?.map_err(|refusal| refusal.reason)?.text)))
}

fn amount_of(texts: &[String]) -> (usize, usize) {
    (texts.len(), texts.iter().map(String::len).sum())
}

/// Start of a stage: processor time and wall clock.
#[derive(Clone, Copy)]
struct Start(f64, Instant);

impl Start {
    fn now() -> Outcome<Self> {
        Ok(Self(processor_seconds()?, Instant::now()))
    }

    /// Prints a record of the stage that ends now.
    fn report(self, stage: &str, (documents, bytes): (usize, usize)) -> Outcome {
        let record = json!({
            "stage": stage,
            "documents": documents,
            "bytes": bytes,
            "cpu_seconds": processor_seconds()? - self.0,
            "wall_seconds": self.1.elapsed().as_secs_f64(),
        });
        println!("{record}");
        Ok(())
    }
}

/// Returns the seconds of processor time that this process has taken on all its threads.
fn processor_seconds() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).unwrap_or(&"0").parse::<f64>();
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

/// Returns the largest resident memory so far, in bytes.
fn peak_bytes() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
