// SPDX-License-Identifier: Apache-2.0

//! Measures the stages of the pipeline on a file of JSON lines: the side of this project in
//! `scripts/bench-data.sh`.
//!
//! `pipeline_bench stages FOLDER OUT` runs one stage after the other, from `pages.jsonl` and
//! `corpus.jsonl` to shards, and prints a record of each. All but the last write JSON lines.
//! `pipeline_bench whole FOLDER OUT` runs those that make shards of the corpus as a provider does,
//! and prints records of the whole and of the largest resident memory.
//! `pipeline_bench ingest FILE OUT` does what `pol-trainer data ingest` does by default, and prints
//! records of all stages and of the whole.

use pol_corpus::{
    Content, Documents, Input, Origin, ReadOptions,
    dedup::{DecontaminationConfig, DecontaminatorBuilder, DedupConfig, Deduplicator, Entry},
    filters::{CleanConfig, Cleaner, Preset, Setting},
    pipeline::{PipelineConfig, References, Stage, Supply},
    quality::QualityModel,
};
use pol_data::{EndOfText, IngestConfig, ingest};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::json;
use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

/// Least quality that both programs keep.
const MIN_QUALITY: u32 = 250_000;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [mode, folder, out] = arguments.as_slice() else {
        return Err("give `stages`, `whole`, or `ingest`, FOLDER or FILE, and OUT".into());
    };
    let (folder, out) = (Path::new(folder), Path::new(out));
    fs::create_dir_all(out)?;
    match mode.as_str() {
        "stages" => stages(folder, out),
        "whole" => whole(folder, out),
        "ingest" => ingest_file(folder, out),
        _ => Err(format!("there is no mode {mode}").into()),
    }
}

/// Returns the rules of the comparison: those of web pages but for the language, which is a stage
/// of its own.
fn rules() -> CleanConfig {
    let off = Setting { on: Some(false), ..Setting::default() };
    CleanConfig { rules: [("language".to_owned(), off)].into(), ..CleanConfig::of(Preset::Web) }
}

/// Returns the rule that tells the language, and keeps English.
fn language() -> CleanConfig {
    let on = Setting { on: Some(true), ..Setting::default() };
    CleanConfig {
        languages: vec!["eng".to_owned()],
        rules: [("language".to_owned(), on)].into(),
        ..CleanConfig::of(Preset::None)
    }
}

/// Writes what a configuration of rules leaves of documents.
fn clean(
    config: &CleanConfig,
    lines: &mut dyn Iterator<Item = Outcome<String>>,
    writer: &mut Lines,
) -> Outcome {
    let cleaner = Cleaner::new(config)?;
    for text in lines {
        if let Some(text) = cleaner.clean(text?).text {
            writer.add(&text)?;
        }
    }
    Ok(())
}

/// Returns the readable text of a page, if it has some.
fn extract(page: String) -> Outcome<Option<String>> {
    let content = Content::Bytes(page.into_bytes());
    let input = Input { origin: Origin::default(), media: Some("text/html".into()), content };
    let mut documents = Documents::open(input, &ReadOptions::default())?;
    Ok(documents.next().transpose()?.and_then(Result::ok).map(|document| document.text))
}

/// Runs one stage after the other. Each reads JSON lines, those of the stage before it, and writes
/// JSON lines into a folder of its name. Preparing its rules or model is a part of its time.
fn stages(folder: &Path, out: &Path) -> Outcome {
    let corpus = &folder.join("corpus.jsonl");
    run_stage("read", corpus, out, |lines, writer| {
        for text in lines {
            writer.add(&text?)?;
        }
        Ok(())
    })?;
    run_stage("extract", &folder.join("pages.jsonl"), out, |lines, writer| {
        for page in lines {
            if let Some(text) = extract(page?)? {
                writer.add(&text)?;
            }
        }
        Ok(())
    })?;
    run_stage("language", corpus, out, |lines, writer| clean(&language(), lines, writer))?;
    let filtered =
        run_stage("filter", corpus, out, |lines, writer| clean(&rules(), lines, writer))?;
    run_stage("decontaminate", &filtered, out, |lines, writer| {
        let mut texts = DecontaminatorBuilder::new(DecontaminationConfig::default())?;
        for (number, text) in texts_of(&folder.join("probes.jsonl"))?.enumerate() {
            let origin = Origin { location: number.to_string(), ..Origin::default() };
            texts.add(&origin, 0, &text?)?;
        }
        let finder = texts.finish()?;
        for text in lines {
            let text = text?;
            if finder.check(&text).is_none() {
                writer.add(&text)?;
            }
        }
        Ok(())
    })?;
    let single = run_stage("deduplicate", &filtered, out, |lines, writer| {
        let folder = out.join("duplicates");
        let mut search = Deduplicator::open(&folder, DedupConfig::default(), &[0; 32])?;
        for (id, text) in (0..).zip(lines) {
            search.add(Entry { id, group: id, quality: 0 }, &text?)?;
        }
        let mut clusters = search.finish()?;
        for (id, text) in (0..).zip(texts_of(&filtered)?) {
            let text = text?;
            if clusters.get(id)?.is_some_and(|found| found.duplicate.is_none()) {
                writer.add(&text)?;
            }
        }
        Ok(())
    })?;
    let kept = run_stage("score", &single, out, |lines, writer| {
        let model = QualityModel::bundled()?;
        for text in lines {
            let text = text?;
            if model.score(&text) >= MIN_QUALITY {
                writer.add(&text)?;
            }
        }
        Ok(())
    })?;
    tokenise(&kept, &folder.join("tokenizer.json"), out)
}

