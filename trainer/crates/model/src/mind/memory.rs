use crate::Error;
use tch::Tensor;

/// What a layer of the mind keeps of the tokens that decoding has passed: one row of values for
/// each.
///
/// Empty by default. A cache holds one for each block and one for the second pass.
#[derive(Debug, Default)]
pub struct Memory {
    /// `[batch, length, columns]`.
    kept: Option<Tensor>,
}

impl Memory {
    /// Tokens of a sequence that it remembers.
    pub fn len(&self) -> i64 {
        self.kept.as_ref().and_then(|kept| kept.size().get(1).copied()).unwrap_or(0)
    }

    /// Whether it remembers none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `rows` `[batch, length, columns]` and gives all rows.
    pub(super) fn extend(&mut self, rows: &Tensor) -> Result<Tensor, Error> {
        let all = match &self.kept {
            Some(kept) => Tensor::f_cat(&[kept, rows], 1)?,
            None => rows.f_detach()?,
        };
        self.kept = Some(all.shallow_clone());
        Ok(all)
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: i64) -> Result<(), Error> {
        if len <= 0 {
            self.kept = None;
        } else if len < self.len()
            && let Some(kept) = &self.kept
        {
            self.kept = Some(kept.f_narrow(1, 0, len)?);
        }
        Ok(())
    }

    /// One whose sequence `i` is sequence `rows[i]` (int64) of this one.
    pub(crate) fn select(&self, rows: &Tensor) -> Result<Self, Error> {
        Ok(Self { kept: self.kept.as_ref().map(|kept| kept.f_index_select(0, rows)).transpose()? })
    }
}
