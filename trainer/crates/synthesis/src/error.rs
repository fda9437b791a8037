// SPDX-License-Identifier: Apache-2.0

//! Errors, with their remedies.

/// Error of making documents.
#[derive(Debug, thiserror::Error)]
pub enum SynthesisError {
    /// A recipe cannot be parsed.
    #[error("the recipe cannot be read: {0}")]
    Syntax(String),
    /// A value of a recipe is out of its range.
    #[error("{field} must be {range}; change it in the recipe")]
    Range {
        /// Name of the value.
        field: &'static str,
        /// Allowed range.
        range: String,
    },
    /// A recipe of another version of the generators.
    #[error(
        "the recipe is for version {found} of the generators and this program has version \
         {known}; use a program of that version to make the same bytes"
    )]
    Version {
        /// Version of the recipe.
        found: u32,
        /// Version of this program.
        known: u32,
    },
    /// A recipe needs a model, and none is there.
    #[error("the recipe draws text from the model {0}; load it")]
    NoModel(String),
    /// The model is another one than the recipe names.
    #[error("the recipe draws text from the model {expected}, not from {found}; load that one")]
    OtherModel {
        /// Identity that the recipe names.
        expected: String,
        /// Identity of the loaded model.
        found: String,
    },
    /// A file of prompts is missing, is another one, or holds none.
    #[error("{0}")]
    Prompts(String),
    /// A document of another recipe, or changed after it was made.
    #[error("the document at {location} is not what the recipe makes there: {reason}")]
    OtherDocument {
        /// Location in the origin of the document.
        location: String,
        /// Difference found.
        reason: String,
    },
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A certificate does not hold.
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

/// Reason why a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate does not hold: {0}")]
pub struct Rejection(pub String);

impl Rejection {
    /// Returns an error with this reason unless `holds`.
    pub(crate) fn unless(holds: bool, reason: &str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self(reason.to_owned())) }
    }
}

/// Failure of a model.
#[derive(Debug, thiserror::Error)]
#[error("the model failed: {0}")]
pub struct ModelError(pub String);

/// Fails if a value of a recipe is outside of its range.
pub(crate) fn in_range(
    field: &'static str,
    value: u32,
    least: u32,
    most: u32,
) -> Result<(), SynthesisError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(SynthesisError::Range { field, range: format!("from {least} to {most}, not {value}") })
}
