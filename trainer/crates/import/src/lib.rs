// SPDX-License-Identifier: Apache-2.0

//! Import of pretrained models: checkpoints of other formats and families become parameters in
//! canonical order.
//!
//! A checkpoint is a Hugging Face folder with safetensors, or a GGUF file. Names and shapes of all
//! tensors are checked before any value is decoded. A feature that the decoder lacks is refused,
//! not approximated. Files are not trusted; [`files`] has the rules. Terms are defined in
//! `docs/glossary.md`.
//!
//! - [`Checkpoint::open`] reads the description of a checkpoint and derives its
//!   [`ModelSpec`](pol_primitives::model::ModelSpec).
//! - [`Checkpoint::save`] decodes one tensor at a time into a folder.
//! - [`load`] reads such a folder as an [`ImportedModel`], and [`open`] part by part as an
//!   [`OpenModel`]; [`describe`] reads all but its weights.
//! - [`ImportReport`] has the disposition of every tensor.
//! - [`ImportedModel::adapt`] creates a model of another size.
//! - [`export()`] writes a model as other programs read it.
//! - [`Hub`] downloads checkpoints from a hub.
//! - [`checkpoint_formats`] lists what can be imported.
//!
//! # Example
//!
//! ```no_run
//! use indicatif::ProgressBar;
//! use pol_import::{Checkpoint, load};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), pol_import::ImportError> {
//! let checkpoint = Checkpoint::open(Path::new("SmolLM2-135M.gguf"), None)?;
//! let report = checkpoint.save(Path::new("smollm2"), false, &ProgressBar::hidden())?;
//! let model = load(Path::new("smollm2"))?;
//! assert_eq!(model.root, report.root);
//! # Ok(())
//! # }
//! ```

mod adaptation;
mod checkpoint;
mod description;
mod error;
mod export;
pub mod files;
mod folder;
mod hub;
mod mapping;
mod opened;
mod report;
mod source_files;
mod tokenizer;

pub use checkpoint::Checkpoint;
pub use description::{CheckpointFormat, SpecialTokens, checkpoint_formats};
pub use error::ImportError;
pub use export::{ExportFormat, ExportReport, ExportSource, ExportType, export};
pub use folder::{ImportedModel, KEPT_FILE, REPORT_FILE, SPEC_FILE, check_writable, describe};
pub use hub::{Hub, HubId};
pub use mapping::{TensorDisposition, TensorReport};
pub use opened::{OpenModel, load, open};
pub use pol_data::TOKENIZER_FILE;
pub use report::{Adaptation, ImportReport};
pub use source_files::WEIGHTS_FILE;
pub use tokenizer::TokenizerReport;
