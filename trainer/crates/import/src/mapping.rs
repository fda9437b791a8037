//! How each canonical tensor is made of a checkpoint's.

use crate::{
    ImportError,
    files::{Entry, FileError, Table},
};
use pol_primitives::model::{ModelSpec, Parameter};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// How a family names and lays out its tensors.
pub(super) struct Dialect {
    /// The family's name.
    pub family: &'static str,
    /// What may come before every name but the head's.
    pub prefix: &'static str,
    /// How each canonical tensor is made; `*` stands for the block's number.
    pub rules: &'static [Rule],
    /// The output projection, where a checkpoint may hold a copy of tied embeddings.
    pub head: &'static str,
    /// Endings of names that are left, and why.
    pub left: &'static [(&'static str, &'static str)],
    /// Whether the rows of queries and keys are ordered for interleaved rotation and have to be
    /// ordered back.
    pub interleaved: bool,
}

/// How one canonical tensor is made.
pub(super) struct Rule {
    pub target: &'static str,
    /// Concatenated along the outputs.
    pub sources: &'static [&'static str],
    /// Whether sources are `[outputs, inputs]` where ours are `[inputs, outputs]`.
    pub transposed: bool,
}

/// Taken as it is.
pub(super) const fn same(target: &'static str, sources: &'static [&'static str]) -> Rule {
    Rule { target, sources, transposed: false }
}

/// Transposed.
pub(super) const fn turned(target: &'static str, sources: &'static [&'static str]) -> Rule {
    Rule { target, sources, transposed: true }
}

/// What became of a tensor of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Taken as it is.
    Mapped,
    /// Turned from `[outputs, inputs]` to `[inputs, outputs]`.
    Transposed,
    /// Put beside others in one tensor.
    Fused,
    /// Turned, and put beside others in one tensor.
    FusedTransposed,
    /// Not taken.
    Left,
}

/// One tensor of a checkpoint and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorReport {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its sizes there, outermost first.
    pub shape: Vec<u64>,
    /// How its values were written.
    pub encoding: String,
    /// Whether its values were quantised, so that what was imported is what they stand for.
    pub dequantised: bool,
    /// What became of it.
    pub fate: Fate,
    /// The canonical tensor it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What else was done to it, or why it was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A plan to make every canonical tensor, checked against the checkpoint's names and shapes.
pub(super) struct Plan {
    steps: Vec<Step>,
    table: Table,
    /// What the table was read from.
    path: PathBuf,
    reports: Vec<TensorReport>,
}

struct Step {
    target: Parameter,
    sources: Vec<Source>,
    transposed: bool,
}

struct Source {
    name: String,
    /// Heads whose rows have to be ordered back from interleaved to half-split.
    heads: Option<usize>,
}

impl Plan {
    /// Plans to make the parameters of `spec`, described by `from`, of the tensors in `table`, read
    /// from `path`.
    pub fn new(
        dialect: &Dialect,
        spec: &ModelSpec,
        from: &str,
        table: Table,
        path: &Path,
    ) -> Result<Self, ImportError> {
        spec.validate().map_err(|invalid| ImportError::Spec { from: from.to_owned(), invalid })?;
        let entries = table.entries();
        let prefix = if entries.keys().any(|name| name.starts_with(dialect.prefix)) {
            dialect.prefix
        } else {
            ""
        };
        let full = |pattern: &str, block: &str| {
            let prefix = if pattern.starts_with(dialect.head.trim_end_matches("weight")) {
                ""
            } else {
                prefix
            };
            format!("{prefix}{}", pattern.replace('*', block))
        };
        let mut reports = BTreeMap::new();
        let mut steps = Vec::new();
        for target in spec.parameters() {
            let (pattern, block) = pattern(&target.name);
            let Some(rule) = dialect.rules.iter().find(|rule| rule.target == pattern) else {
                let what = format!("tensor {}", target.name);
                return Err(ImportError::Unsupported {
                    from: from.to_owned(),
                    what,
                    advice: "the family has no such tensor",
                });
            };
            let sizes = source_sizes(spec, &target, rule.sources.len());
            let mut sources = Vec::new();
            for (i, (source, size)) in rule.sources.iter().zip(sizes).enumerate() {
                let name = full(source, block);
                let mut expected: Vec<u64> = target.shape.iter().copied().map(u64::from).collect();
                if let Some(outputs) = expected.last_mut() {
                    *outputs = size;
                }
                if rule.transposed {
                    expected.reverse();
                }
                let entry = match entries.get(&name) {
                    None => {
                        return Err(ImportError::Missing { name, expected, from: from.to_owned() });
                    }
                    Some(entry) if entry.shape != expected => {
                        let found = entry.shape.clone();
                        return Err(ImportError::Shape {
                            name,
                            found,
                            expected,
                            from: from.to_owned(),
                        });
                    }
                    Some(entry) => entry,
                };
                let heads = match (dialect.interleaved && rule.sources.len() == 3, i) {
                    (true, 0) => Some(spec.heads),
                    (true, 1) => Some(spec.key_value_heads),
                    _ => None,
                };
                let fate = match (rule.sources.len() > 1, rule.transposed) {
                    (false, false) => Fate::Mapped,
                    (false, true) => Fate::Transposed,
                    (true, false) => Fate::Fused,
                    (true, true) => Fate::FusedTransposed,
                };
                let note = heads.map(|_| {
                    "rows ordered back from interleaved to half-split rotation".to_owned()
                });
                reports.insert(
                    name.clone(),
                    report(&name, entry, fate, Some(target.name.clone()), note),
                );
                sources.push(Source { name, heads: heads.map(usize::from) });
            }
            steps.push(Step { target, sources, transposed: rule.transposed });
        }
        let mut plan = Self { steps, table, path: path.to_owned(), reports: Vec::new() };
        plan.account_for_the_rest(dialect, spec, from, &mut reports)?;
        plan.reports = reports.into_values().collect();
        Ok(plan)
    }

    /// Every tensor that no step takes is either known to be left, or one too many.
    fn account_for_the_rest(
        &self,
        dialect: &Dialect,
        spec: &ModelSpec,
        from: &str,
        reports: &mut BTreeMap<String, TensorReport>,
    ) -> Result<(), ImportError> {
        let mut extra = BTreeSet::new();
        for (name, entry) in self.table.entries() {
            if reports.contains_key(name) {
                continue;
            }
            let why = if name == dialect.head && spec.tied {
                self.check_tied(name, entry, from)?;
                Some("the same values as the embedding it is tied to")
            } else {
                dialect.left.iter().find(|(ending, _)| name.ends_with(ending)).map(|&(_, why)| why)
            };
            match why {
                Some(why) => drop(reports.insert(
                    name.clone(),
                    report(name, entry, Fate::Left, None, Some(why.to_owned())),
                )),
                None => drop(extra.insert(name.clone())),
            }
        }
        if extra.is_empty() {
            return Ok(());
        }
        Err(ImportError::Extra {
            names: extra.into_iter().collect(),
            family: dialect.family.to_owned(),
        })
    }

    fn check_tied(&self, name: &str, entry: &Entry, from: &str) -> Result<(), ImportError> {
        let Some(embedding) = self.steps.first().and_then(|step| step.sources.first()) else {
            return Ok(());
        };
        let same = self
            .table
            .entries()
            .get(&embedding.name)
            .is_some_and(|other| other.shape == entry.shape)
            && self.decoded(name)? == self.decoded(&embedding.name)?;
        if same {
            return Ok(());
        }
        let reason = format!(
            "differs from {}, to which {from} ties it; set tie_word_embeddings to false if it was trained by itself",
            embedding.name
        );
        Err(ImportError::Contradiction { name: name.to_owned(), reason })
    }

    /// Number of canonical tensors.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// What becomes of each tensor of the checkpoint, by name.
    pub fn reports(&self) -> &[TensorReport] {
        &self.reports
    }

    /// The canonical tensors one after the other.
    pub fn tensors(&self) -> impl Iterator<Item = Result<Vec<f32>, ImportError>> {
        self.steps.iter().map(|step| self.tensor(step))
    }

    fn tensor(&self, step: &Step) -> Result<Vec<f32>, ImportError> {
        let mut parts = Vec::new();
        for source in &step.sources {
            let mut values = self.decoded(&source.name)?;
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(ImportError::NotFinite {
                    name: source.name.clone(),
                    index,
                    value: values[index],
                });
            }
            if let Some(heads) = source.heads {
                let inputs =
                    if step.target.shape.len() == 1 { 1 } else { step.target.shape[0] as usize };
                values = half_split(&values, heads, inputs);
            }
            parts.push(values);
        }
        if !step.transposed {
            return Ok(if parts.len() == 1 { parts.swap_remove(0) } else { parts.concat() });
        }
        let outputs = step.target.shape.last().map_or(1, |&size| size as usize);
        let inputs = step.target.len() / outputs;
        let mut values = vec![0.0; step.target.len()];
        let mut column = 0;
        for part in &parts {
            transpose(part, inputs, &mut values, outputs, column);
            column += part.len() / inputs;
        }
        Ok(values)
    }

    fn decoded(&self, name: &str) -> Result<Vec<f32>, ImportError> {
        let missing = || ImportError::File {
            path: self.path.clone(),
            source: FileError::Unsupported(format!("has no {name}")),
        };
        let entry = self.table.entries().get(name).ok_or_else(missing)?;
        self.table.values(entry).map_err(|source| match source {
            FileError::Unsupported(reason) => {
                ImportError::Contradiction { name: name.to_owned(), reason }
            }
            source => ImportError::File { path: self.path.clone(), source },
        })
    }
}

