// SPDX-License-Identifier: Apache-2.0

//! Rows of a table by index: embeddings, and the choice of experts.

use crate::{
    Error, Kernels, canonical,
    error::{check, check_entries},
    rows::rows_of_task,
};
use pol_numerics::Op;
use rayon::prelude::*;
use std::cmp::Ordering;

impl Kernels {
    /// Copies rows of a table, [`Op::Embedding`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says, or an entry is not in the
    /// table.
    pub fn embedding(
        self,
        [rows, entries, width]: [u32; 3],
        table: &[f32],
        tokens: &[u32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::Embedding { rows, entries, width }.len()?;
        check("table", table, &[entries, width])?;
        check("tokens", tokens, &[rows])?;
        check_entries("tokens", tokens, entries)?;
        check("out", out, &[rows, width])?;
        let width = (width as usize).max(1);
        out.par_chunks_mut(width).zip(tokens).for_each(|(out, &token)| {
            let row = &table[token as usize * width..][..width];
            for (out, &value) in out.iter_mut().zip(row) {
                *out = canonical(value);
            }
        });
        Ok(())
    }

    /// Sums gradients of rows of a table in order of tokens, [`Op::EmbeddingGradient`]. With
    /// `adds`, the sums are added to `out`, as [`Function::Add`](pol_numerics::Function::Add) does.
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says, or an entry is not in the
    /// table.
    pub fn embedding_gradient(
        self,
        [rows, entries, width]: [u32; 3],
        gradient: &[f32],
        tokens: &[u32],
        adds: bool,
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::EmbeddingGradient { rows, entries, width }.len()?;
        check("gradient", gradient, &[rows, width])?;
        check("tokens", tokens, &[rows])?;
        check_entries("tokens", tokens, entries)?;
        check("out", out, &[entries, width])?;
        let width = (width as usize).max(1);
        // Places of tokens by entry, those of an entry in their order.
        let mut places: Vec<usize> = (0..tokens.len()).collect();
        places.sort_by_key(|&place| tokens[place]);
        let count = rows_of_task(width);
        let rows = out.par_chunks_mut(count * width).enumerate();
        rows.for_each_init(Vec::new, |sums, (task, out)| {
            let first = task * count;
            let mut place = places.partition_point(|&place| (tokens[place] as usize) < first);
            for (entry, out) in (first..).zip(out.chunks_mut(width)) {
                sums.clear();
                sums.resize(width, 0f32);
                while let Some(&row) =
                    places.get(place).filter(|&&row| tokens[row] as usize == entry)
                {
                    for (sum, value) in sums.iter_mut().zip(&gradient[row * width..]) {
                        *sum += value;
                    }
                    place += 1;
                }
                for (out, &sum) in out.iter_mut().zip(&*sums) {
                    *out = canonical(if adds { *out + sum } else { sum });
                }
            }
        });
        Ok(())
    }

    /// Chooses the best experts of each token, [`Op::Choice`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn choice(
        self,
        [rows, count, active]: [u32; 3],
        scores: &[f32],
        biases: &[f32],
        out: &mut [u32],
    ) -> Result<(), Error> {
        Op::Choice { rows, count, active }.len()?;
        check("scores", scores, &[rows, count])?;
        check("biases", biases, &[count])?;
        check("out", out, &[rows, active])?;
        let (count, active) = ((count as usize).max(1), (active as usize).max(1));
        out.par_chunks_mut(active).zip(scores.par_chunks(count)).for_each(|(out, scores)| {
            let rank = |(&score, &bias): (&f32, &f32)| {
                let size = if score < 0.0 { -score } else { score };
                score / (size + 1.0) + bias
            };
            let ranks: Vec<f32> = scores.iter().zip(biases).map(rank).collect();
            let mut experts: Vec<u32> = (0..ranks.len() as u32).collect();
            // The sort is stable, so that the lower index is first among equals.
            experts.sort_by(|&a, &b| before(ranks[a as usize], ranks[b as usize]));
            out.copy_from_slice(&experts[..out.len()]);
        });
        Ok(())
    }
}

/// Orders ranks from the highest to the lowest, NaN last.
fn before(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}
