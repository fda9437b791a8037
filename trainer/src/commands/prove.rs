// SPDX-License-Identifier: Apache-2.0

//! `data prove` and `data verify`: documents that are in a manifest, or are not.

use crate::{display::short_hash, options::NodeOptions};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use pol_corpus::{Documents, ReadOptions, inputs};
use pol_data::{
    IngestRecord,
    documents::{DocumentIndex, DocumentProof, DocumentQuery, MAX_PROOF_BYTES, Presence},
};
use pol_primitives::Hash;
use serde_json::json;
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

const PROVE_EXAMPLES: &str = "\
Examples:
  pol-trainer data prove page.html --data data --out proof.json
      prove that these bytes are in the shards of the folder, or are not
  pol-trainer data prove posts.jsonl --number 17 --data data --out proof.json
      the same for the seventeenth document of a file that holds several
  pol-trainer data prove test.jsonl --text-field question --text-field answer --number 3 \\
      --data data --out proof.json
      the same for the third row of a table that was ingested by these fields
  pol-trainer data prove 0x5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9 \\
      --data data
      the same for a document by its BLAKE3 hash, as `data trace --json` prints it";

const VERIFY_EXAMPLES: &str = "\
Examples:
  pol-trainer data verify proof.json --document page.html
      needs no more than a node, and says in which shards these bytes are";

/// Options of `data prove`.
#[derive(Args)]
#[command(after_help = PROVE_EXAMPLES)]
pub(crate) struct ProveOptions {
    /// File with the raw document, or its BLAKE3 hash.
    #[arg(value_name = "DOCUMENT")]
    document: String,
    /// Number of the document in the file, or of the piece of a text over 1 MiB, if there are
    /// several.
    #[arg(long, value_name = "N")]
    number: Option<usize>,
    /// Field of tables that holds the text, as for `data ingest`. Can be repeated. [default: text,
    /// content, or another usual name]
    #[arg(long, value_name = "NAME")]
    text_field: Vec<String>,
    /// Folder made by `data ingest`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// File to write. [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Options of `data verify`.
#[derive(Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct VerifyOptions {
    #[command(flatten)]
    node: NodeOptions,
    /// Proof that `data prove` wrote.
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// File with the raw document that the proof has to be about, or its BLAKE3 hash.
    #[arg(long, value_name = "DOCUMENT")]
    document: Option<String>,
    /// Number of the document in that file, if it holds several.
    #[arg(long, value_name = "N", requires = "document")]
    number: Option<usize>,
    /// Field of tables that holds the text, as for `data ingest`. Can be repeated. [default: text,
    /// content, or another usual name]
    #[arg(long, value_name = "NAME", requires = "document")]
    text_field: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Returns the hash that `document` is, or that of the document of this number in the file that it
/// names. Rows, books, and pieces of long texts are documents of their own.
///
/// Without a number, a file is a document as a whole if `is_known` knows its bytes, whatever it
/// looks like: the text of a row may be JSON itself.
fn document_hash(
    document: &str,
    number: Option<usize>,
    text_fields: &[String],
    is_known: impl FnOnce(&Hash) -> Result<bool>,
) -> Result<Hash> {
    let hex = document.strip_prefix("0x").unwrap_or(document);
    let mut hash = Hash::default();
    if hex::decode_to_slice(hex, &mut hash).is_ok() {
        return Ok(hash);
    }
    let path = PathBuf::from(document);
    // A pipe can be read once.
    if number.is_none() && path.is_file() {
        let whole = hash_of_file(&path)?;
        if is_known(&whole)? {
            return Ok(whole);
        }
    }
    let options = ReadOptions { text_fields: text_fields.to_vec(), ..ReadOptions::default() };
    let mut found = Vec::new();
    for input in inputs(&[path]) {
        let input = input.with_context(|| format!("{document} is no hash and no file"))?;
        let Ok(input) = input else { continue };
        for document in Documents::open(input, &options)? {
            found.extend(document?.ok().map(|document| document.raw));
        }
    }
    ensure!(
        !found.is_empty(),
        "{document} holds no text; name the field of a table with --text-field, or the hash of a \
         document"
    );
    let at = match number {
        Some(number) => number.checked_sub(1),
        None => (found.len() == 1).then_some(0),
    };
    at.and_then(|at| found.get(at).copied()).with_context(|| {
        format!(
            "{document} holds {} documents, or pieces of a long one; choose one with --number 1 \
             to {}",
            found.len(),
            found.len()
        )
    })
}

/// Returns the BLAKE3 of a file.
fn hash_of_file(path: &Path) -> Result<Hash> {
    let context = || format!("cannot read {}", path.display());
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).with_context(context)?).with_context(context)?;
    Ok(hasher.finalize().into())
}

