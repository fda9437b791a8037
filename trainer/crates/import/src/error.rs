// SPDX-License-Identifier: Apache-2.0

use crate::files::FileError;
use pol_model::Error;
use pol_primitives::model::InvalidSpec;
use std::{io, path::PathBuf};

/// Error of importing a checkpoint or of loading an imported folder. Messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file of weights breaks its format.
    #[error("{} {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Violation of the format.
        source: FileError,
    },
    /// An operation of the file system failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// Operation as a verb.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// There is no checkpoint at the path.
    #[error("{0}")]
    Source(String),
    /// A description of a model is malformed or contradicts itself.
    #[error("{from}: {reason}")]
    Config {
        /// File that holds the description.
        from: String,
        /// Violation.
        reason: String,
    },
    /// The description asks for a feature that the decoder does not have.
    #[error("{from} asks for {feature}, which is not supported: {advice}")]
    Unsupported {
        /// File that holds the description.
        from: String,
        /// The feature.
        feature: String,
        /// Remedy.
        advice: &'static str,
    },
    /// A tensor of the description is missing.
    #[error(
        "tensor {name} {expected:?} is missing: {from} asks for it; \
         the checkpoint was not saved whole or belongs to another description"
    )]
    Missing {
        /// The tensor.
        name: String,
        /// Its shape.
        expected: Vec<u64>,
        /// The description.
        from: String,
    },
    /// A tensor has another shape than the description asks for.
    #[error(
        "tensor {name} is {found:?} where {from} asks for {expected:?}; \
         they belong to different models, take both from the same place"
    )]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<u64>,
        /// Shape of the description.
        expected: Vec<u64>,
        /// The description.
        from: String,
    },
    /// A tensor has no values.
    #[error(
        "tensor {name} is {found:?}, without values, where {from} asks for {expected:?}; a sharded \
         trainer saved it without gathering its parts, gather them and save it again"
    )]
    Empty {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<u64>,
        /// Shape of the description.
        expected: Vec<u64>,
        /// The description.
        from: String,
    },
    /// The architecture has no place for some tensors.
    #[error(
        "the checkpoint has {} that the {family} family has no place for; it holds another \
         architecture or a head for another task, save it again as a language model",
        listed(.names)
    )]
    Extra {
        /// The tensors.
        names: Vec<String>,
        /// The family.
        family: String,
    },
    /// A tensor contradicts the description.
    #[error("tensor {name} {reason}")]
    Contradiction {
        /// The tensor.
        name: String,
        /// The contradiction.
        reason: String,
    },
    /// A value of a tensor is NaN or infinite.
    #[error(
        "tensor {name} has the value {value} at index {index}; \
         the checkpoint is damaged or its training diverged, take another"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// Index of the value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A tokenizer cannot be read or belongs to another model.
    #[error("the tokenizer of {from} {reason}")]
    Tokenizer {
        /// Origin of the tokenizer.
        from: String,
        /// Violation.
        reason: String,
    },
    /// A request to the hub failed.
    #[error("{id}: {reason}")]
    Hub {
        /// Model on the hub.
        id: String,
        /// Failure and remedy.
        reason: String,
    },
    /// The output folder exists already.
    #[error(
        "{} exists already; choose another folder or, to replace a model that was imported into \
         it, pass --force",
        .0.display()
    )]
    Exists(PathBuf),
    /// The output of an export exists already.
    #[error("{} exists already; choose another name, or delete it", .0.display())]
    OutputExists(PathBuf),
    /// No family of a format expresses a model.
    #[error("the model has {reason}; {advice}")]
    Inexpressible {
        /// Parts of the model.
        reason: String,
        /// Remedy.
        advice: String,
    },
    /// A value is too large for an encoding.
    #[error(
        "tensor {name} has the value {value} at index {index}, which is beyond {encoding}; export \
         it as bf16 or f32"
    )]
    TooLarge {
        /// The tensor.
        name: String,
        /// Index of the value.
        index: usize,
        /// The value.
        value: f32,
        /// The encoding.
        encoding: String,
    },
    /// The content of an imported folder has changed since it was written.
    #[error("{} is damaged: {reason}; import it again", .folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// The difference.
        reason: String,
    },
    /// The sizes are beyond the protocol's limits.
    #[error("{from} describes a model that cannot be built: {invalid}")]
    Spec {
        /// File that holds the description.
        from: String,
        /// Violation.
        invalid: InvalidSpec,
    },
    /// The model could not be built.
    #[error(transparent)]
    Model(#[from] Error),
}

/// Lists the first few of `names`.
fn listed(names: &[String]) -> String {
    const MAX_LISTED: usize = 4;
    let first = names.iter().take(MAX_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MAX_LISTED) {
        None | Some(0) => {
            format!("{} {first}", if names.len() == 1 { "tensor" } else { "tensors" })
        }
        Some(more) => format!("tensors {first} and {more} more"),
    }
}
