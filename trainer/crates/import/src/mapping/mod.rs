// SPDX-License-Identifier: Apache-2.0

//! Mapping of a checkpoint's tensors to canonical tensors.

mod inverse;
mod layout;

use crate::{
    ImportError,
    files::{Encoding, FileError, TensorEntry, TensorTable},
};
use layout::{half_split, separate_heads, write_transposed};
use pol_primitives::model::{ModelSpec, Parameter};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

pub(crate) use inverse::{Embeddings, ExportPlan, TensorPiece};

/// Names and layouts of a family's tensors.
pub(crate) struct TensorMap {
    /// Name of the family.
    pub(crate) family: &'static str,
    /// Optional prefix of every name but the head's.
    pub(crate) prefix: &'static str,
    /// Rule of each canonical tensor; `*` stands for the block's number.
    pub(crate) rules: &'static [TensorRule],
    /// Rules that a family has beside those of its relatives, or in their place.
    pub(crate) own_rules: &'static [TensorRule],
    /// Output projection, where a checkpoint may hold a copy of tied embeddings.
    pub(crate) head: &'static str,
    /// Endings of names that are skipped, and the reasons.
    pub(crate) skipped: &'static [(&'static str, &'static str)],
    /// Set if the rows of queries and keys are ordered for interleaved rotation and must be
    /// reordered.
    pub(crate) interleaved: bool,
}

/// Rule of one canonical tensor.
pub(crate) struct TensorRule {
    target: &'static str,
    /// Tensors that are concatenated along the outputs.
    sources: &'static [&'static str],
    /// Set if sources are `[outputs, inputs]` where the target is `[inputs, outputs]`.
    transposed: bool,
    /// Rows of the source that the target has.
    rows: Rows,
}

/// Rows of a source, and their order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// All of them.
    All,
    /// The first half or the second, 0 or 1, of a source that holds two targets.
    Half(u8),
    /// All but so many first ones.
    From(u8),
    /// All of them, in another order: queries, key, and value of each group of heads by turns.
    ByHead,
    /// All of them, of one expert. `#` in the name of the source stands for its number.
    OfExpert,
    /// All of them, of all experts, one after another.
    OfExperts,
}

impl TensorMap {
    /// Returns the rule of a canonical tensor, whose block is replaced by `*`.
    fn rule(&self, pattern: &str) -> Option<&'static TensorRule> {
        self.own_rules.iter().chain(self.rules).find(|rule| rule.target == pattern)
    }

    /// Returns the full name of a rule's source in `block`. Heads have no prefix.
    fn name(&self, source: &str, block: &str, prefix: &str) -> String {
        let is_head = source.starts_with(self.head.trim_end_matches("weight"));
        let prefix = if is_head { "" } else { prefix };
        format!("{prefix}{}", source.replace('*', block))
    }
}

/// Creates a rule that copies `sources`.
pub(crate) const fn identity(target: &'static str, sources: &'static [&'static str]) -> TensorRule {
    TensorRule { target, sources, transposed: false, rows: Rows::All }
}

/// Creates a rule that transposes `sources`.
pub(crate) const fn transpose(
    target: &'static str,
    sources: &'static [&'static str],
) -> TensorRule {
    TensorRule { target, sources, transposed: true, rows: Rows::All }
}

/// Creates a rule that transposes the tensor of each expert. `#` stands for its number.
pub(crate) const fn transpose_experts(
    target: &'static str,
    sources: &'static [&'static str],
) -> TensorRule {
    TensorRule { target, sources, transposed: true, rows: Rows::OfExpert }
}

/// Creates a rule that transposes the matrix of each expert in one tensor of all.
pub(crate) const fn transpose_each(
    target: &'static str,
    sources: &'static [&'static str],
) -> TensorRule {
    TensorRule { target, sources, transposed: true, rows: Rows::OfExperts }
}

/// Creates a rule for a tensor of zeros that checkpoints do not have.
pub(crate) const fn zeros(target: &'static str) -> TensorRule {
    identity(target, &[])
}

/// Creates a rule that transposes a half of the rows of its source: the first is 0, the second 1.
pub(crate) const fn transpose_half(
    target: &'static str,
    sources: &'static [&'static str],
    half: u8,
) -> TensorRule {
    TensorRule { target, sources, transposed: true, rows: Rows::Half(half) }
}

/// Creates a rule that copies its source without the first `rows` rows.
pub(crate) const fn identity_from(
    target: &'static str,
    sources: &'static [&'static str],
    rows: u8,
) -> TensorRule {
    TensorRule { target, sources, transposed: false, rows: Rows::From(rows) }
}

