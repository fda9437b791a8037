// SPDX-License-Identifier: Apache-2.0

use pol_primitives::model::InvalidSpec;

/// Reasons why a micro-batch is not computed. Outputs are of no use then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The specification is invalid.
    #[error(transparent)]
    InvalidSpec(#[from] InvalidSpec),
    /// The specification has a part that this crate does not compute.
    #[error("the kernels do not cover {part} yet; train this model on libtorch")]
    NotCovered {
        /// The part, in words.
        part: &'static str,
    },
    /// The sequences do not fit the model.
    #[error(
        "{sequences} sequences of {length} tokens: choose 1 to {context} tokens in at least one \
         sequence, and at most {} tokens together, where a token counts once for each of its \
         heads or of its experts, whichever are more",
        pol_numerics::MAX_EXTENT
    )]
    Batch {
        /// Number of sequences.
        sequences: u32,
        /// Number of tokens that each predicts.
        length: u32,
        /// Most tokens of a sequence.
        context: u32,
    },
    /// A slice has another length.
    #[error("{tensor}: {found} values, not {expected}; pass those of this model and batch")]
    Length {
        /// Name of the slice.
        tensor: &'static str,
        /// Number of values that fit.
        expected: usize,
        /// Number of values given.
        found: usize,
    },
    /// A token is not in the vocabulary, or a kernel has no such shape.
    #[error(transparent)]
    Kernel(#[from] pol_kernels::Error),
}

/// Checks the length of a slice.
pub(crate) fn check<T>(tensor: &'static str, values: &[T], expected: usize) -> Result<(), Error> {
    let found = values.len();
    if found == expected { Ok(()) } else { Err(Error::Length { tensor, expected, found }) }
}
