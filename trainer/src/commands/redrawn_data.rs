// SPDX-License-Identifier: Apache-2.0

//! `data redraw --ingest`: manifests of a recipe, made again.

use super::{
    drawing::{LoadedRecipe, RecipeFiles, lineage_of},
    ingest::Display,
    progress::progress_bar,
    recorded_options::{RecordedOptions, ReferenceDigests, file_digest, options_path},
};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use pol_corpus::{
    RawStore,
    pipeline::{ReferenceFiles, References},
};
use pol_data::{IngestRecord, ManifestSummary, TOKENIZER_FILE, load_references};
use pol_primitives::{Hash, hex_hash};
use pol_synthesis::Recipe;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folder of the documents, in the folder that is made.
const RAW: &str = "raw";
/// Folder of the shards, in the folder that is made.
const DATA: &str = "data";
/// Name of the manifest of the text to train on.
const TRAINING: &str = "training manifest";
/// Name of the manifest of the text that is held out.
const HELD_OUT: &str = "held-out manifest";
/// Name of the root over the documents.
const DOCUMENTS: &str = "records of documents";

/// Options of an ingestion that is repeated.
#[derive(Args)]
pub(crate) struct RedrawnDataOptions {
    /// Folder to make: ingest the documents as their provider did, and compare the manifests with
    /// those of --against, or with those of --content-hash.
    #[arg(long, value_name = "DIR", conflicts_with = "document")]
    pub(super) ingest: Option<PathBuf>,
    /// Options of the provider's ingestion. [default: options.json beside the recipe]
    #[arg(long, value_name = "FILE", requires = "ingest")]
    options: Option<PathBuf>,
    /// Content hash of a manifest of the recipe, such as `data list --json` prints it. Can be
    /// repeated.
    #[arg(long, value_name = "HASH", value_parser = parse_hash, requires = "ingest")]
    content_hash: Vec<Hash>,
    /// `tokenizer.json` of the data. [default: that in the folder of --against]
    #[arg(long, value_name = "FILE", requires = "ingest")]
    tokenizer: Option<PathBuf>,
    /// Model of quality of the data, if the options name another one than ships with the program.
    #[arg(long, value_name = "FILE", requires = "ingest")]
    quality_model: Option<PathBuf>,
    /// List of opt-outs of the data, if the options name one.
    #[arg(long, value_name = "FILE", requires = "ingest")]
    opt_out: Option<PathBuf>,
    /// Text that was kept out of the data, if the options name some. Can be repeated.
    #[arg(long, value_name = "PATH", requires = "ingest")]
    decontaminate: Vec<PathBuf>,
    /// Field of tables that holds such text. Can be repeated.
    #[arg(long, value_name = "NAME", requires = "decontaminate")]
    decontaminate_field: Vec<String>,
    /// Signature file that the data were compared with, if the options name some. Can be repeated.
    #[arg(long, value_name = "FILE", requires = "ingest")]
    signatures: Vec<PathBuf>,
}

fn parse_hash(text: &str) -> Result<Hash, String> {
    hex_hash::parse(text).ok_or_else(|| "a hash is 64 hexadecimal digits".into())
}

/// Recipe, and all else that the command line names.
pub(super) struct Redrawing {
    /// File of the recipe.
    pub(super) path: PathBuf,
    pub(super) recipe: Recipe,
    pub(super) files: RecipeFiles,
    /// Folder to compare with.
    pub(super) against: Option<PathBuf>,
    pub(super) threads: usize,
    pub(super) json: bool,
}

