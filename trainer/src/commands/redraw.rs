// SPDX-License-Identifier: Apache-2.0

//! `data redraw`: documents of a recipe, made again.

use super::{
    decoder::thread_count,
    drawing::{RecipeFiles, read_recipe},
    progress::progress_bar,
    redrawn_data::{Redrawing, RedrawnDataOptions},
};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use pol_corpus::{Origin, RawDocuments};
use pol_data::{IngestRecord, RECORD_FILE, documents::DocumentIndex};
use pol_primitives::Hash;
use pol_synthesis::{Recipe, Synthesizer};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

const REDRAW_EXAMPLES: &str = "\
Examples:
  pol-trainer data redraw --recipe recipe.json --against data
      make all documents of a recipe of tasks again, and compare them with those of a folder
  pol-trainer data redraw --recipe recipe.json --model smollm2 --against data
      the same for text that a model wrote
  pol-trainer data redraw --recipe recipe.json --model smollm2 --document 17 > document
      make one document again; `data verify proof.json --document document` then shows that it is
      in a manifest of the chain
  pol-trainer data redraw --recipe recipe.json --tokenizer tokenizer.json --ingest again \\
      --content-hash 0x5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9
      make the shards of all documents again by the options.json beside the recipe, and say whether
      the chain has that manifest: MATCH or MISMATCH

`data acquire` writes the recipe of a source to OUT/NAME/recipe.json, and what its shards depend \
on besides it to OUT/NAME/options.json. The digest of the recipe is in the lineage of the \
manifest. A text of a model may be left out because it repeats earlier ones, which only a \
comparison of all documents can show.";

/// Options of `data redraw`.
#[derive(Args)]
#[command(after_help = REDRAW_EXAMPLES)]
pub(crate) struct RedrawOptions {
    /// Recipe in TOML or JSON.
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    #[command(flatten)]
    files: RecipeFiles,
    /// Folder to compare with: `data` or `raw` of a source of `data acquire`.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["document", "ingest"])]
    against: Option<PathBuf>,
    /// Index of the only document to make. Without --against it goes to standard output.
    #[arg(long, value_name = "INDEX")]
    document: Option<u32>,
    #[command(flatten)]
    data: RedrawnDataOptions,
    /// Threads. [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl RedrawOptions {
    /// Makes documents again.
    pub(crate) fn run(self) -> Result<()> {
        let recipe = read_recipe(&self.recipe)?;
        if let Some(folder) = self.data.ingest.clone() {
            let Self { recipe: path, files, against, data, threads, json, .. } = self;
            let threads = thread_count(threads)?;
            return data.run(&folder, Redrawing { path, recipe, files, against, threads, json });
        }
        // A folder of another recipe is found before a model is loaded.
        let held = self.against.as_deref().map(|folder| Held::read(folder, &recipe)).transpose()?;
        let loaded = self.files.load(recipe, thread_count(self.threads)?)?;
        let synthesizer = loaded.open()?;
        let compared = match (self.document, held) {
            (Some(index), None) => return print(&synthesizer, index),
            (Some(index), Some(held)) => held.compare_one(&synthesizer, index)?,
            (None, Some(held)) => held.compare_all(synthesizer, self.json)?,
            (None, None) => bail!("give --against, --document, or both"),
        };
        let Compared { same, left_out } = compared;
        if self.json {
            println!("{}", json!({ "same": same, "left_out": left_out }));
        } else {
            println!("{same} documents are what the recipe makes; it leaves out {left_out}");
        }
        Ok(())
    }
}

/// Writes a document to standard output.
fn print(synthesizer: &Synthesizer<'_>, index: u32) -> Result<()> {
    match synthesizer.document(index)? {
        Ok(made) => Ok(std::io::stdout().write_all(&made.document.bytes)?),
        Err(refusal) => bail!("the recipe leaves document {index} out: {}", refusal.reason),
    }
}

/// Documents that a folder holds: their BLAKE3 by their index in the recipe.
struct Held(BTreeMap<u32, Hash>);

/// Numbers of documents.
struct Compared {
    /// Documents that the recipe makes.
    same: u64,
    /// Documents that it leaves out.
    left_out: u64,
}

impl Held {
    /// Reads the documents of an ingested folder, or of a store.
    fn read(folder: &Path, recipe: &Recipe) -> Result<Self> {
        let mut held = Self(BTreeMap::new());
        if !folder.join(RECORD_FILE).exists() {
            for document in RawDocuments::open(folder)? {
                let document = document?;
                held.add(recipe, &document.origin, blake3::hash(&document.bytes).into())?;
            }
            return Ok(held);
        }
        let made_by = IngestRecord::read(folder)?.lineage().configuration;
        ensure!(
            made_by == recipe.digest(),
            "the lineage of {} names the recipe 0x{}, and this one is 0x{}; give that recipe",
            folder.display(),
            hex::encode(made_by),
            hex::encode(recipe.digest())
        );
        for record in DocumentIndex::open(folder)?.records()? {
            let record = record?;
            held.add(recipe, &record.origin, record.raw)?;
        }
        Ok(held)
    }

    fn add(&mut self, recipe: &Recipe, origin: &Origin, hash: Hash) -> Result<()> {
        let location = &origin.location;
        let index = recipe.index_of(location);
        let index = index.with_context(|| {
            let digest = hex::encode(recipe.digest());
            format!("the document at {location} is of another recipe than 0x{digest}")
        })?;
        ensure!(self.0.insert(index, hash).is_none(), "document {index} is there twice");
        Ok(())
    }

    /// Compares the document at `index`.
    fn compare_one(&self, synthesizer: &Synthesizer<'_>, index: u32) -> Result<Compared> {
        let held = self.0.get(&index);
        let held = held.with_context(|| format!("the folder has no document {index}"))?;
        match synthesizer.document(index)? {
            Ok(made) => check(index, held, &made.document.bytes)?,
            Err(refusal) => bail!("the recipe leaves document {index} out: {}", refusal.reason),
        }
        Ok(Compared { same: 1, left_out: 0 })
    }

    /// Compares all documents from the first to the last one that the folder holds.
    fn compare_all(self, synthesizer: Synthesizer<'_>, json: bool) -> Result<Compared> {
        // Those before it are made all the same: texts of a model must not repeat them.
        let first = self.0.first_key_value().map_or(0, |(first, _)| *first);
        let end = self.0.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        let bar = progress_bar(json, "{wide_bar} {pos} of {len} documents, {eta} left");
        bar.set_length(end.into());
        let mut compared = Compared { same: 0, left_out: 0 };
        for (index, made) in (0..end).zip(synthesizer.documents()) {
            match (made?, self.0.get(&index)) {
                (Ok(made), Some(held)) => {
                    check(index, held, &made.document.bytes)?;
                    compared.same += 1;
                }
                (_, None) if index < first => {}
                (Err(_), None) => compared.left_out += 1,
                (Ok(_), None) => {
                    bail!("the recipe makes document {index}, and the folder lacks it")
                }
                (Err(refusal), Some(_)) => bail!(
                    "the folder has document {index}, which the recipe leaves out: {}",
                    refusal.reason
                ),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(compared)
    }
}

/// Fails if a document has other bytes than the folder holds.
fn check(index: u32, held: &Hash, bytes: &[u8]) -> Result<()> {
    ensure!(
        blake3::hash(bytes) == *held,
        "document {index} of the folder is not what the recipe makes: it has the BLAKE3 0x{}, not \
         0x{}",
        hex::encode(held),
        blake3::hash(bytes)
    );
    Ok(())
}
