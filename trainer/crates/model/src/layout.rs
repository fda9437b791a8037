// SPDX-License-Identifier: Apache-2.0

use pol_primitives::model::{InvalidSpec, ModelSpec, Parameter};
use std::ops::Range;

/// Place of each tensor in the flat parameter vector.
#[derive(Clone, Debug)]
pub struct Layout {
    slots: Vec<TensorSlot>,
    len: usize,
}

/// Place of one tensor in the flat parameter vector.
#[derive(Clone, Debug)]
pub struct TensorSlot {
    /// The tensor.
    pub parameter: Parameter,
    /// Index of its first value.
    pub offset: usize,
}

impl TensorSlot {
    /// Returns the indices of its values.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.parameter.len()
    }

    /// Returns the shape as outer size, rows and columns; missing dimensions have size 1.
    pub(crate) fn outer_rows_columns(&self) -> [usize; 3] {
        let mut sizes = [1; 3];
        for (size, &given) in sizes.iter_mut().rev().zip(self.parameter.shape.iter().rev()) {
            *size = given as usize;
        }
        sizes
    }

    /// Returns the block that the tensor belongs to and its name within the block; `None` for a
    /// tensor outside the blocks.
    pub(crate) fn block_part(&self) -> Option<(u16, &str)> {
        let (index, part) = self.parameter.name.strip_prefix("h.")?.split_once('.')?;
        Some((index.parse().ok()?, part))
    }
}

impl Layout {
    /// Computes the layout of `spec`.
    ///
    /// # Errors
    ///
    /// Fails if `spec` is invalid.
    pub fn new(spec: &ModelSpec) -> Result<Self, InvalidSpec> {
        spec.validate()?;
        let mut len = 0;
        let slots = spec
            .parameters()
            .into_iter()
            .map(|parameter| {
                let offset = len;
                len += parameter.len();
                TensorSlot { parameter, offset }
            })
            .collect();
        Ok(Self { slots, len })
    }

    /// Returns the number of values of the flat vector.
    #[allow(clippy::len_without_is_empty, reason = "no valid model is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the tensors in canonical order, which is the order of their offsets.
    pub fn tensors(&self) -> &[TensorSlot] {
        &self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_lie_one_after_the_other() {
        let spec = ModelSpec::gpt2(11, 6, 2, 3, 5, 7);
        let layout = Layout::new(&spec).unwrap();
        let mut next = 0;
        for slot in layout.tensors() {
            assert_eq!(slot.offset, next);
            next = slot.range().end;
        }
        assert_eq!((layout.len(), layout.len() as u64), (next, spec.size()));
    }

    #[test]
    fn an_invalid_specification_is_refused() {
        let spec = ModelSpec::gpt2(11, 6, 2, 4, 5, 7);
        assert_eq!(Layout::new(&spec).err(), Some(InvalidSpec::Heads));
    }
}
