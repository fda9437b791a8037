// SPDX-License-Identifier: Apache-2.0

use super::super::FileError;
use std::collections::BTreeMap;

/// Value of a metadata entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Integer of any type.
    Integer(i128),
    /// Floating-point number of any type.
    Float(f64),
    /// Boolean.
    Bool(bool),
    /// String.
    Text(String),
    /// Array of strings.
    Texts(Vec<String>),
    /// Array of integers or booleans.
    Integers(Vec<i64>),
    /// Array of floating-point numbers.
    Floats(Vec<f64>),
}

/// Metadata of a file by key.
pub type Metadata = BTreeMap<String, Value>;

pub(super) fn malformed(reason: String) -> FileError {
    FileError::Malformed { format: "GGUF", reason }
}
