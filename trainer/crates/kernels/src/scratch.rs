// SPDX-License-Identifier: Apache-2.0

//! Memory that calls share.

/// Values on a cache line.
const LINE: usize = 16;

/// Reusable memory of kernels. It grows to what the largest call needs.
#[derive(Default)]
pub struct Scratch {
    /// Packed operands: those of products, or both forms of each operand of attention.
    pub(crate) buffers: [Buffer; 8],
}

/// Memory that begins at a cache line, so that no vector of a panel lies across two.
#[derive(Default)]
pub(crate) struct Buffer(Vec<f32>);

impl Buffer {
    /// Returns `len` values of any content.
    pub(crate) fn get(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() < len + LINE {
            // The old memory goes before the new one comes.
            self.0 = Vec::new();
            self.0 = vec![0.0; len + LINE];
        }
        let start = self.0.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        &mut self.0[start..start + len]
    }
}