/// Creates a rule for a source with queries, key, and value of each group of heads by turns. It is
/// transposed if it is a matrix.
pub(crate) const fn by_head(
    target: &'static str,
    sources: &'static [&'static str],
    transposed: bool,
) -> TensorRule {
    TensorRule { target, sources, transposed, rows: Rows::ByHead }
}

/// Disposition of a tensor of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorDisposition {
    /// Copied.
    Mapped,
    /// Transposed from `[outputs, inputs]` to `[inputs, outputs]`.
    Transposed,
    /// Concatenated with others to one tensor.
    Fused,
    /// Transposed and concatenated with others to one tensor.
    FusedTransposed,
    /// Not imported.
    #[serde(rename = "left")]
    Skipped,
}

/// Report on one tensor of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorReport {
    /// Name in the checkpoint.
    pub name: String,
    /// Sizes in the checkpoint, outermost first.
    pub shape: Vec<u64>,
    /// Encoding of the values in the checkpoint.
    pub encoding: String,
    /// Set if the values were quantised.
    pub dequantised: bool,
    /// Disposition of the tensor.
    #[serde(rename = "fate")]
    pub disposition: TensorDisposition,
    /// Canonical tensor that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Further conversion, or the reason to skip the tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Factors that a family applies while it computes. They go into the weights, since a
/// specification has no place for them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Factors {
    /// Factor of embeddings.
    pub(crate) embedding: f32,
    /// Factor of queries.
    pub(crate) query: f32,
    /// Factor of what each sublayer adds to the residual stream.
    pub(crate) residual: f32,
    /// Factor of the logits.
    pub(crate) head: f32,
    /// Addend to the weights of norms.
    pub(crate) norm: f32,
}

impl Default for Factors {
    /// Returns factors that change nothing.
    fn default() -> Self {
        Self { embedding: 1.0, query: 1.0, residual: 1.0, head: 1.0, norm: 0.0 }
    }
}

impl Factors {
    /// Returns the factor and the addend of a canonical tensor, whose block is replaced by `*`.
    fn of(&self, pattern: &str) -> (f32, f32) {
        match pattern {
            "wte.weight" => (self.embedding, 0.0),
            "lm_head.weight" | "lm_head.bias" => (self.head, 0.0),
            _ if pattern.contains(".c_proj.") => (self.residual, 0.0),
            // Where queries are normed, only a factor behind the norm has an effect.
            "h.*.attn.q_norm.weight" => (self.query, self.query * self.norm),
            "h.*.attn.q_norm.bias" => (self.query, 0.0),
            "ln_f.weight" | "h.*.attn.k_norm.weight" => (1.0, self.norm),
            _ if pattern.starts_with("h.*.ln_") && pattern.ends_with(".weight") => (1.0, self.norm),
            _ => (1.0, 0.0),
        }
    }
}

impl Factors {
    /// Returns the factor of source `index` of a rule, beside that of the whole tensor. Queries
    /// are the first of three.
    fn of_source(&self, spec: &ModelSpec, rule: &TensorRule, index: usize) -> f32 {
        let is_query = rule.sources.len() == 3 && index == 0 && spec.query_key_norm.is_none();
        if is_query { self.query } else { 1.0 }
    }
}

/// Returns the number of heads of source `index` of a rule whose rows a family has interleaved.
fn interleaved_heads(
    tensor_map: &TensorMap,
    spec: &ModelSpec,
    rule: &TensorRule,
    index: usize,
) -> Option<u16> {
    match (tensor_map.interleaved && rule.sources.len() == 3, index) {
        (true, 0) => Some(spec.heads),
        (true, 1) => Some(spec.key_value_heads),
        _ => None,
    }
}

/// Multiplies `values` and adds to them, unless that changes nothing.
fn scale(values: &mut [f32], (factor, addend): (f32, f32)) {
    if (factor, addend) != (1.0, 0.0) {
        values.iter_mut().for_each(|value| *value = *value * factor + addend);
    }
}

/// Plan of an import: the sources of every canonical tensor, checked against the checkpoint.
pub(crate) struct ImportPlan {
    steps: Vec<Step>,
    table: TensorTable,
    /// File or folder of the table.
    path: PathBuf,
    reports: Vec<TensorReport>,
}

/// Sources of one canonical tensor.
struct Step {
    target: Parameter,
    sources: Vec<Source>,
    transposed: bool,
    /// Number of groups of heads, and of heads in each.
    groups: usize,
    group_heads: usize,
    /// Factor and addend of the values.
    scale: (f32, f32),
}

