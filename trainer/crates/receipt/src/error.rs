// SPDX-License-Identifier: Apache-2.0

//! Reasons for which a receipt is refused, or cannot be verified here.

use crate::file::{MAX_DEPTH, MAX_RECEIPT_BYTES};

/// Error of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The file is larger than a receipt can be.
    #[error("the file is larger than a receipt can be: at most {MAX_RECEIPT_BYTES} bytes")]
    TooLarge,
    /// Values of the JSON are nested deeper than those of a receipt.
    #[error("the JSON is nested deeper than a receipt, which has at most {MAX_DEPTH} levels")]
    TooDeep,
    /// The file is not a receipt.
    #[error("this is not a receipt: {0}")]
    NotReceipt(String),
    /// The receipt has a version that this program does not know.
    #[error("receipts of version {0} are unknown to this program; take a newer one")]
    UnknownVersion(u64),
    /// JSON does not keep the bits of a number of the terms.
    #[error("JSON does not keep all digits of a number of this request; give it fewer digits")]
    Digits,
    /// The account did not sign this receipt.
    #[error("the signature is not that of the receipt's account, or the receipt was changed")]
    Signature,
    /// The prompt in the file, or the given one, is not the one of the receipt.
    #[error("this is not the prompt that the receipt is of")]
    OtherPrompt,
    /// The text in the file is not the one of the receipt.
    #[error("the text in the file is not the one that the receipt is of")]
    OtherOutput,
    /// Neither the file nor the caller has the prompt.
    #[error("the receipt keeps its prompt to itself; give it with --prompt")]
    MissingPrompt,
    /// The text cannot be generated here from what the receipt names.
    #[error(transparent)]
    Different(#[from] Difference),
}

/// Difference between the generator of a receipt and the one at hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The receipt is of another chain.
    #[error("the receipt is of a model of another chain, whose genesis block is {0}")]
    Chain(String),
    /// The receipt is of other parameters.
    #[error("the receipt is of another model, with the root {0}")]
    Model(String),
    /// The receipt is of a model with the same parameters that computes something else.
    #[error("the receipt is of another specification of the model, with the digest {0}")]
    Specification(String),
    /// The receipt is of another tokenizer.
    #[error("the receipt is of another tokenizer, with the hash {0}")]
    Tokenizer(String),
    /// The text was made by a decoder whose bits this one does not have.
    #[error(
        "the texts cannot be compared: that of the receipt was made by {theirs}, and this is \
         {ours}; they may differ though nobody lied"
    )]
    Decoder {
        /// Decoder and profile of the receipt.
        theirs: String,
        /// Decoder and profile at hand.
        ours: String,
    },
}