impl ProveOptions {
    /// Writes a proof.
    pub(crate) fn run(self) -> Result<()> {
        // Another folder is told by its name.
        IngestRecord::read(&self.data)?;
        let index = DocumentIndex::open(&self.data)?;
        let is_known = |hash: &Hash| -> Result<bool> {
            Ok(!index.find(&DocumentQuery::Raw(*hash))?.is_empty())
        };
        let key = document_hash(&self.document, self.number, &self.text_field, is_known)?;
        let proof = index.prove(&key)?;
        let json = serde_json::to_string(&proof)?;
        let Some(out) = self.out else {
            println!("{json}");
            return Ok(());
        };
        fs::write(&out, json).with_context(|| format!("cannot write {}", out.display()))?;
        let is_known = proof.records().next().is_some();
        eprintln!(
            "{}: document {} {} among those of {}",
            out.display(),
            short_hash(&key),
            if is_known { "is" } else { "is not" },
            self.data.display()
        );
        Ok(())
    }
}

/// Returns the hash of the document that a proof has to be about.
fn proven_hash(
    proof: &DocumentProof,
    document: &str,
    number: Option<usize>,
    text_fields: &[String],
) -> Result<Hash> {
    document_hash(document, number, text_fields, |whole| {
        // That a file with a row is no document does not show that the row is none.
        Ok(*whole == proof.document() && proof.records().next().is_some())
    })
}

impl VerifyOptions {
    /// Verifies a proof against the chain.
    pub(crate) async fn run(self) -> Result<()> {
        let name = || format!("{} is no proof that `data prove` wrote", self.proof.display());
        let proof = DocumentProof::parse(&read(&self.proof)?).with_context(name)?;
        if let Some(document) = &self.document {
            let proven = proven_hash(&proof, document, self.number, &self.text_field)?;
            ensure!(
                proven == proof.document(),
                "the proof is about another document, {}",
                short_hash(&proof.document())
            );
        }
        let chain = self.node.connect().await?;
        let Some(id) = chain.manifest_of_content(&proof.manifest()).await? else {
            bail!("the chain has admitted no manifest {}", short_hash(&proof.manifest()));
        };
        let manifest = chain
            .manifest(id)
            .await?
            .with_context(|| format!("manifest {id} is not kept any more; ask an archive"))?;
        let presence = proof.verify(&manifest.info)?;
        let (word, shards) = match presence {
            Presence::InShards(shards) => ("in", shards),
            Presence::LeftOut => ("left out", Vec::new()),
            Presence::Unknown => ("not in", Vec::new()),
        };
        let document = format!("0x{}", hex::encode(proof.document()));
        if self.json {
            let records: Vec<_> = proof.records().collect();
            println!(
                "{}",
                json!({
                    "document": document,
                    "manifest": id,
                    "presence": word,
                    "shards": shards,
                    "records": records,
                })
            );
        } else if shards.is_empty() {
            println!("the proof holds: document {document} is {word} manifest {id}");
        } else {
            println!("the proof holds: document {document} is in manifest {id}, shards {shards:?}");
        }
        Ok(())
    }
}