struct Source {
    name: String,
    /// Number of heads whose rows must be reordered from interleaved to half-split.
    heads: Option<usize>,
    /// Rows that the target has.
    rows: Rows,
    /// Factor of the values, beside that of the target.
    factor: f32,
}

/// Inputs of planning.
struct Planner<'a> {
    tensor_map: &'a TensorMap,
    spec: &'a ModelSpec,
    /// File of the description.
    from: &'a str,
    entries: &'a BTreeMap<String, TensorEntry>,
    /// Prefix of the checkpoint's names; empty if the family's prefix is not used.
    prefix: &'a str,
    factors: Factors,
    /// Set if the checkpoint has one tensor for the embedding and the output projection.
    tied: bool,
}

impl ImportPlan {
    /// Plans the import of the tensors in `table`, which was read from `path`, as the parameters of
    /// `spec`, which was described by `from`. Weights of the embedding and of the output projection
    /// that a checkpoint shares become two tensors if their `factors` differ, in `spec` too.
    pub(crate) fn new(
        tensor_map: &TensorMap,
        factors: Factors,
        spec: &mut ModelSpec,
        from: &str,
        table: TensorTable,
        path: &Path,
    ) -> Result<Self, ImportError> {
        let tied = spec.tied;
        spec.tied = tied && factors.embedding == factors.head;
        spec.validate().map_err(|invalid| ImportError::Spec { from: from.to_owned(), invalid })?;
        let entries = table.entries();
        let prefix = if entries.keys().any(|name| name.starts_with(tensor_map.prefix)) {
            tensor_map.prefix
        } else {
            ""
        };
        let planner = Planner { tensor_map, spec, from, entries, prefix, factors, tied };
        let mut reports = BTreeMap::new();
        let steps = spec
            .parameters()
            .into_iter()
            .map(|target| planner.step(target, &mut reports))
            .collect::<Result<_, _>>()?;
        let mut plan = Self { steps, table, path: path.to_owned(), reports: Vec::new() };
        plan.account_for_the_rest(tensor_map, tied, from, &mut reports)?;
        plan.reports = reports.into_values().collect();
        Ok(plan)
    }

    /// Checks that every tensor without a step is known to be skipped.
    fn account_for_the_rest(
        &self,
        tensor_map: &TensorMap,
        tied: bool,
        from: &str,
        reports: &mut BTreeMap<String, TensorReport>,
    ) -> Result<(), ImportError> {
        let mut extra = BTreeSet::new();
        for (name, entry) in self.table.entries() {
            if reports.contains_key(name) {
                continue;
            }
            let reason = if name == tensor_map.head && tied {
                self.check_tied(name, entry, from)?;
                Some("the same values as the embedding it is tied to")
            } else {
                let skipped = tensor_map.skipped.iter().find(|(ending, _)| name.ends_with(ending));
                skipped.map(|&(_, reason)| reason)
            };
            match reason {
                Some(reason) => drop(reports.insert(
                    name.clone(),
                    report(name, entry, TensorDisposition::Skipped, None, Some(reason.to_owned())),
                )),
                None => drop(extra.insert(name.clone())),
            }
        }
        if extra.is_empty() {
            return Ok(());
        }
        Err(ImportError::Extra {
            names: extra.into_iter().collect(),
            family: tensor_map.family.to_owned(),
        })
    }

    fn check_tied(&self, name: &str, entry: &TensorEntry, from: &str) -> Result<(), ImportError> {
        let Some(embedding) = self.steps.first().and_then(|step| step.sources.first()) else {
            return Ok(());
        };
        if let Some(other) = self.table.entries().get(&embedding.name) {
            let is_same = self.table.have_same_values(entry, other).map_err(|source| {
                // The one that has integers is refused.
                let is_head = matches!(entry.encoding, Encoding::Other { .. });
                self.decoding_error(if is_head { name } else { &embedding.name }, source)
            })?;
            if is_same {
                return Ok(());
            }
        }
        let reason = format!(
            "differs from {}, to which {from} ties it; \
             set tie_word_embeddings to false if it was trained by itself",
            embedding.name
        );
        Err(ImportError::Contradiction { name: name.to_owned(), reason })
    }

    /// Returns the number of canonical tensors.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Returns the report on each tensor of the checkpoint, by name.
    pub(crate) fn reports(&self) -> &[TensorReport] {
        &self.reports
    }

