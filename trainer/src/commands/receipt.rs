// SPDX-License-Identifier: Apache-2.0

//! Receipts of texts that `generate` and `serve` make.

use super::loaded_model::LoadedModel;
use crate::options::KeyOptions;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use pol_api::Notary;
use pol_chain::Signer;
use pol_generate::{Completion, Request};
use pol_primitives::Hash;
use pol_receipt::{Disclosure, ReceiptFile, Signature};
use std::{io::Write, path::PathBuf, sync::Arc};

/// Options of receipts.
#[derive(Args)]
pub(crate) struct ReceiptOptions {
    /// Write a receipt of the text to this file, signed by an account. `verify-receipt` generates
    /// the text again and compares.
    #[arg(long = "receipt", value_name = "FILE", conflicts_with_all = ["batch", "reason"])]
    file: Option<PathBuf>,
    /// Put these parts into the receipt. It has the hashes of both anyhow.
    #[arg(long, value_enum, value_name = "PART,…", value_delimiter = ',', requires = "file")]
    disclose: Vec<Part>,
    #[command(flatten)]
    key: KeyOptions,
}

/// Part of a generation that a receipt can disclose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The tokens of the prompt.
    Prompt,
    /// The text.
    Output,
}

/// Writer of the receipt of a text.
pub(crate) struct ReceiptWriter {
    file: PathBuf,
    disclose: Vec<Part>,
    signer: Signer,
}

impl ReceiptOptions {
    /// Returns the writer of the receipt that these options ask for, whose key is unlocked.
    ///
    /// # Errors
    ///
    /// Fails if no key is given.
    pub(crate) fn writer(&self) -> Result<Option<ReceiptWriter>> {
        let Some(file) = self.file.clone() else { return Ok(None) };
        let signer = self.key.signer().context("a receipt is signed by an account")?;
        Ok(Some(ReceiptWriter { file, disclose: self.disclose.clone(), signer }))
    }
}

impl ReceiptWriter {
    /// Writes the receipt of a completion.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written, or if it would be too large.
    pub(crate) fn write(
        &self,
        model: &LoadedModel,
        request: &Request,
        completion: &Completion,
    ) -> Result<()> {
        let receipt = request.receipt(model.generator.clone(), &model.text, completion);
        let signer = &self.signer;
        let disclosed = Disclosure {
            prompt: self.disclose.contains(&Part::Prompt).then(|| request.prompt.clone()),
            output: self.disclose.contains(&Part::Output).then(|| completion.text.clone()),
        };
        let sign = |digest: &Hash| signer.sign_message(digest);
        let file = ReceiptFile::sign(receipt, signer.key_account(), sign).disclosing(disclosed);
        let json = file.to_json()?;
        pol_engine::replace_file(&self.file, |out| writeln!(out, "{json}"))
            .with_context(|| format!("cannot write the receipt {}", self.file.display()))
    }
}

/// Options of receipts of a server.
#[derive(Args)]
pub(crate) struct ServeReceiptOptions {
    /// Give receipts of texts to those who ask for them, signed by an account. `verify-receipt`
    /// generates such a text again and compares.
    #[arg(long)]
    receipts: bool,
    #[command(flatten)]
    key: KeyOptions,
}

impl ServeReceiptOptions {
    /// Returns the account that signs receipts, if there are any. Its key is unlocked.
    ///
    /// # Errors
    ///
    /// Fails if no key is given.
    pub(crate) fn notary(&self) -> Result<Option<Arc<dyn Notary>>> {
        if !self.receipts {
            return Ok(None);
        }
        let signer = self.key.signer().context("receipts are signed by an account")?;
        Ok(Some(Arc::new(AccountNotary(signer))))
    }
}

/// Account that signs receipts of a server.
struct AccountNotary(Signer);

impl Notary for AccountNotary {
    fn account(&self) -> Hash {
        self.0.key_account()
    }

    fn sign(&self, digest: &Hash) -> Signature {
        self.0.sign_message(digest)
    }
}
