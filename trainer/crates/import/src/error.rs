use crate::files::FileError;
use pol_model::Error;
use pol_primitives::model::InvalidSpec;
use std::{io, path::PathBuf};

/// Why a checkpoint cannot be imported or an imported folder not be loaded, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file of weights that breaks its format.
    #[error("{} {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FileError,
    },
    /// The system refused something.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no checkpoint there.
    #[error("{0}")]
    Source(String),
    /// A description that cannot be understood, or contradicts itself.
    #[error("{from}: {reason}")]
    Config {
        /// Which description: a file or a file's metadata.
        from: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that the decoder does not do.
    #[error("{from} asks for {what}, which is not supported: {advice}")]
    Unsupported {
        /// Which description: a file or a file's metadata.
        from: String,
        /// The feature.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// A tensor that the description asks for is not there.
    #[error(
        "tensor {name} {expected:?} is missing: {from} asks for it; the checkpoint was not saved whole or belongs to another description"
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
        "tensor {name} is {found:?} where {from} asks for {expected:?}; they belong to different models, take both from the same place"
    )]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<u64>,
        /// The shape it should have.
        expected: Vec<u64>,
        /// The description.
        from: String,
    },
    /// There are tensors that the architecture has no place for.
    #[error(
        "the checkpoint has {} that the {family} family has no place for; it holds another architecture or a head for another task, \
         save it again as a language model", listed(.names)
    )]
    Extra {
        /// The tensors.
        names: Vec<String>,
        /// The family.
        family: String,
    },
    /// A tensor says one thing and the description another.
    #[error("tensor {name} {reason}")]
    Contradiction {
        /// The tensor.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor has a value that is not a number, or infinite.
    #[error(
        "tensor {name} has the value {value} at index {index}; the checkpoint is damaged or its training diverged, take another"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// Where.
        index: usize,
        /// What.
        value: f32,
    },
    /// A tokenizer that cannot be read or belongs to another model.
    #[error("the tokenizer of {from} {reason}")]
    Tokenizer {
        /// Where it is from.
        from: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The hub or the way there failed.
    #[error("{id}: {reason}")]
    Hub {
        /// What was asked for.
        id: String,
        /// What happened, and what to do.
        reason: String,
    },
    /// A folder that is not to be overwritten.
    #[error("{} exists already; choose another folder or, to replace a model that was imported into it, pass --force", .0.display())]
    Exists(PathBuf),
    /// A folder whose contents changed since they were written.
    #[error("{} is damaged: {reason}; import it again", .folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// How that shows.
        reason: String,
    },
    /// The sizes are beyond what the protocol accepts.
    #[error("{from} describes a model that cannot be built: {invalid}")]
    Spec {
        /// The description.
        from: String,
        /// Why not.
        invalid: InvalidSpec,
    },
    /// The model could not be built.
    #[error(transparent)]
    Model(#[from] Error),
}

/// The first few of `names`.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => {
            format!("{} {shown}", if names.len() == 1 { "tensor" } else { "tensors" })
        }
        Some(more) => format!("tensors {shown} and {more} more"),
    }
}
