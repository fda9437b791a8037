// SPDX-License-Identifier: Apache-2.0

use crate::Error;
use tch::Tensor;

/// One row of values per cached token. Empty by default.
///
/// A [`KvCache`](crate::KvCache) holds one row cache per block and one for the second pass.
#[derive(Debug, Default)]
pub struct RowCache {
    /// `[batch, length, columns]`.
    rows: Option<Tensor>,
}

impl RowCache {
    /// Returns the number of tokens per sequence.
    pub fn len(&self) -> i64 {
        self.rows.as_ref().and_then(|rows| rows.size().get(1).copied()).unwrap_or(0)
    }

    /// Returns `true` if no token is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `rows` `[batch, length, columns]` and returns all rows.
    pub(super) fn extend(&mut self, rows: &Tensor) -> Result<Tensor, Error> {
        let all = match &self.rows {
            Some(past) => Tensor::f_cat(&[past, rows], 1)?,
            None => rows.f_detach()?,
        };
        self.rows = Some(all.shallow_clone());
        Ok(all)
    }

    /// Drops all but the first `len` tokens.
    ///
    /// # Errors
    ///
    /// Fails if libtorch fails.
    pub fn truncate(&mut self, len: i64) -> Result<(), Error> {
        if len <= 0 {
            self.rows = None;
        } else if len < self.len()
            && let Some(rows) = &self.rows
        {
            self.rows = Some(rows.f_narrow(1, 0, len)?);
        }
        Ok(())
    }

    /// Creates a cache whose sequence `i` is sequence `rows[i]` (int64) of this one.
    pub(crate) fn select(&self, rows: &Tensor) -> Result<Self, Error> {
        let selected = self.rows.as_ref().map(|all| all.f_index_select(0, rows)).transpose()?;
        Ok(Self { rows: selected })
    }
}
