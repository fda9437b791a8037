// SPDX-License-Identifier: Apache-2.0

//! The way back: canonical tensors as the tensors of a family.

use super::{
    Factors, Rows, TensorMap, TensorRule, block_pattern, interleaved_heads,
    layout::{interleave, join_heads, read_transposed},
    source_outputs, source_shape,
};
use pol_primitives::model::{ModelSpec, Parameter};

/// Tensors that hold the embedding and the output projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Embeddings {
    /// One for both.
    Shared,
    /// One for both, which is our output projection. Our embedding is a multiple of it.
    FromHead,
    /// One for each.
    Apart,
}

/// Plan of an export: the tensors of a family that each canonical tensor becomes.
pub(crate) struct ExportPlan {
    steps: Vec<Step>,
}

/// A tensor to be written.
pub(crate) struct TensorPiece {
    pub(crate) name: String,
    /// Sizes, outermost first.
    pub(crate) shape: Vec<u64>,
    part: Part,
    /// Factor and addend that an import applies.
    scale: (f32, f32),
}

/// Part of a canonical tensor.
enum Part {
    /// All of it, transposed if it is set.
    Whole { transposed: bool },
    /// So many outputs from one on, transposed if it is set. Rows of `heads` become interleaved.
    Outputs { from: usize, count: usize, transposed: bool, heads: Option<usize> },
    /// The first half of a tensor, which the next canonical tensor completes.
    FirstHalf,
    /// The second half.
    SecondHalf,
    /// All of it behind so many values that stand for nothing.
    Behind(usize),
    /// All of it with the heads of each group by turns, transposed if it is set.
    ByHead { transposed: bool, groups: usize, group_heads: usize },
}

/// A canonical tensor and the tensors that it becomes.
struct Step {
    columns: usize,
    pieces: Vec<TensorPiece>,
}

impl ExportPlan {
    /// Plans the export of the parameters of `spec` to the family of `tensor_map`.
    ///
    /// # Errors
    ///
    /// Fails with the name of a canonical tensor that the family does not have.
    pub(crate) fn new(
        tensor_map: &TensorMap,
        factors: &Factors,
        spec: &ModelSpec,
        embeddings: Embeddings,
    ) -> Result<Self, String> {
        let plan = |target| step(tensor_map, factors, spec, embeddings, target);
        let steps = spec.parameters().into_iter().map(plan).collect::<Result<_, _>>()?;
        Ok(Self { steps })
    }

    /// Returns the tensors in the order in which they are written.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &TensorPiece> {
        let pieces = self.steps.iter().flat_map(|step| &step.pieces);
        pieces.filter(|piece| !matches!(piece.part, Part::FirstHalf))
    }

    /// Converts the canonical tensors, which are `read` in order, and calls `write` with the values
    /// of each tensor of [`ExportPlan::tensors`], in order. Its last argument is the number of
    /// values that differ after an import.
    pub(crate) fn run<E>(
        &self,
        mut read: impl FnMut(usize) -> Result<Vec<f32>, E>,
        mut write: impl FnMut(&TensorPiece, Vec<f32>, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut held = (Vec::new(), 0);
        for (index, step) in self.steps.iter().enumerate() {
            let values = read(index)?;
            for piece in &step.pieces {
                let (mut part, mut lost) = piece.convert(&values, step.columns);
                match piece.part {
                    Part::FirstHalf => {
                        held = (part, lost);
                        continue;
                    }
                    Part::SecondHalf => {
                        let (mut first, first_lost) = std::mem::take(&mut held);
                        first.append(&mut part);
                        (part, lost) = (first, first_lost + lost);
                    }
                    _ => {}
                }
                write(piece, part, lost)?;
            }
        }
        Ok(())
    }
}

impl TensorPiece {
    /// Returns the values of the piece, and the number of those that an import would change.
    fn convert(&self, values: &[f32], columns: usize) -> (Vec<f32>, u64) {
        let transposed = |from, count| read_transposed(values, columns, from, count);
        let mut part = match self.part {
            Part::Whole { transposed: true } | Part::FirstHalf | Part::SecondHalf => {
                transposed(0, columns)
            }
            Part::Whole { transposed: false } => values.to_vec(),
            Part::Outputs { from, count, transposed: is_transposed, heads } => {
                let part = if is_transposed {
                    transposed(from, count)
                } else {
                    values[from..from + count].to_vec()
                };
                match heads {
                    Some(heads) => interleave(&part, heads, part.len() / count),
                    None => part,
                }
            }
            Part::Behind(zeros) => [vec![0.0; zeros].as_slice(), values].concat(),
            Part::ByHead { transposed: true, groups, group_heads } => {
                join_heads(&transposed(0, columns), groups, group_heads)
            }
            Part::ByHead { transposed: false, groups, group_heads } => {
                join_heads(values, groups, group_heads)
            }
        };
        let lost = unscale(&mut part, self.scale);
        (part, lost)
    }
}

