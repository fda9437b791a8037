// SPDX-License-Identifier: Apache-2.0

//! Receipts of generated texts.
//!
//! A [`Receipt`] names all that fixes a text: model, tokenizer, decoder with its numerics profile,
//! prompt, and terms of the request. An account signs its [digest](Receipt::digest), which is that
//! of a versioned SCALE encoding. Whoever has the model generates the text again and
//! [compares](Receipt::compare).
//!
//! A [`ReceiptFile`] is what people keep: the same fields and the signature in JSON, and the prompt
//! and the text themselves if their owner chose so. Files come from strangers, so
//! [`ReceiptFile::parse`] bounds all that it reads.
//!
//! # Example
//!
//! ```
//! use pol_receipt::{Generator, Match, Receipt, ReceiptFile, Terms};
//!
//! let generator = Generator {
//!     chain: None,
//!     model: [1; 32],
//!     specification: [2; 32],
//!     tokenizer: [3; 32],
//!     decoder: "pol-generate/native/1".into(),
//!     profile: "exact".into(),
//! };
//! let receipt = Receipt::new(generator, &[5, 7], Terms::default(), "a text", 2);
//! let file = ReceiptFile::sign(receipt, [4; 32], |digest| [digest[0]; 64]);
//! let read = ReceiptFile::parse(file.to_json()?.as_bytes())?;
//! assert_eq!(read, file);
//! assert_eq!(read.receipt.compare(&file.receipt)?, Match::Equal);
//! # Ok::<(), pol_receipt::ReceiptError>(())
//! ```

mod error;
mod file;
mod receipt;

pub use error::{Difference, ReceiptError};
pub use file::{Disclosure, MAX_RECEIPT_BYTES, ReceiptFile, Signature};
pub use receipt::{Generator, Match, Receipt, Terms, output_hash, prompt_hash};