fn report(
    name: &str,
    entry: &Entry,
    fate: Fate,
    to: Option<String>,
    note: Option<String>,
) -> TensorReport {
    TensorReport {
        name: name.to_owned(),
        shape: entry.shape.clone(),
        encoding: entry.encoding.to_string(),
        dequantised: entry.encoding.is_quantised(),
        fate,
        to,
        note,
    }
}

/// A canonical name with its block's number replaced by `*`, and that number.
fn pattern(name: &str) -> (String, &str) {
    match name.strip_prefix("h.").and_then(|rest| rest.split_once('.')) {
        Some((block, part)) => (format!("h.*.{part}"), block),
        None => (name.to_owned(), ""),
    }
}

/// Outputs of each source of `target`: queries, keys and values where there are three.
fn source_sizes(spec: &ModelSpec, target: &Parameter, sources: usize) -> Vec<u64> {
    let head = u64::from(spec.head_size);
    let (queries, keys) = (u64::from(spec.heads) * head, u64::from(spec.key_value_heads) * head);
    if sources == 3 {
        vec![queries, keys, keys]
    } else {
        vec![target.shape.last().copied().unwrap_or(1).into(); sources]
    }
}

/// Writes `part` `[outputs, inputs]`, transposed, into the columns of `into` `[inputs, columns]`
/// from `column` on.
fn transpose(part: &[f32], inputs: usize, into: &mut [f32], columns: usize, column: usize) {
    /// Side of the squares that are turned at a time, so that both sides stay in the nearest cache.
    const SIDE: usize = 32;
    let outputs = part.len() / inputs;
    for output in (0..outputs).step_by(SIDE) {
        let up_to = (output + SIDE).min(outputs);
        for input in (0..inputs).step_by(SIDE) {
            for i in input..(input + SIDE).min(inputs) {
                let row = &mut into[i * columns + column + output..i * columns + column + up_to];
                for (value, o) in row.iter_mut().zip(output..) {
                    *value = part[o * inputs + i];
                }
            }
        }
    }
}

