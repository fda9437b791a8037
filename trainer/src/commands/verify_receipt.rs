// SPDX-License-Identifier: Apache-2.0

//! `verify-receipt`: a text that a receipt is of, generated again and compared.

use super::{
    decoder::{AnyDecoder, DecoderOption, thread_count},
    loaded_model::{LoadedModel, ModelSource},
};
use crate::{files::read_limited, options::NodeOptions};
use anyhow::{Context, Result, bail};
use clap::Args;
use pol_chain::format_account;
use pol_generate::{Completion, LanguageModel, Prompt, Request, TextTokenizer, generate};
use pol_primitives::Hash;
use pol_receipt::{Difference, MAX_RECEIPT_BYTES, Match, ReceiptError, ReceiptFile, output_hash};
use serde_json::json;
use std::{
    io::ErrorKind,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

const EXAMPLES: &str = "\
Examples:
  pol-trainer verify-receipt receipt.json
      generate the text again with the model of the chain that the receipt names
  pol-trainer verify-receipt receipt.json --model smollm2 --prompt 'The capital of France is'
      with a model of this machine, and a prompt that the receipt does not disclose

The result is MATCH or MISMATCH. The exit code is 0 for MATCH only. Texts of the native decoder \
are the same on every machine. Those of libtorch are the same on the same machine with as many \
threads; elsewhere they cannot be compared, which is no mismatch.";

/// Options of `verify-receipt`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyReceiptOptions {
    /// File that `generate --receipt` or a server made.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder made by `model import`. [default: the model is fetched from members of the chain]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    node: NodeOptions,
    /// Prompt, if the receipt does not disclose it.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// The prompt is a user's message in a conversation.
    #[arg(long, requires = "prompt")]
    chat: bool,
    /// System message before the conversation.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// Threads. [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Verifies a receipt, and prints the result.
pub(crate) async fn run(options: VerifyReceiptOptions) -> Result<()> {
    let file = read(&options.file)?;
    let source = find_model(&options, &file.receipt.generator.chain, &file.receipt.generator.model);
    let source = source.await?;
    tokio::task::spawn_blocking(move || verify(&options, &file, source)).await?
}

/// Reads a file whose account signed it.
fn read(path: &Path) -> Result<ReceiptFile> {
    let bytes = match read_limited(path, MAX_RECEIPT_BYTES as u64) {
        Err(error) if error.kind() == ErrorKind::FileTooLarge => Err(ReceiptError::TooLarge.into()),
        read => read.map_err(anyhow::Error::from),
    };
    let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
    let read = ReceiptFile::parse(&bytes).and_then(|file| file.check_signature().map(|()| file));
    read.with_context(|| path.display().to_string())
}

/// Returns the model of the folder, or that of the chain.
async fn find_model(
    options: &VerifyReceiptOptions,
    chain: &Option<Hash>,
    root: &Hash,
) -> Result<ModelSource> {
    if let Some(folder) = options.model.clone() {
        // The verdict is on the root, which only parameters that are compared with it have.
        let read = move || ModelSource::read(&folder).map(ModelSource::verified);
        return tokio::task::spawn_blocking(read).await?;
    }
    let Some(chain) = chain else {
        bail!("the receipt is of a model of a folder; give the folder with --model")
    };
    let genesis = options.node.connect().await?.genesis_hash();
    if genesis != *chain {
        bail!(Difference::Chain(format!("0x{}", hex::encode(chain))));
    }
    ModelSource::fetch(&options.node, Some(root)).await
}

/// Generates the text again, and prints the result of the comparison.
fn verify(options: &VerifyReceiptOptions, file: &ReceiptFile, source: ModelSource) -> Result<()> {
    let receipt = &file.receipt;
    let is_torch = receipt.generator.decoder.starts_with("pol-generate/torch/");
    let choice = is_torch.then_some(DecoderOption::Torch);
    let ends = Some(&receipt.terms.ends[..]);
    let model = source.open(choice, thread_count(options.threads)?, ends)?;
    match receipt.generator.check_same(&model.generator) {
        Err(difference @ Difference::Decoder { .. }) => {
            options.print(file, "incomparable", None);
            return Err(difference.into());
        }
        same => same?,
    }
    let given = options.prompt.as_deref().map(|prompt| {
        let (chat, tools) = (options.chat, receipt.terms.tools);
        let system = options.system.as_deref();
        let prompt = Prompt { text: prompt, chat, system, history: &[], tools, reason: false };
        prompt.encode(&model.text, model.begin)
    });
    let request = Request::from_terms(&receipt.terms, file.prompt(given.transpose()?)?);
    let completion = model.complete(&request)?;
    let again = request.receipt(model.generator.clone(), &model.text, &completion);
    if receipt.compare(&again)? == Match::Equal {
        options.print(file, "match", Some(&completion));
        return Ok(());
    }
    options.print(file, "mismatch", Some(&completion));
    bail!("the model does not make the text that the receipt is of")
}

impl LoadedModel {
    /// Returns the completion of one request.
    fn complete(&self, request: &Request) -> Result<Completion> {
        fn complete<M: LanguageModel>(
            model: &M,
            text: &TextTokenizer,
            request: &Request,
        ) -> Result<Completion> {
            let requests = std::slice::from_ref(request);
            let mut done = generate(model, text, requests, |_, _| ControlFlow::Continue(()))?;
            done.pop().context("no text was generated")
        }
        match &self.decoder {
            AnyDecoder::Native(model) => complete(&**model, &self.text, request),
            AnyDecoder::Torch(model) => complete(&**model, &self.text, request),
        }
    }
}

impl VerifyReceiptOptions {
    fn print(&self, file: &ReceiptFile, verdict: &str, completion: Option<&Completion>) {
        let (receipt, account) = (&file.receipt, format_account(&file.account));
        if !self.json {
            println!("{}: signed by {account}", verdict.to_uppercase());
            return;
        }
        let hex = |hash: Hash| format!("0x{}", hex::encode(hash));
        let again = completion.map(|completion| {
            json!({ "output": hex(output_hash(&completion.text)), "tokens": completion.tokens })
        });
        println!(
            "{}",
            json!({
                "verdict": verdict,
                "account": account,
                "model": hex(receipt.generator.model),
                "decoder": receipt.generator.decoder,
                "profile": receipt.generator.profile,
                "receipt": { "output": hex(receipt.output), "tokens": receipt.tokens },
                "again": again,
            })
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_that_are_no_receipts_are_refused_with_their_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipt.json");
        assert!(read(&path).unwrap_err().to_string().contains("cannot read"));
        for (bytes, reason) in [
            (b"{}".to_vec(), "this is not a receipt"),
            (b"{\"version\":2}".to_vec(), "receipts of version 2 are unknown"),
            (vec![b'['; 100], "nested deeper"),
            (vec![b' '; MAX_RECEIPT_BYTES + 1], "larger than a receipt can be"),
            (vec![b' '; MAX_RECEIPT_BYTES + 9], "larger than a receipt can be"),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err();
            let text = format!("{error:#}");
            assert!(text.contains("receipt.json") && text.contains(reason), "{text}");
        }
    }
}