impl RedrawnDataOptions {
    /// Makes the data of a recipe in `folder`, and compares their manifests.
    pub(super) fn run(self, folder: &Path, redrawing: Redrawing) -> Result<()> {
        let Redrawing { path, recipe, files, against, threads, json } = redrawing;
        ensure!(
            against.is_some() || !self.content_hash.is_empty(),
            "give --against or --content-hash, with which the manifests are compared"
        );
        let beside = path.parent().unwrap_or(Path::new(""));
        let options = self.options.clone().unwrap_or_else(|| options_path(beside, 0));
        let options = RecordedOptions::read(&options)?;
        check_recipe(&options, &recipe)?;
        let held = against.as_deref().map(IngestRecord::read).transpose()?;
        let tokenizer = self.tokenizer(against.as_deref(), &options)?;
        let references = self.references(&options)?;
        let is_free = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        ensure!(is_free, "{} holds files; choose another folder", folder.display());

        let lineage = lineage_of(&recipe);
        let store = folder.join(RAW);
        draw(&files.load(recipe, threads)?, options.documents, &store, json)?;
        let config = options.ingestion(store, folder.join(DATA), tokenizer, lineage);
        let display = Display::new(json);
        let made = pol_data::ingest(&config, references, &|progress| display.show(progress));
        display.end();
        let made = made?;
        let mut compared = Vec::new();
        held.iter().for_each(|held| compared.extend(with_data(&made, held)));
        compared.extend(self.content_hash.iter().map(|hash| with_hash(&made, *hash)));
        tell(&compared, json);
        let differs = compared.iter().any(|manifest| !manifest.is_same());
        let program = options.other_program().map_or(String::new(), |other| format!("; {other}"));
        ensure!(!differs, "the data are not what the recipe and the options make{program}");
        Ok(())
    }

    /// Returns the tokenizer, if it is that of the options.
    fn tokenizer(&self, against: Option<&Path>, options: &RecordedOptions) -> Result<PathBuf> {
        let given = self.tokenizer.clone();
        let path = given.or_else(|| against.map(|folder| folder.join(TOKENIZER_FILE)));
        let wanted = options.tokenizer;
        let path = path.with_context(|| {
            format!("give the tokenizer of the data, of the BLAKE3 {wanted}, by --tokenizer")
        })?;
        let found = file_digest(&path)?;
        ensure!(
            found == wanted,
            "the data have the tokenizer {wanted}, and {} is {found}; give that one by --tokenizer",
            path.display()
        );
        Ok(path)
    }

    /// Reads the lists and models, if they are those of the options.
    fn references(&self, options: &RecordedOptions) -> Result<References> {
        let references = load_references(&ReferenceFiles {
            quality_model: self.quality_model.clone(),
            opt_out: self.opt_out.clone(),
            decontaminate: self.decontaminate.clone(),
            decontaminate_fields: self.decontaminate_field.clone(),
            against: self.signatures.clone(),
        })?;
        options.references.check(&ReferenceDigests::of(&references)?)?;
        Ok(references)
    }
}

/// Fails unless options are those of an ingestion of a recipe.
fn check_recipe(options: &RecordedOptions, recipe: &Recipe) -> Result<()> {
    let (named, documents) = (options.recipe, options.documents);
    ensure!(
        named.0 == recipe.digest(),
        "the options are those of the recipe {named}, and this one is 0x{}; give that recipe, or \
         other options by --options",
        hex::encode(recipe.digest())
    );
    ensure!(
        documents <= u64::from(recipe.documents),
        "the options say that {documents} documents were read, and the recipe makes at most {}",
        recipe.documents
    );
    Ok(())
}

/// Makes the first `documents` of a recipe into the store `folder`.
fn draw(loaded: &LoadedRecipe, documents: u64, folder: &Path, json: bool) -> Result<()> {
    let mut store = RawStore::create_or_open(folder)?;
    let bar = progress_bar(json, "{wide_bar} {pos} of {len} documents, {eta} left");
    bar.set_length(documents);
    let mut made = loaded.open()?.documents();
    let mut count = 0;
    while count < documents {
        match made.next() {
            Some(Ok(Ok(made))) => {
                store.append(&made.document)?;
                count += 1;
                bar.inc(1);
            }
            // The recipe leaves one out.
            Some(Ok(Err(_))) => {}
            Some(Err(error)) => return Err(error.into()),
            None => bail!(
                "the recipe makes {count} documents, and by the options {documents} were read; \
                 they are not of this recipe"
            ),
        }
    }
    store.commit(&Value::Null)?;
    bar.finish_and_clear();
    Ok(())
}

/// Hash that the chain knows, as it was made and as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparison {
    name: &'static str,
    made: Hash,
    expected: Hash,
}