/// Runs a stage on a file of JSON lines and prints its record. Returns the file that it wrote.
fn run_stage(
    name: &str,
    input: &Path,
    out: &Path,
    stage: impl FnOnce(&mut dyn Iterator<Item = Outcome<String>>, &mut Lines) -> Outcome,
) -> Outcome<PathBuf> {
    let folder = out.join(name);
    fs::create_dir_all(&folder)?;
    let output = folder.join("documents.jsonl");
    let (start, mut amount) = (Start::now()?, (0, 0));
    let mut lines = texts_of(input)?.inspect(|text| {
        amount.0 += 1;
        amount.1 += text.as_ref().map_or(0, String::len);
    });
    let mut writer = Lines { file: BufWriter::new(File::create(&output)?), number: 0 };
    stage(&mut lines, &mut writer)?;
    writer.file.flush()?;
    drop(lines);
    start.report(name, amount)?;
    Ok(output)
}

/// Writer of JSON lines.
struct Lines {
    file: BufWriter<File>,
    number: u64,
}

impl Lines {
    fn add(&mut self, text: &str) -> Outcome {
        let id = self.number.to_string();
        serde_json::to_writer(&mut self.file, &Line { text, id: &id })?;
        self.file.write_all(b"\n")?;
        self.number += 1;
        Ok(())
    }
}

#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    id: &'a str,
}

/// Ingests the documents that the other stages kept, and prints a record of the last stage of it:
/// from the pipeline's store, in which a text stands beside its record, to shards and records.
fn tokenise(kept: &Path, tokenizer: &Path, out: &Path) -> Outcome {
    let amount = amount_of(kept)?;
    let mut config = ingestion(kept, &out.join("data"));
    config.tokenizer = Some(tokenizer.to_owned());
    let start = OnceLock::new();
    let record = ingest(&config, References::default(), &|progress| {
        if progress.stage == Stage::Tokens {
            start.get_or_init(|| Start::now().ok());
        }
    })?;
    let start = start.into_inner().flatten().ok_or("the last stage did not begin")?;
    start.report("tokenise", amount)?;
    if usize::try_from(record.documents)? == amount.0 {
        Ok(())
    } else {
        Err(format!("{} documents of {} remained", record.documents, amount.0).into())
    }
}

/// Runs all stages by one call.
fn whole(folder: &Path, out: &Path) -> Outcome {
    let corpus = folder.join("corpus.jsonl");
    let amount = amount_of(&corpus)?;
    let mut config = ingestion(&corpus, &out.join("data"));
    config.corpus.clean = rules();
    config.corpus.min_quality = MIN_QUALITY;
    config.tokenizer = Some(folder.join("tokenizer.json"));
    let start = Start::now()?;
    let quality = Some(QualityModel::bundled()?);
    ingest(&config, References { quality, ..References::default() }, &|_| ())?;
    start.report("whole", amount)?;
    println!("{}", json!({ "peak_bytes": peak_bytes()? }));
    Ok(())
}

/// Ingests a file by the defaults, and tells the time of each stage.
fn ingest_file(file: &Path, out: &Path) -> Outcome {
    let bytes = usize::try_from(fs::metadata(file)?.len())?;
    let mut config = ingestion(file, &out.join("data"));
    config.corpus.held_out = 20_000;
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

/// Returns a configuration that keeps all of a file but copies.
fn ingestion(input: &Path, out: &Path) -> IngestConfig {
    IngestConfig {
        inputs: vec![Supply::Path(input.to_owned())],
        out: out.to_owned(),
        corpus: PipelineConfig::default(),
        text_fields: Vec::new(),
        vocabulary: 8_192,
        sequence: 128,
        shard_tokens: 4096,
        tokenizer: None,
        end_of_text: EndOfText::Known,
        force: false,
        lineage: None,
    }
}

/// Iterates over the texts of a file.
fn texts_of(path: &Path) -> Outcome<impl Iterator<Item = Outcome<String>>> {
    let content = Content::File(path.to_owned());
    let input = Input { origin: Origin::default(), media: None, content };
    let documents = Documents::open(input, &ReadOptions::default())?;
    Ok(documents.map(|document| Ok(document?.map_err(|refusal| refusal.reason)?.text)))
}

/// Returns the number of documents of a file, and the bytes of their texts.
fn amount_of(path: &Path) -> Outcome<(usize, usize)> {
    texts_of(path)?
        .try_fold((0, 0), |(documents, bytes), text| Ok((documents + 1, bytes + text?.len())))
}

/// Start of a stage: processor time and wall clock.
#[derive(Clone, Copy)]
struct Start(Duration, Instant);

impl Start {
    fn now() -> Outcome<Self> {
        Ok(Self(processor_time()?, Instant::now()))
    }

    /// Prints a record of the stage that ends now.
    fn report(self, stage: &str, (documents, bytes): (usize, usize)) -> Outcome {
        let record = json!({
            "stage": stage,
            "documents": documents,
            "bytes": bytes,
            "cpu_seconds": (processor_time()? - self.0).as_secs_f64(),
            "wall_seconds": self.1.elapsed().as_secs_f64(),
        });
        println!("{record}");
        Ok(())
    }
}

/// Returns the processor time that this process has taken on all its threads, in nanoseconds and
/// not in the hundredths of a second of `/proc`.
fn processor_time() -> Outcome<Duration> {
    Ok(clock_gettime(ClockId::ProcessCPUTime).try_into()?)
}

/// Returns the largest resident memory so far, in bytes.
fn peak_bytes() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