    /// Decodes the canonical tensors in order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = Result<Vec<f32>, ImportError>> {
        self.steps.iter().map(|step| self.tensor(step))
    }

    /// Decodes canonical tensor `index`.
    pub(crate) fn tensor_at(&self, index: usize) -> Result<Vec<f32>, ImportError> {
        self.tensor(&self.steps[index])
    }

    fn tensor(&self, step: &Step) -> Result<Vec<f32>, ImportError> {
        let mut parts = Vec::new();
        for source in &step.sources {
            let mut values = self.decode(&source.name)?;
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(ImportError::NotFinite {
                    name: source.name.clone(),
                    index,
                    value: values[index],
                });
            }
            values = match source.rows {
                Rows::All | Rows::OfExpert | Rows::OfExperts => values,
                Rows::Half(half) => {
                    let second = values.split_off(values.len() / 2);
                    if half == 1 { second } else { values }
                }
                // What is beyond the target comes first.
                Rows::From(_) => values.split_off(values.len() - step.target.len()),
                Rows::ByHead => separate_heads(&values, step.groups, step.group_heads),
            };
            if let Some(heads) = source.heads {
                let inputs =
                    if step.target.shape.len() == 1 { 1 } else { step.target.shape[0] as usize };
                values = half_split(&values, heads, inputs);
            }
            scale(&mut values, (source.factor * step.scale.0, step.scale.1));
            parts.push(values);
        }
        let mut values = vec![0.0; step.target.len()];
        if parts.is_empty() {
            return Ok(values);
        }
        if !step.transposed {
            return Ok(if parts.len() == 1 { parts.swap_remove(0) } else { parts.concat() });
        }
        let outputs = step.target.shape.last().map_or(1, |&size| size as usize);
        if let [experts, inputs, _] = step.target.shape[..] {
            let all = parts.concat();
            let size = all.len() / experts as usize;
            for (part, expert) in all.chunks_exact(size).zip(values.chunks_exact_mut(size)) {
                write_transposed(part, inputs as usize, expert, outputs, 0);
            }
            return Ok(values);
        }
        let inputs = step.target.len() / outputs;
        let mut column = 0;
        for part in &parts {
            write_transposed(part, inputs, &mut values, outputs, column);
            column += part.len() / inputs;
        }
        Ok(values)
    }

    fn decode(&self, name: &str) -> Result<Vec<f32>, ImportError> {
        let missing = || ImportError::File {
            path: self.path.clone(),
            source: FileError::Unsupported(format!("has no {name}")),
        };
        let entry = self.table.entries().get(name).ok_or_else(missing)?;
        self.table.decode(entry).map_err(|source| self.decoding_error(name, source))
    }

    /// Returns the error of decoding the tensor `name`.
    fn decoding_error(&self, name: &str, source: FileError) -> ImportError {
        match source {
            FileError::Unsupported(reason) => {
                ImportError::Contradiction { name: name.to_owned(), reason }
            }
            source => ImportError::File { path: self.path.clone(), source },
        }
    }
}

