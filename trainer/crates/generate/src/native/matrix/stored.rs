// SPDX-License-Identifier: Apache-2.0

//! Matrices in files, in the forms that they have in memory.

use super::{Form, Matrix, PanelPlace, Store};
use crate::native::{
    huge_pages::reserve_huge,
    kernels::{
        BLOCK_INPUTS, BlockQ4, BlockQ4K, BlockQ5K, BlockQ6K, BlockQ8, F32, NR, SHORT_BLOCK_INPUTS,
    },
};
use bytemuck::{Pod, Zeroable, cast_slice, cast_slice_mut};
use serde::{Deserialize, Serialize};
use std::io;

/// Bytes that are read and hashed at a time, so that they stay in a near cache.
const PART_BYTES: usize = 1 << 18;

/// Declares that any bytes are a value of a block, and that it has no padding.
macro_rules! plain_blocks {
    ($($block:ident: $bytes:expr),*) => {
        $(
            const _: () = assert!(size_of::<$block>() == $bytes);
            // SAFETY: it has arrays of numbers only, which fill it, as was just compared.
            unsafe impl Zeroable for $block {}
            // SAFETY: as above.
            unsafe impl Pod for $block {}
        )*
    };
}

plain_blocks! {
    BlockQ4: NR * (2 + 2 + BLOCK_INPUTS / 2),
    BlockQ8: NR * (2 + BLOCK_INPUTS),
    BlockQ4K: NR * (4 + 4 + BLOCK_INPUTS / 2),
    BlockQ5K: NR * (4 + 4 + BLOCK_INPUTS / 2 + BLOCK_INPUTS / 8),
    BlockQ6K: NR * (4 + SHORT_BLOCK_INPUTS / 2 + SHORT_BLOCK_INPUTS / 4)
}

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
            let elements = form.elements(self.inputs)?.checked_mul(form.element_bytes())?;
            let is_panel = (1..=NR).contains(&usize::from(width));
            sum.checked_add(u64::try_from(elements).ok()?).filter(|_| is_panel)
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
    pub(in crate::native) fn parts(&self) -> [&[u8]; 8] {
        let Store { f32, bf16, f16, q4, q8, q4_k, q5_k, q6_k } = &self.store;
        [
            cast_slice(f32),
            cast_slice(bf16),
            cast_slice(f16),
            cast_slice(q4),
            cast_slice(q8),
            cast_slice(q4_k),
            cast_slice(q5_k),
            cast_slice(q6_k),
        ]
    }

    /// Reads the matrix that `header` describes, whose [`bytes`](MatrixHeader::bytes) were checked.
    /// `read` fills slices with the bytes of [`parts`](Self::parts), in order.
    pub(in crate::native) fn from_parts(
        header: &MatrixHeader,
        mut read: impl FnMut(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut matrix = Self::new(header.inputs, []);
        let mut lengths = [0; 8];
        for &(form, width) in &header.panels {
            let length = &mut lengths[form as usize];
            let width = usize::from(width);
            matrix.places.push(PanelPlace { form, start: *length, output: matrix.outputs, width });
            *length += form.elements(header.inputs).ok_or(io::ErrorKind::InvalidData)?;
            matrix.outputs += width;
        }
        let Store { f32, bf16, f16, q4, q8, q4_k, q5_k, q6_k } = &mut matrix.store;
        read_array(f32, lengths[Form::F32 as usize], &mut read)?;
        read_array(bf16, lengths[Form::Bf16 as usize], &mut read)?;
        read_array(f16, lengths[Form::F16 as usize], &mut read)?;
        read_array(q4, lengths[Form::BlockQ4 as usize], &mut read)?;
        read_array(q8, lengths[Form::BlockQ8 as usize], &mut read)?;
        read_array(q4_k, lengths[Form::BlockQ4K as usize], &mut read)?;
        read_array(q5_k, lengths[Form::BlockQ5K as usize], &mut read)?;
        read_array(q6_k, lengths[Form::BlockQ6K as usize], &mut read)?;
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
