// SPDX-License-Identifier: Apache-2.0

//! Reasons why a kernel does not run.

/// Inputs that do not fit together. Outputs are untouched then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The definition has no such shape.
    #[error(transparent)]
    Shape(#[from] pol_numerics::Error),
    /// A tensor does not have as many values as the shape says.
    #[error("{tensor}: {found} values, but the shape has {expected}; pass a tensor of that size")]
    Length {
        /// Name of the tensor.
        tensor: &'static str,
        /// Number of values by the shape.
        expected: u64,
        /// Number of values given.
        found: usize,
    },
    /// An integer is not below the size of what it points into.
    #[error("{tensor}: entry {entry} is not below {bound}; check the tokens")]
    Entry {
        /// Name of the tensor of integers.
        tensor: &'static str,
        /// The integer.
        entry: u32,
        /// Number of entries.
        bound: u32,
    },
    /// A tensor is given where the shape has none, or the other way round.
    #[error("{tensor}: given, or left out, against the shape; make both agree")]
    Presence {
        /// Name of the tensor.
        tensor: &'static str,
    },
    /// A table of angles is of another shape.
    #[error("the table has other angles, or too few positions; make one for the shape")]
    Angles,
}

/// Checks the length of a tensor with the given extents.
pub(crate) fn check<T>(tensor: &'static str, values: &[T], extents: &[u32]) -> Result<(), Error> {
    let expected = extents.iter().fold(1u64, |all, &extent| all.saturating_mul(extent.into()));
    if values.len() as u64 == expected {
        Ok(())
    } else {
        Err(Error::Length { tensor, expected, found: values.len() })
    }
}

/// Checks that a tensor has as many values as another one.
pub(crate) fn same_len(tensor: &'static str, values: &[f32], other: &[f32]) -> Result<(), Error> {
    let (expected, found) = (other.len() as u64, values.len());
    if found == other.len() { Ok(()) } else { Err(Error::Length { tensor, expected, found }) }
}

/// Checks an optional tensor against the shape that says whether it is there.
pub(crate) fn check_optional(
    tensor: &'static str,
    values: Option<&[f32]>,
    is_expected: bool,
    extents: &[u32],
) -> Result<(), Error> {
    match values {
        Some(values) if is_expected => check(tensor, values, extents),
        None if !is_expected => Ok(()),
        _ => Err(Error::Presence { tensor }),
    }
}

/// Checks that integers point into something of `bound` entries.
pub(crate) fn check_entries(tensor: &'static str, all: &[u32], bound: u32) -> Result<(), Error> {
    match all.iter().find(|&&entry| entry >= bound) {
        Some(&entry) => Err(Error::Entry { tensor, entry, bound }),
        None => Ok(()),
    }
}