/// The rows of each head, in pairs that are rotated together, ordered so that all first ones come
/// before all second ones.
fn half_split(values: &[f32], heads: usize, inputs: usize) -> Vec<f32> {
    let size = values.len() / inputs / heads;
    let rows = (0..heads * size).flat_map(|row| {
        let (head, place) = (row / size, row % size);
        let (half, pair) = (place / (size / 2), place % (size / 2));
        let from = (head * size + pair * 2 + half) * inputs;
        &values[from..from + inputs]
    });
    rows.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_ordered_back() {
        // One head of size 6: pairs (0, 1), (2, 3), (4, 5) become halves.
        assert_eq!(half_split(&[0., 1., 2., 3., 4., 5.], 1, 1), [0., 2., 4., 1., 3., 5.]);
        assert_eq!(
            half_split(&[0., 0., 1., 1., 2., 2., 3., 3.], 2, 2),
            [0., 0., 1., 1., 2., 2., 3., 3.]
        );
    }

    #[test]
    fn blocks_are_recognised() {
        assert_eq!(pattern("h.12.attn.c_attn.weight"), ("h.*.attn.c_attn.weight".into(), "12"));
        assert_eq!(pattern("wte.weight"), ("wte.weight".into(), ""));
    }

    proptest! {
        #[test]
        fn parts_are_turned_side_by_side(inputs in 1usize..70, first in 1usize..70, second in 1usize..70) {
            let columns = first + second;
            let parts = [first, second].map(|outputs| (0..outputs * inputs).map(|i| i as f32).collect::<Vec<_>>());
            let mut into = vec![-1.0; inputs * columns];
            transpose(&parts[0], inputs, &mut into, columns, 0);
            transpose(&parts[1], inputs, &mut into, columns, first);
            for i in 0..inputs {
                for o in 0..columns {
                    let (part, o_in) = if o < first { (&parts[0], o) } else { (&parts[1], o - first) };
                    prop_assert_eq!(into[i * columns + o], part[o_in * inputs + i]);
                }
            }
        }
    }
}
