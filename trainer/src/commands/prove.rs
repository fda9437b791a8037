// SPDX-License-Identifier: Apache-2.0

//! `data prove` and `data verify`: documents that are in a manifest, or are not.

use crate::{display::short_hash, options::NodeOptions};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use pol_corpus::{Documents, ReadOptions, inputs};
use pol_data::{
    IngestRecord,
    documents::{DocumentIndex, DocumentProof, MAX_PROOF_BYTES, Presence},
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
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Returns the hash that `document` is, or that of the document of this number in the file that it
/// names. Rows, books, and pieces of long texts are documents of their own.
fn document_hash(document: &str, number: Option<usize>) -> Result<Hash> {
    let hex = document.strip_prefix("0x").unwrap_or(document);
    let mut hash = Hash::default();
    if hex::decode_to_slice(hex, &mut hash).is_ok() {
        return Ok(hash);
    }
    let mut found = Vec::new();
    for input in inputs(&[PathBuf::from(document)]) {
        let input = input.with_context(|| format!("{document} is no hash and no file"))?;
        let Ok(input) = input else { continue };
        for document in Documents::open(input, &ReadOptions::default())? {
            found.extend(document?.ok().map(|document| document.raw));
        }
    }
    ensure!(!found.is_empty(), "{document} holds no text; name the hash of a document");
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

impl ProveOptions {
    /// Writes a proof.
    pub(crate) fn run(self) -> Result<()> {
        // Another folder is told by its name.
        IngestRecord::read(&self.data)?;
        let key = document_hash(&self.document, self.number)?;
        let proof = DocumentIndex::open(&self.data)?.prove(&key)?;
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

impl VerifyOptions {
    /// Verifies a proof against the chain.
    pub(crate) async fn run(self) -> Result<()> {
        let name = || format!("{} is no proof that `data prove` wrote", self.proof.display());
        let proof = DocumentProof::parse(&read(&self.proof)?).with_context(name)?;
        if let Some(document) = &self.document {
            ensure!(
                document_hash(document, self.number)? == proof.document(),
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
