// SPDX-License-Identifier: Apache-2.0

//! Receipts of answers, signed by an account of the server.

use crate::error::ApiError;
use pol_generate::{Completion, FinishReason, Request, TextTokenizer};
use pol_primitives::Hash;
use pol_receipt::{Disclosure, Generator, ReceiptError, ReceiptFile, Signature};
use std::sync::Arc;

/// Account that signs receipts.
pub trait Notary: Send + Sync {
    /// Returns the public key of the account.
    fn account(&self) -> Hash;

    /// Returns the signature of a digest by sr25519.
    fn sign(&self, digest: &Hash) -> Signature;
}

/// Maker of receipts for the texts of one model.
pub(crate) struct Receipts {
    generator: Generator,
    notary: Arc<dyn Notary>,
}

impl Receipts {
    pub(crate) fn new(generator: Generator, notary: Arc<dyn Notary>) -> Self {
        Self { generator, notary }
    }

    /// Checks that a text of `request` can have a receipt.
    pub(crate) fn check(&self, request: &Request, text: &TextTokenizer) -> Result<(), ApiError> {
        if !request.controls.is_default() {
            let detail = "a receipt cannot name logit_bias, frequency_penalty, presence_penalty, \
                          or controls; leave them out";
            return Err(ApiError::parameter("receipt", detail));
        }
        let nothing = Completion {
            text: String::new(),
            tokens: 0,
            calls: Vec::new(),
            finish: FinishReason::Length,
            affect: None,
        };
        self.file(request, text, &nothing).map(drop)
    }

    /// Returns the receipt of a text. It discloses prompt and text, which the client has anyway, so
    /// that the receipt can be verified without either.
    pub(crate) fn file(
        &self,
        request: &Request,
        text: &TextTokenizer,
        completion: &Completion,
    ) -> Result<ReceiptFile, ApiError> {
        let receipt = request.receipt(self.generator.clone(), text, completion);
        let disclosed = Disclosure {
            prompt: Some(request.prompt.clone()),
            output: Some(completion.text.clone()),
        };
        let file =
            ReceiptFile::sign(receipt, self.notary.account(), |digest| self.notary.sign(digest));
        let file = file.disclosing(disclosed);
        // A file that nobody could read back is no receipt.
        file.to_json().map_err(refused)?;
        Ok(file)
    }
}

fn refused(error: ReceiptError) -> ApiError {
    ApiError::parameter("receipt", format!("the text can have no receipt: {error}"))
}
