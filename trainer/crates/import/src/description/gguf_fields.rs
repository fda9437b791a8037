// SPDX-License-Identifier: Apache-2.0

//! Typed access to the metadata of a GGUF file.

use super::billionths;
use crate::{
    ImportError,
    files::gguf::{Metadata, Value},
};

/// Metadata entries of an architecture. Their keys start with its name.
pub(super) struct Fields<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) architecture: &'a str,
    pub(super) from: &'a str,
}

impl Fields<'_> {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&format!("{}.{key}", self.architecture))
    }

    pub(super) fn refuse(&self, reason: String) -> ImportError {
        ImportError::Config { from: self.from.to_owned(), reason }
    }

    pub(super) fn unsupported(&self, feature: String, advice: &'static str) -> ImportError {
        ImportError::Unsupported { from: self.from.to_owned(), feature, advice }
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<i128>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Integer(value)) => Ok(Some(value)),
            Some(Value::Integers(_)) => Err(self.unsupported(
                format!("a different {key} in each block"),
                "take a model whose blocks are all alike",
            )),
            Some(other) => Err(self.refuse(format!("{key} is {other:?}, not a number"))),
        }
    }

    pub(super) fn float(&self, key: &str) -> Result<Option<f64>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Float(value)) => Ok(Some(value)),
            Some(other) => {
                Err(self.refuse(format!("{key} is {other:?}, not a floating-point number")))
            }
        }
    }

    pub(super) fn fit<T: TryFrom<i128> + PartialEq + From<u8>>(
        &self,
        key: &str,
        value: i128,
    ) -> Result<T, ImportError> {
        let size = T::try_from(value).ok().filter(|size| *size != T::from(0));
        size.ok_or_else(|| {
            self.refuse(format!("{key} is {value}, not a size that a model can have"))
        })
    }

    pub(super) fn size<T: TryFrom<i128> + PartialEq + From<u8>>(
        &self,
        key: &str,
    ) -> Result<T, ImportError> {
        let value = self
            .integer(key)?
            .ok_or_else(|| self.refuse(format!("it does not say {}.{key}", self.architecture)))?;
        self.fit(key, value)
    }

    pub(super) fn epsilon(&self, key: &str) -> Result<u32, ImportError> {
        let value = self
            .float(key)?
            .ok_or_else(|| self.refuse(format!("it does not say {}.{key}", self.architecture)))?;
        billionths(value)
            .ok_or_else(|| self.refuse(format!("{key} is {value}, not a multiple of a billionth")))
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, ImportError> {
        match self.get(key) {
            None => Ok(default),
            Some(&Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.refuse(format!("{key} is {other:?}, neither true nor false"))),
        }
    }
}
