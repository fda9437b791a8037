// SPDX-License-Identifier: Apache-2.0

//! Export of models as other programs read them.

mod gguf;
mod hf;
mod hf_families;
mod hf_rope;
mod source;
mod subject;
mod tokenizer;
mod write;

pub use source::ExportSource;
pub use write::{ExportFormat, ExportReport, ExportType, export};