/// Plans the canonical tensor `target`.
fn step(
    tensor_map: &TensorMap,
    factors: &Factors,
    spec: &ModelSpec,
    embeddings: Embeddings,
    target: Parameter,
) -> Result<Step, String> {
    let (pattern, block) = block_pattern(&target.name);
    let columns = target.shape.last().map_or(1, |&size| size as usize);
    let shape = || target.shape.iter().copied().map(u64::from).collect::<Vec<_>>();
    let whole = |name: String, factor| TensorPiece {
        name,
        shape: shape(),
        part: Part::Whole { transposed: false },
        scale: (factor, 0.0),
    };
    let embedding = || {
        let rule = tensor_map.rule("wte.weight").ok_or("wte.weight")?;
        let source = rule.sources.first().copied().unwrap_or_default();
        Ok::<_, String>(tensor_map.name(source, "", tensor_map.prefix))
    };
    let head = || tensor_map.head.to_owned();
    match (pattern.as_str(), embeddings) {
        ("wte.weight", Embeddings::FromHead) => return Ok(Step { columns, pieces: Vec::new() }),
        ("wte.weight", Embeddings::Apart) if spec.tied => {
            let pieces = vec![whole(embedding()?, factors.embedding), whole(head(), factors.head)];
            return Ok(Step { columns, pieces });
        }
        ("lm_head.weight", Embeddings::FromHead) => {
            return Ok(Step { columns, pieces: vec![whole(embedding()?, factors.head)] });
        }
        _ => {}
    }
    let rule = tensor_map.rule(&pattern).ok_or_else(|| target.name.clone())?;
    let (factor, addend) = factors.of(&pattern);
    let mut from = 0;
    let mut pieces = Vec::new();
    let outputs = source_outputs(spec, &target, rule, rule.sources.len());
    for (i, (source, outputs)) in rule.sources.iter().zip(outputs).enumerate() {
        let heads = interleaved_heads(tensor_map, spec, rule, i).map(usize::from);
        let count = outputs as usize;
        pieces.push(TensorPiece {
            name: tensor_map.name(source, block, tensor_map.prefix),
            shape: source_shape(&target, outputs, rule),
            part: part(spec, rule, columns, (from, count), heads)
                .ok_or_else(|| target.name.clone())?,
            scale: (factors.of_source(spec, rule, i) * factor, addend),
        });
        from += count;
    }
    Ok(Step { columns, pieces })
}

/// Returns the part of a canonical tensor that one source of its rule is: `count` outputs from
/// `from` on, unless it is all of it. Returns `None` for experts, which no family is written with.
fn part(
    spec: &ModelSpec,
    rule: &TensorRule,
    columns: usize,
    (from, count): (usize, usize),
    heads: Option<usize>,
) -> Option<Part> {
    let transposed = rule.transposed;
    Some(match rule.rows {
        Rows::All if rule.sources.len() == 1 => Part::Whole { transposed },
        Rows::All => Part::Outputs { from, count, transposed, heads },
        Rows::Half(0) => Part::FirstHalf,
        Rows::Half(_) => Part::SecondHalf,
        Rows::From(rows) => Part::Behind(usize::from(rows) * columns),
        Rows::ByHead => {
            let groups = usize::from(spec.key_value_heads);
            let group_heads = usize::from(spec.heads) / groups.max(1);
            Part::ByHead { transposed, groups, group_heads }
        }
        Rows::OfExpert | Rows::OfExperts => return None,
    })
}

/// Reverses the factor and the addend that an import applies. Returns the number of values to which
/// no value leads.
fn unscale(values: &mut [f32], (factor, addend): (f32, f32)) -> u64 {
    if (factor, addend) == (1.0, 0.0) {
        return 0;
    }
    let mut lost = 0;
    for value in values {
        let near = (*value - addend) / factor;
        let leads_back = |candidate: &f32| candidate * factor + addend == *value;
        // Division rounds, so that a neighbour may be the value that leads back.
        let (up, down) = (near.next_up(), near.next_down());
        let exact = [near, up, down, up.next_up(), down.next_down()].into_iter().find(leads_back);
        lost += u64::from(exact.is_none());
        *value = exact.unwrap_or(near);
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_lead_back(values in proptest::collection::vec(-9f32..9.0, 1..50)) {
            for scale in [(4.0, 0.0), (0.70710677, 0.0), (6.928203, 0.0), (1.0, 1.0)] {
                let mut imported = values.clone();
                super::super::scale(&mut imported, scale);
                let mut exported = imported.clone();
                prop_assert_eq!(unscale(&mut exported, scale), 0);
                super::super::scale(&mut exported, scale);
                prop_assert_eq!(exported, imported);
            }
        }
    }

    #[test]
    fn values_that_nothing_leads_to_are_counted() {
        let mut values = [0.1, 1.5];
        // No float32 plus 1 is exactly a tenth's float32.
        assert_eq!(unscale(&mut values, (1.0, 1.0)), 1);
        assert_eq!(values, [-0.9, 0.5]);
    }
}