impl Planner<'_> {
    /// Plans the canonical tensor `target` and adds the reports on its sources.
    fn step(
        &self,
        target: Parameter,
        reports: &mut BTreeMap<String, TensorReport>,
    ) -> Result<Step, ImportError> {
        let (pattern, block) = block_pattern(&target.name);
        let Some(rule) = self.tensor_map.rule(&pattern) else {
            return Err(ImportError::Unsupported {
                from: self.from.to_owned(),
                feature: format!("tensor {}", target.name),
                advice: "the family has no such tensor",
            });
        };
        let names = self.source_names(rule, block, pattern == "lm_head.weight");
        let disposition = match (names.len() > 1, rule.transposed) {
            (false, false) => TensorDisposition::Mapped,
            (false, true) => TensorDisposition::Transposed,
            (true, false) => TensorDisposition::Fused,
            (true, true) => TensorDisposition::FusedTransposed,
        };
        let outputs = source_outputs(self.spec, &target, rule, names.len());
        let mut sources = Vec::new();
        for (i, (name, outputs)) in names.into_iter().zip(outputs).enumerate() {
            let entry = self.entry(&name, source_shape(&target, outputs, rule))?;
            let heads = interleaved_heads(self.tensor_map, self.spec, rule, i);
            let note = heads
                .map(|_| "rows ordered back from interleaved to half-split rotation".to_owned());
            let also = || format!("a part of {} too", target.name);
            reports
                .entry(name.clone())
                .and_modify(|report| report.note = Some(also()))
                .or_insert_with(|| {
                    report(&name, entry, disposition, Some(target.name.clone()), note)
                });
            let factor = self.factors.of_source(self.spec, rule, i);
            sources.push(Source { name, heads: heads.map(usize::from), rows: rule.rows, factor });
        }
        let scale = self.factors.of(&pattern);
        let groups = usize::from(self.spec.key_value_heads);
        let group_heads = usize::from(self.spec.heads) / groups.max(1);
        Ok(Step { target, sources, transposed: rule.transposed, groups, group_heads, scale })
    }

    /// Returns the names in the checkpoint of a rule's sources in `block`.
    fn source_names(&self, rule: &TensorRule, block: &str, is_head: bool) -> Vec<String> {
        if rule.target == "wte.weight" || (is_head && self.tied) {
            return vec![self.embedding()];
        }
        let experts = match rule.rows {
            Rows::OfExpert => self.spec.experts.map_or(0, |experts| experts.count),
            _ => 1,
        };
        let of = |expert: u8| {
            let names = rule.sources.iter().map(move |source| self.full_name(source, block));
            names.map(move |name| name.replace('#', &expert.to_string()))
        };
        (0..experts).flat_map(of).collect()
    }

    /// Returns the name in the checkpoint of the embedding. Of two names of one tensor, writers of
    /// safetensors keep either.
    fn embedding(&self) -> String {
        let rule = self.tensor_map.rule("wte.weight");
        let source = rule.and_then(|rule| rule.sources.first()).copied().unwrap_or_default();
        let (name, head) = (self.full_name(source, ""), self.tensor_map.head);
        if self.tied && !self.entries.contains_key(&name) && self.entries.contains_key(head) {
            return head.to_owned();
        }
        name
    }

    /// Returns the name in the checkpoint of a rule's source in `block`.
    fn full_name(&self, source: &str, block: &str) -> String {
        self.tensor_map.name(source, block, self.prefix)
    }

    /// Returns the tensor `name` of the checkpoint, which must have the shape `expected`.
    fn entry(&self, name: &str, expected: Vec<u64>) -> Result<&TensorEntry, ImportError> {
        let (name, from) = (name.to_owned(), self.from.to_owned());
        match self.entries.get(&name) {
            None => Err(ImportError::Missing { name, expected, from }),
            Some(entry) if entry.shape != expected && entry.is_empty() => {
                Err(ImportError::Empty { name, found: entry.shape.clone(), expected, from })
            }
            Some(entry) if entry.shape != expected => {
                Err(ImportError::Shape { name, found: entry.shape.clone(), expected, from })
            }
            Some(entry) => Ok(entry),
        }
    }
}

fn report(
    name: &str,
    entry: &TensorEntry,
    disposition: TensorDisposition,
    to: Option<String>,
    note: Option<String>,
) -> TensorReport {
    TensorReport {
        name: name.to_owned(),
        shape: entry.shape.clone(),
        encoding: entry.encoding.to_string(),
        dequantised: entry.encoding.is_quantised(),
        disposition,
        to,
        note,
    }
}

/// Replaces the block's number in a canonical name by `*` and returns the number too.
fn block_pattern(name: &str) -> (String, &str) {
    match name.strip_prefix("h.").and_then(|rest| rest.split_once('.')) {
        Some((block, part)) => (format!("h.*.{part}"), block),
        None => (name.to_owned(), ""),
    }
}

/// Returns the number of outputs of each of the `sources` of `target`. A rule with three has
/// queries, keys and values.
fn source_outputs(
    spec: &ModelSpec,
    target: &Parameter,
    rule: &TensorRule,
    sources: usize,
) -> Vec<u64> {
    let head = u64::from(spec.head_size);
    let (queries, keys) = (u64::from(spec.heads) * head, u64::from(spec.key_value_heads) * head);
    if rule.sources.len() == 3 {
        vec![queries, keys, keys]
    } else {
        vec![target.shape.last().copied().unwrap_or(1).into(); sources]
    }
}

/// Returns the shape of a source of `target`, of which the target has `outputs` outputs.
fn source_shape(target: &Parameter, outputs: u64, rule: &TensorRule) -> Vec<u64> {
    let mut shape: Vec<u64> = target.shape.iter().copied().map(u64::from).collect();
    if rule.rows == Rows::OfExpert {
        // The first size of the target is the number of experts.
        shape.remove(0);
    }
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    if rule.rows == Rows::OfExperts {
        shape[1..].reverse();
    } else if rule.transposed {
        shape.reverse();
    }
    if let Some(first) = shape.first_mut() {
        *first = match rule.rows {
            Rows::All | Rows::ByHead | Rows::OfExpert | Rows::OfExperts => *first,
            Rows::Half(_) => first.saturating_mul(2),
            Rows::From(rows) => first.saturating_add(rows.into()),
        };
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_recognised() {
        assert_eq!(
            block_pattern("h.12.attn.c_attn.weight"),
            ("h.*.attn.c_attn.weight".into(), "12")
        );
        assert_eq!(block_pattern("wte.weight"), ("wte.weight".into(), ""));
    }
}
