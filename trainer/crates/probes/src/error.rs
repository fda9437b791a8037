// SPDX-License-Identifier: Apache-2.0

/// Reasons why a model cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to measure on, or the sequences differ in length.
    #[error("measuring needs at least one sequence, all of the same length of at least 2 tokens")]
    Sequences,
    /// The kernels failed.
    #[error(transparent)]
    Step(#[from] pol_step::Error),
    /// libtorch failed.
    #[error(transparent)]
    Model(#[from] pol_model::Error),
}
