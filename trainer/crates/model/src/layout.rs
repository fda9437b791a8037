use pol_primitives::model::{InvalidSpec, ModelSpec, Parameter};
use std::ops::Range;

/// Where each parameter tensor lies in the flat vector.
#[derive(Clone, Debug)]
pub struct Layout {
    slots: Vec<Slot>,
    len: usize,
}

/// One tensor's place in the flat vector.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The tensor.
    pub parameter: Parameter,
    /// Index of its first value.
    pub offset: usize,
}

impl Slot {
    /// Indices of its values.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.parameter.len()
    }
}

impl Layout {
    /// The layout of `spec`, or why there is no such model.
    pub fn new(spec: &ModelSpec) -> Result<Self, InvalidSpec> {
        spec.validate()?;
        let mut len = 0;
        let slots = spec
            .parameters()
            .into_iter()
            .map(|parameter| {
                let offset = len;
                len += parameter.len();
                Slot { parameter, offset }
            })
            .collect();
        Ok(Self { slots, len })
    }

    /// Values of the flat vector.
    #[allow(clippy::len_without_is_empty, reason = "no valid model is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The tensors in canonical order, which is also the order of their offsets.
    pub fn tensors(&self) -> &[Slot] {
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