/// Reads a proof within its limit.
fn read(path: &Path) -> Result<Vec<u8>> {
    ensure!(
        !path.is_dir(),
        "{} is a folder; name the file that `pol-trainer data prove --out FILE` wrote",
        path.display()
    );
    let context = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let limit = MAX_PROOF_BYTES as u64 + 1;
    let file = File::open(path).with_context(context)?;
    file.take(limit).read_to_end(&mut bytes).with_context(context)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_corpus::pipeline::{PipelineConfig, References, Supply};
    use pol_data::{EndOfText, IngestConfig, MIN_VOCABULARY, ingest};

    /// Text that looks like a table of one row.
    const JSON: &str = r#"{ "name": "left-pad", "content": "Pads a text on its left." }"#;

    fn hash(text: &str) -> Hash {
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    /// Ingests rows with these texts, and returns the folder above and the ingested one.
    fn ingested(texts: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (input, out) = (folder.path().join("rows.jsonl"), folder.path().join("data"));
        let rows = texts.iter().map(|text| json!({ "text": text }).to_string() + "\n");
        fs::write(&input, rows.collect::<String>()).unwrap();
        let config = IngestConfig {
            inputs: vec![Supply::Path(input)],
            out: out.clone(),
            corpus: PipelineConfig::default(),
            text_fields: Vec::new(),
            vocabulary: MIN_VOCABULARY,
            sequence: 16,
            shard_tokens: 64,
            tokenizer: None,
            end_of_text: EndOfText::Known,
            force: false,
            lineage: None,
        };
        ingest(&config, References::default(), &|_| ()).unwrap();
        (folder, out)
    }

    #[test]
    fn the_text_of_a_row_is_a_document_whatever_it_looks_like() {
        let fox = "A quick brown fox jumps over the lazy dog. ".repeat(20);
        let (folder, data) = ingested(&[JSON, &fox]);
        let (file, out) = (folder.path().join("package.json"), folder.path().join("proof.json"));
        let document = file.to_str().unwrap().to_owned();
        let prove = |text: &str| -> Result<DocumentProof> {
            fs::write(&file, text).unwrap();
            let (data, out) = (data.clone(), Some(out.clone()));
            let document = document.clone();
            ProveOptions { document, number: None, text_field: Vec::new(), data, out }.run()?;
            Ok(DocumentProof::parse(&fs::read(folder.path().join("proof.json"))?)?)
        };
        let proof = prove(JSON).unwrap();
        assert_eq!((proof.document(), proof.records().count()), (hash(JSON), 1));
        assert_eq!(proven_hash(&proof, &document, None, &[]).unwrap(), hash(JSON));
        // A row in a file that is itself no document is still found in it.
        let first = proven_hash(&proof, &document, Some(1), &[]).unwrap();
        assert_eq!(first, hash("Pads a text on its left."));

        // That the bytes of a file are no document shows nothing about the row in it.
        let other = JSON.replace("left-pad", "right-pad");
        let proof = prove(&other).unwrap();
        assert_eq!((proof.document(), proof.records().count()), (first, 0));
        let absent = DocumentIndex::open(&data).unwrap().prove(&hash(&other)).unwrap();
        assert_eq!(proven_hash(&absent, &document, None, &[]).unwrap(), first);
    }

    #[test]
    fn rows_of_tables_are_named_by_their_fields() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.jsonl");
        let row = |question: &str| json!({ "question": question, "answer": "Six." }).to_string();
        fs::write(&path, [row("Two by three?"), row("Three by two?")].join("\n")).unwrap();
        let path = path.to_str().unwrap();
        let fields = ["question", "answer"].map(str::to_owned);
        let found = document_hash(path, Some(2), &fields, |_| Ok(false)).unwrap();
        assert_eq!(found, hash("Three by two?\n\nSix."));
        let error = document_hash(path, Some(2), &[], |_| Ok(false)).unwrap_err().to_string();
        assert!(error.contains("--text-field"), "{error}");
    }
}
