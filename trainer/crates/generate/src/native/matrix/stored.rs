// SPDX-License-Identifier: Apache-2.0

//! Matrices in files, in the forms that they have in memory.

use super::{Form, Matrix, PanelPlace};
use crate::native::{
    blocks::{
        BLOCK_INPUTS, BlockQ4, BlockQ4K, BlockQ5K, BlockQ6K, BlockQ8, F32, NR, SHORT_BLOCK_INPUTS,
        SUPER_INPUTS, SuperQ4K, SuperQ5K, SuperQ6K,
    },
    huge_pages::reserve_huge,
};
use bytemuck::{Pod, cast_slice, cast_slice_mut};
use serde::{Deserialize, Serialize};
use std::io;

/// Bytes that are read and hashed at a time, so that they stay in a near cache.
const PART_BYTES: usize = 1 << 18;
/// Number of forms.
const FORMS: usize = 11;

/// Description of a matrix in a file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::native) struct MatrixHeader {
    inputs: usize,
    /// Form and number of outputs of each panel.
    panels: Vec<(Form, u8)>,
}

impl MatrixHeader {
    pub(in crate::native) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(in crate::native) fn outputs(&self) -> usize {
        self.panels.iter().map(|&(_, width)| usize::from(width)).sum()
    }

    /// Returns the number of bytes of the panels; `None` if there are no such panels.
    pub(in crate::native) fn bytes(&self) -> Option<u64> {
        self.panels.iter().try_fold(0u64, |sum, &(form, width)| {
            let bytes = form.elements(self.inputs)?.checked_mul(form.element_bytes())?;
            let is_panel = (1..=NR).contains(&usize::from(width));
            sum.checked_add(u64::try_from(bytes).ok()?).filter(|_| is_panel)
        })
    }
}

impl Form {
    /// Returns the number of elements of a panel; `None` if its inputs do not fill blocks.
    fn elements(self, inputs: usize) -> Option<usize> {
        let block = match self {
            Self::F32 | Self::Bf16 | Self::F16 => 1,
            Self::BlockQ4 | Self::BlockQ8 | Self::BlockQ4K | Self::BlockQ5K => BLOCK_INPUTS,
            Self::BlockQ6K => SHORT_BLOCK_INPUTS,
            Self::SuperQ4K | Self::SuperQ5K | Self::SuperQ6K => SUPER_INPUTS,
        };
        inputs.is_multiple_of(block).then_some(inputs / block)
    }

    /// Returns the number of bytes of an element.
    fn element_bytes(self) -> usize {
        match self {
            Self::F32 => size_of::<F32>(),
            Self::Bf16 | Self::F16 => size_of::<F32>() / 2,
            Self::BlockQ4 => size_of::<BlockQ4>(),
            Self::BlockQ8 => size_of::<BlockQ8>(),
            Self::BlockQ4K => size_of::<BlockQ4K>(),
            Self::BlockQ5K => size_of::<BlockQ5K>(),
            Self::BlockQ6K => size_of::<BlockQ6K>(),
            Self::SuperQ4K => size_of::<SuperQ4K>(),
            Self::SuperQ5K => size_of::<SuperQ5K>(),
            Self::SuperQ6K => size_of::<SuperQ6K>(),
        }
    }
}

impl Matrix {
    /// Returns the description of the matrix. Its bias is not part of it.
    pub(in crate::native) fn header(&self) -> MatrixHeader {
        let panels = self.places.iter().map(|place| (place.form, place.width as u8)).collect();
        MatrixHeader { inputs: self.inputs, panels }
    }

    /// Returns the bytes of all panels, form by form.
    pub(in crate::native) fn parts(&self) -> [&[u8]; FORMS] {
        let store = &self.store;
        [
            cast_slice(&store.f32),
            cast_slice(&store.bf16),
            cast_slice(&store.f16),
            cast_slice(&store.q4),
            cast_slice(&store.q8),
            cast_slice(&store.q4_k),
            cast_slice(&store.q5_k),
            cast_slice(&store.q6_k),
            cast_slice(&store.super_q4_k),
            cast_slice(&store.super_q5_k),
            cast_slice(&store.super_q6_k),
        ]
    }

    /// Reads the matrix that `header` describes, whose [`bytes`](MatrixHeader::bytes) were checked.
    /// `read` fills slices with the bytes of [`parts`](Self::parts), in order.
    pub(in crate::native) fn from_parts(
        header: &MatrixHeader,
        mut read: impl FnMut(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut matrix = Self::new(header.inputs, []);
        let mut lengths = [0; FORMS];
        for &(form, width) in &header.panels {
            let length = &mut lengths[form as usize];
            let width = usize::from(width);
            matrix.places.push(PanelPlace { form, start: *length, output: matrix.outputs, width });
            *length += form.elements(header.inputs).ok_or(io::ErrorKind::InvalidData)?;
            matrix.outputs += width;
        }
        let store = &mut matrix.store;
        read_array(&mut store.f32, lengths[Form::F32 as usize], &mut read)?;
        read_array(&mut store.bf16, lengths[Form::Bf16 as usize], &mut read)?;
        read_array(&mut store.f16, lengths[Form::F16 as usize], &mut read)?;
        read_array(&mut store.q4, lengths[Form::BlockQ4 as usize], &mut read)?;
        read_array(&mut store.q8, lengths[Form::BlockQ8 as usize], &mut read)?;
        read_array(&mut store.q4_k, lengths[Form::BlockQ4K as usize], &mut read)?;
        read_array(&mut store.q5_k, lengths[Form::BlockQ5K as usize], &mut read)?;
        read_array(&mut store.q6_k, lengths[Form::BlockQ6K as usize], &mut read)?;
        read_array(&mut store.super_q4_k, lengths[Form::SuperQ4K as usize], &mut read)?;
        read_array(&mut store.super_q5_k, lengths[Form::SuperQ5K as usize], &mut read)?;
        read_array(&mut store.super_q6_k, lengths[Form::SuperQ6K as usize], &mut read)?;
        Ok(matrix)
    }
}

/// Fills an empty vector with `count` elements.
fn read_array<T: Pod>(
    all: &mut Vec<T>,
    count: usize,
    read: &mut impl FnMut(&mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    if count > 0 {
        reserve_huge(all, count);
    }
    while all.len() < count {
        let start = all.len();
        let part = (PART_BYTES / size_of::<T>()).clamp(1, count - start);
        all.resize(start + part, T::zeroed());
        read(cast_slice_mut(&mut all[start..]))?;
    }
    Ok(())
}