impl Comparison {
    fn new(name: &'static str, made: Hash, expected: Hash) -> Self {
        Self { name, made, expected }
    }

    fn is_same(&self) -> bool {
        self.made == self.expected
    }
}

/// Compares data that were made with those of a folder.
fn with_data(made: &IngestRecord, held: &IngestRecord) -> Vec<Comparison> {
    let root = |record: &IngestRecord| record.lineage().documents.map(|tree| tree.root);
    let mut compared = Vec::new();
    for (name, made, held) in
        [(TRAINING, &made.train, &held.train), (HELD_OUT, &made.held_out, &held.held_out)]
    {
        // Nothing is registered of a side without shards.
        if made.shards > 0 || held.shards > 0 {
            compared.push(Comparison::new(name, made.content_hash, held.content_hash));
        }
    }
    let roots = (root(made).unwrap_or_default(), root(held).unwrap_or_default());
    compared.push(Comparison::new(DOCUMENTS, roots.0, roots.1));
    compared
}

/// Compares data that were made with a manifest.
fn with_hash(made: &IngestRecord, expected: Hash) -> Comparison {
    let is_of = |side: &ManifestSummary| side.content_hash == expected;
    match is_of(&made.held_out) {
        true => Comparison::new(HELD_OUT, made.held_out.content_hash, expected),
        false => Comparison::new(TRAINING, made.train.content_hash, expected),
    }
}

/// Prints what was compared.
fn tell(compared: &[Comparison], json: bool) {
    let text = |hash: &Hash| format!("0x{}", hex::encode(hash));
    if json {
        let list = compared.iter().map(|manifest| {
            let Comparison { name, made, expected } = manifest;
            json!({
                "name": name,
                "made": text(made),
                "expected": text(expected),
                "same": manifest.is_same(),
            })
        });
        let same = compared.iter().all(Comparison::is_same);
        println!("{}", json!({ "same": same, "compared": list.collect::<Vec<_>>() }));
        return;
    }
    for manifest in compared {
        let Comparison { name, made, expected } = manifest;
        if manifest.is_same() {
            println!("MATCH: {name} {}", text(made));
        } else {
            println!("MISMATCH: {name} {} was made, not {}", text(made), text(expected));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_data::documents::LineageRecord;
    use pol_primitives::lineage::Documents;

    /// Returns a record of data whose hashes are of these bytes. A side of zero has no shards.
    fn record(train: u8, held_out: u8, root: u8) -> IngestRecord {
        let side = |byte: u8| ManifestSummary {
            content_hash: [byte; 32],
            shards: u32::from(byte > 0),
            ..ManifestSummary::default()
        };
        let documents = Some(Documents { root: [root; 32], count: 1 });
        IngestRecord {
            train: side(train),
            held_out: side(held_out),
            lineage: Some(LineageRecord { documents, ..LineageRecord::of_request([0; 32]) }),
            ..IngestRecord::default()
        }
    }

    #[test]
    fn each_hash_of_the_chain_is_compared() {
        let differing = |made: &IngestRecord, held: &IngestRecord| -> Vec<_> {
            let compared = with_data(made, held).into_iter();
            compared.filter(|it| !it.is_same()).map(|it| it.name).collect()
        };
        let made = record(1, 2, 3);
        assert_eq!(with_data(&made, &made).len(), 3);
        assert!(differing(&made, &made).is_empty());
        assert_eq!(differing(&made, &record(9, 2, 3)), [TRAINING]);
        assert_eq!(differing(&made, &record(1, 9, 3)), [HELD_OUT]);
        assert_eq!(differing(&made, &record(1, 0, 3)), [HELD_OUT]);
        assert_eq!(differing(&made, &record(1, 2, 9)), [DOCUMENTS]);
        assert_eq!(with_data(&record(1, 0, 3), &record(1, 0, 3)).len(), 2);
    }

    #[test]
    fn a_manifest_may_be_of_either_side() {
        let made = record(1, 2, 3);
        let named = |byte: u8| with_hash(&made, [byte; 32]);
        assert!(named(1).is_same() && named(1).name == TRAINING);
        assert!(named(2).is_same() && named(2).name == HELD_OUT);
        assert!(!named(3).is_same());
    }
}
