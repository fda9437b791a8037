//! Models of other sizes from trained ones.
//!
//! [`adapt`] fills the parameters of a target from those of a source of the same family. **Growing
//! keeps the function**: scores before and after differ by rounding only. What is new is connected
//! so that it learns from the first step, but says nothing before it (after Chen et al. 2016,
//! "Net2Net"):
//!
//! | grows | rule |
//! |---|---|
//! | layers | new blocks follow the last, as copies of it whose two outputs to the residual stream (and gate, if any) are zero |
//! | feed-forward | new neurons start fresh and their outgoing weights are zero |
//! | heads | new heads start fresh and their outgoing weights are zero; as many share keys and values as before |
//! | width, to a multiple `k` | every channel is there `k` times; its incoming weights are copied, its outgoing ones split into `k` unequal parts, and the final norm divided by `k` |
//! | width, otherwise, RMSNorm | new channels are zero, their outgoing weights fresh; norms are scaled by `√(d/D)`, and epsilon by `d/D` |
//! | width, otherwise, LayerNorm | the same, but new channels hold the mean of the others |
//! | vocabulary, context | new rows start fresh; scores of the old tokens are unchanged |
//! | biases, untied head, mind | biases are zero, the head is a copy of the embedding, the mind's parts are closed by their gates |
//!
//! Duplicated channels keep mean and variance. Channels of zeros would change the mean, but
//! channels that hold the mean of the others keep it: they do so from the embedding to the last
//! block, since what is written to the stream is only added up; the variance becomes `d/D` of what
//! it was, and the norm makes zero of them. The scaled epsilon is rounded to a billionth.
//!
//! Outgoing weights of duplicates are split unequally, by fresh values that add up to zero, since
//! equal copies would have equal gradients for ever.
//!
//! **Shrinking keeps what matters most**, by a rule and not the function: blocks evenly spaced from
//! the first to the last; neurons and heads of each block, and channels of the model, with the
//! largest product of squared incoming and outgoing weights (channels: sum of squares of all that
//! is written to them), in their order; the first tokens and positions.

use crate::{Decoder, Error, Layout, Rewriting, Slot, Weights, initial_parameters};
use pol_primitives::{
    Hash,
    model::{InvalidSpec, ModelSpec, Norm, Positions},
    rewrite::{InvalidRewrite, Rewrite},
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tch::Tensor;

/// What a source became.
#[derive(Clone, Debug)]
pub struct Adapted {
    /// The parameters of the target, in canonical order.
    pub parameters: Vec<f32>,
    /// What was kept.
    pub report: AdaptReport,
}

/// What of a source was kept, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdaptReport {
    /// Whether the function of the source is kept.
    pub preserved: bool,
    /// The sizes that changed, and the rule by which.
    pub changes: Vec<Change>,
    /// For each block of the target, the block of the source that it is made of, and whether it is
    /// silent at first.
    pub blocks: Vec<(u16, bool)>,
    /// Tensors that the source has not, by name.
    pub added: Vec<String>,
    /// Values of the target that come from values of the source: copies, and means of them.
    pub kept: u64,
    /// Values that start as a new model's do.
    pub fresh: u64,
    /// Values that are zero so that the function is kept.
    pub zero: u64,
}

/// A size that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it is the size of.
    pub of: String,
    /// In the source.
    pub from: u64,
    /// In the target.
    pub to: u64,
    /// What was done.
    pub rule: String,
}

/// Why a model cannot be adapted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdaptError {
    /// A specification is invalid.
    #[error("the specification is invalid: {0}")]
    Spec(InvalidSpec),
    /// The parameters are not the source's.
    #[error("the source has {expected} parameters, got {found}")]
    Length {
        /// Parameters of the source.
        expected: usize,
        /// Parameters given.
        found: usize,
    },
    /// The models differ in more than sizes.
    #[error(
        "the models differ in {0}, which adapting cannot change; choose a target of the source's kind"
    )]
    Kind(&'static str),
    /// An epsilon that changes the function.
    #[error("the target's norm needs an epsilon of {expected} billionths, not {found}")]
    Epsilon {
        /// The one that keeps the function.
        expected: u32,
        /// The target's.
        found: u32,
    },
    /// A rewrite that does not fit what the model is by then.
    #[error("the rewrite {rewrite:?} does not fit: {invalid}")]
    Rewrite {
        /// The rewrite.
        rewrite: Rewrite,
        /// Why not.
        invalid: InvalidRewrite,
    },
}

impl From<InvalidSpec> for AdaptError {
    fn from(invalid: InvalidSpec) -> Self {
        Self::Spec(invalid)
    }
}

/// The norm that a model made of `source` needs at `width`: the same, with an epsilon that is
/// scaled where the variance is.
pub fn norm(source: &ModelSpec, width: u32) -> Norm {
    let mut epsilon = source.norm.epsilon();
    if width > source.width && !width.is_multiple_of(source.width) {
        let scaled = (u64::from(epsilon) * u64::from(source.width) + u64::from(width) / 2)
            / u64::from(width);
        epsilon = u32::try_from(scaled.max(1)).unwrap_or(epsilon);
    }
    match source.norm {
        Norm::Layer { .. } => Norm::Layer { epsilon },
        Norm::Rms { .. } => Norm::Rms { epsilon },
    }
}

/// What a model of `spec` with `parameters` becomes by `rewrites`, one after the other: its
/// specification and parameters.
pub fn rewrite(
    spec: &ModelSpec,
    parameters: Vec<f32>,
    rewrites: &[Rewrite],
) -> Result<(ModelSpec, Vec<f32>), AdaptError> {
    rewrites.iter().try_fold((*spec, parameters), |(spec, parameters), rewrite| {
        let refused = |invalid| AdaptError::Rewrite { rewrite: *rewrite, invalid };
        let rewriting = Rewriting::new(&spec, rewrite).map_err(refused)?;
        let length =
            |_| AdaptError::Length { expected: spec.size() as usize, found: parameters.len() };
        Ok((*rewriting.spec(), rewriting.parameters(&parameters).map_err(length)?))
    })
}

/// How far the scores of two models are apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The largest difference between them.
    pub largest: f64,
    /// The largest magnitude of the first model's.
    pub scale: f64,
}

/// How far two models, each a specification and its parameters, are apart in the scores that they
/// give after each of `tokens`: of as many tokens as their contexts allow, and for the part of the
/// vocabulary that both have.
pub fn difference(models: [(&ModelSpec, &[f32]); 2], tokens: &[u32]) -> Result<Difference, Error> {
    let _no_grad = tch::no_grad_guard();
    let least =
        |size: fn(&ModelSpec) -> u32| models.iter().map(|(spec, _)| size(spec)).min().unwrap_or(0);
    let (context, vocabulary) = (least(|spec| spec.context), least(|spec| spec.vocabulary));
    let known = tokens.iter().filter(|&&token| token < vocabulary).take(context as usize);
    let known: Vec<i64> = known.copied().map(i64::from).collect();
    let known = Tensor::f_from_slice(&known)?.f_unsqueeze(0)?;
    let [before, after] = models.map(|(spec, parameters)| {
        let weights = Weights::new(&Layout::new(spec)?, parameters)?;
        Ok::<_, Error>(Decoder::new(spec)?.logits(&weights, &known)?.f_narrow(
            1,
            0,
            vocabulary.into(),
        )?)
    });
    let before = before?;
    let far = |scores: Tensor| -> Result<f64, Error> {
        Ok(scores.f_abs()?.f_max()?.f_double_value(&[])?)
    };
    Ok(Difference { largest: far(before.f_sub(&after?)?)?, scale: far(before)? })
}

/// The parameters of `target` made of the `parameters` of `source`, by the rules of this
/// [module](self); `seed` draws what starts fresh. The same on every machine.
pub fn adapt(
    source: &ModelSpec,
    parameters: &[f32],
    target: &ModelSpec,
    seed: &Hash,
) -> Result<Adapted, AdaptError> {
    let (layout, wanted) = (Layout::new(source)?, Layout::new(target)?);
    if parameters.len() != layout.len() {
        return Err(AdaptError::Length { expected: layout.len(), found: parameters.len() });
    }
    check(source, target)?;
    let from = Source {
        tensors: layout.tensors().iter().map(|slot| (slot.parameter.name.as_str(), slot)).collect(),
        parameters,
    };
    let blocks: Vec<(u16, bool)> =
        (0..target.layers).map(|index| origin(index, source.layers, target.layers)).collect();
    let channels = from.channels(source, target);
    let mut flat = initial_parameters(target, seed);
    let mut report = AdaptReport {
        preserved: true,
        changes: changes(source, target),
        blocks,
        ..AdaptReport::default()
    };
    report.preserved = report.changes.iter().all(|change| change.to > change.from);
    let mut chosen: Option<(u16, Block)> = None;
    for slot in wanted.tensors() {
        let name = slot.parameter.name.as_str();
        let place = name.strip_prefix("h.").and_then(|rest| rest.split_once('.'));
        let (part, block) = match place {
            Some((index, part)) => {
                (part, report.blocks.get(index.parse::<usize>().unwrap_or(usize::MAX)).copied())
            }
            None => (name, None),
        };
        let original =
            block.map_or_else(|| name.to_owned(), |(index, _)| format!("h.{index}.{part}"));
        if let Some((index, _)) = block
            && chosen.as_ref().is_none_or(|(of, _)| *of != index)
        {
            chosen = Some((index, from.block(index, source, target)));
        }
        let values = &mut flat[slot.range()];
        let silenced = matches!(
            part,
            "attn.c_proj.weight"
                | "attn.c_proj.bias"
                | "mlp.c_proj.weight"
                | "mlp.c_proj.bias"
                | "mind.gate"
        );
        if block.is_some_and(|(_, silent)| silent) && silenced {
            values.fill(0.0);
            report.zero += values.len() as u64;
            continue;
        }
        let copied =
            if name == "lm_head.weight" && source.tied { "wte.weight" } else { original.as_str() };
        let Some(old) = from.tensors.get(copied) else {
            report.added.push(name.to_owned());
            report.fresh += values.len() as u64;
            continue;
        };
        let sizes = Sizes {
            source,
            target,
            channels: &channels,
            block: chosen.as_ref().map(|(_, block)| block),
        };
        fill(values, slot, &parameters[old.range()], old, &sizes.axes(part), &mut report);
    }
    Ok(Adapted { parameters: flat, report })
}

/// Refuses targets that differ from the source in more than sizes.
fn check(source: &ModelSpec, target: &ModelSpec) -> Result<(), AdaptError> {
    let norms = |spec: &ModelSpec| matches!(spec.norm, Norm::Layer { .. });
    let more = |had: bool, has: bool| !had || has;
    let (old, new) = (source.biases, target.biases);
    let biases = more(old.query_key_value, new.query_key_value)
        && more(old.attention_output, new.attention_output)
        && more(old.feed_forward, new.feed_forward)
        && more(old.head, new.head);
    let superposition = source.mind.superposition.is_none()
        || source.mind.superposition == target.mind.superposition;
    let second_pass =
        source.mind.second_pass == 0 || source.mind.second_pass == target.mind.second_pass;
    // A second pass runs the last blocks, a superposition has a norm of its own: neither is the
    // same among more of them.
    let minds = source.mind.second_pass > 0 && source.layers != target.layers
        || source.mind.superposition.is_some() && source.width != target.width;
    for (same, what) in [
        (source.activation == target.activation, "activation"),
        (source.gated == target.gated, "gating"),
        (norms(source) == norms(target), "norm"),
        (source.positions == target.positions, "positions"),
        (source.local == target.local, "local attention"),
        (source.scaled == target.scaled, "scaling of scores"),
        (source.parallel == target.parallel, "parallel blocks"),
        (biases, "biases that the target has not"),
        (more(target.tied, source.tied), "a head of its own that the target has not"),
        (source.experts == target.experts, "experts"),
        (
            superposition
                && second_pass
                && more(source.mind.introspection, target.mind.introspection),
            "parts of the mind",
        ),
        (!minds, "width or layers, which this mind's parts depend on"),
        (source.head_size == target.head_size, "the size of a head"),
        (
            u32::from(source.heads) * u32::from(target.key_value_heads)
                == u32::from(target.heads) * u32::from(source.key_value_heads),
            "how many heads share keys and values",
        ),
    ] {
        if !same {
            return Err(AdaptError::Kind(what));
        }
    }
    let [expected, found] = [norm(source, target.width), target.norm].map(|norm| norm.epsilon());
    if found != expected {
        return Err(AdaptError::Epsilon { expected, found });
    }
    Ok(())
}

/// The block of the source that block `index` of the target is made of, and whether it is silent.
fn origin(index: u16, source: u16, target: u16) -> (u16, bool) {
    if target >= source {
        return (index.min(source - 1), index >= source);
    }
    // Evenly spaced, rounded to the nearest.
    let (index, gaps) = (u32::from(index), u32::from(target - 1));
    let origin = (index * u32::from(source - 1) + gaps / 2).checked_div(gaps).unwrap_or(0);
    (origin as u16, false)
}

fn changes(source: &ModelSpec, target: &ModelSpec) -> Vec<Change> {
    let widening = match source.norm {
        _ if target.width.is_multiple_of(source.width) => "channels duplicated",
        Norm::Rms { .. } => "zero channels added",
        Norm::Layer { .. } => "channels that hold the mean added",
    };
    let (more, fewer) = match source.positions {
        Positions::Learned => ("fresh positions added", "first positions kept"),
        Positions::Rotary { .. } => ("angles are computed further", "angles are computed less far"),
    };
    let grown_and_shrunk = [
        (
            "vocabulary",
            source.vocabulary,
            target.vocabulary,
            "fresh rows added",
            "first tokens kept",
        ),
        ("width", source.width, target.width, widening, "strongest channels kept"),
        (
            "layers",
            source.layers.into(),
            target.layers.into(),
            "silent copies of the last block added",
            "evenly spaced blocks kept",
        ),
        (
            "heads",
            source.heads.into(),
            target.heads.into(),
            "silent heads added",
            "strongest heads kept",
        ),
        (
            "feed_forward",
            source.feed_forward,
            target.feed_forward,
            "silent neurons added",
            "strongest neurons kept",
        ),
        ("context", source.context, target.context, more, fewer),
    ];
    let changed = grown_and_shrunk.into_iter().filter(|(_, from, to, ..)| from != to);
    changed
        .map(|(of, from, to, grown, shrunk)| Change {
            of: of.into(),
            from: from.into(),
            to: to.into(),
            rule: if to > from { grown } else { shrunk }.into(),
        })
        .collect()
}

/// The tensors of the source.
struct Source<'a> {
    tensors: HashMap<&'a str, &'a Slot>,
    parameters: &'a [f32],
}

/// What of a block is kept, where the target has less of it: indices of the source, in order.
struct Block {
    /// Groups of heads that share keys and values.
    groups: Vec<Option<usize>>,
    neurons: Vec<Option<usize>>,
}

impl Source<'_> {
    /// The squares of a tensor, `[outer, rows, columns]`, summed over all but the rows or the
    /// columns; none for one that is missing.
    fn squares(&self, name: &str, by_rows: bool) -> Option<Vec<f64>> {
        let slot = self.tensors.get(name)?;
        let [_, rows, columns] = outer_rows_columns(&slot.parameter.shape);
        let mut sums = vec![0.0; if by_rows { rows } else { columns }];
        for (index, &value) in self.parameters[slot.range()].iter().enumerate() {
            sums[if by_rows { index / columns % rows } else { index % columns }] +=
                f64::from(value).powi(2);
        }
        Some(sums)
    }

    /// The channels of the residual stream.
    fn channels(&self, source: &ModelSpec, target: &ModelSpec) -> Vec<Option<usize>> {
        let (from, to) = (source.width as usize, target.width as usize);
        if to >= from {
            let duplicated = to.is_multiple_of(from);
            return (0..to)
                .map(|index| (duplicated || index < from).then_some(index % from))
                .collect();
        }
        let mut strength = vec![0.0; from];
        let blocks = (0..source.layers)
            .flat_map(|i| ["attn", "mlp"].map(|part| format!("h.{i}.{part}.c_proj.weight")));
        for name in ["wte.weight".to_owned(), "wpe.weight".to_owned()].into_iter().chain(blocks) {
            let squares = self.squares(&name, false).unwrap_or_default();
            strength.iter_mut().zip(squares).for_each(|(sum, square)| *sum += square);
        }
        strongest(&strength, to)
    }

    /// What of block `index` of the source is kept.
    fn block(&self, index: u16, source: &ModelSpec, target: &ModelSpec) -> Block {
        let squares = |part: &str, by_rows| {
            self.squares(&format!("h.{index}.{part}"), by_rows).unwrap_or_default()
        };
        let (from, to) = (source.feed_forward as usize, target.feed_forward as usize);
        let neurons = if to >= from {
            first(from, to)
        } else {
            let incoming = squares("mlp.c_fc.weight", false);
            let outgoing = squares("mlp.c_proj.weight", true);
            strongest(&incoming.iter().zip(outgoing).map(|(a, b)| a * b).collect::<Vec<_>>(), to)
        };
        let (from, to) = (usize::from(source.key_value_heads), usize::from(target.key_value_heads));
        let groups = if to >= from {
            first(from, to)
        } else {
            let (columns, rows) =
                (squares("attn.c_attn.weight", false), squares("attn.c_proj.weight", true));
            let size = usize::from(source.head_size);
            let (queries, group) = (source.attention_width() as usize, rows.len() / from);
            let strength = (0..from).map(|of| {
                let values = queries + (from + of) * size;
                let incoming: f64 = columns[values..values + size].iter().sum();
                incoming * rows[of * group..(of + 1) * group].iter().sum::<f64>()
            });
            strongest(&strength.collect::<Vec<_>>(), to)
        };
        Block { groups, neurons }
    }
}

/// The first of `from` places, and none for those beyond.
fn first(from: usize, to: usize) -> Vec<Option<usize>> {
    (0..to).map(|index| (index < from).then_some(index)).collect()
}

/// The places of the `count` largest values, in order; of equal ones the first.
fn strongest(strength: &[f64], count: usize) -> Vec<Option<usize>> {
    let mut places: Vec<usize> = (0..strength.len()).collect();
    places.sort_by(|&a, &b| strength[b].total_cmp(&strength[a]).then(a.cmp(&b)));
    places.truncate(count);
    places.sort_unstable();
    places.into_iter().map(Some).collect()
}

/// How a place that the source has not is filled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum New {
    /// As in a new model.
    Fresh,
    /// With zero.
    Zero,
    /// With the mean of its row in the source; along columns only.
    Mean,
}

/// How the places along one dimension of a tensor are filled.
struct Axis {
    /// The place in the source.
    from: Vec<Option<usize>>,
    /// How places without one are filled.
    new: New,
    /// What is taken from the source is multiplied by this.
    scale: f32,
    /// How often each place of the source is there, where their values are to differ and add up.
    split: usize,
}

impl Axis {
    fn new(from: Vec<Option<usize>>, new: New) -> Self {
        Self { from, new, scale: 1.0, split: 1 }
    }

    fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }
}

/// What decides how tensors are filled.
struct Sizes<'a> {
    source: &'a ModelSpec,
    target: &'a ModelSpec,
    channels: &'a [Option<usize>],
    block: Option<&'a Block>,
}

impl Sizes<'_> {
    /// The axes of the tensor that is named `part` in its block, or of the model; the innermost
    /// ones, where there are more dimensions.
    fn axes(&self, part: &str) -> Vec<Axis> {
        let copies = (self.target.width / self.source.width).max(1) as usize;
        let duplicated = self.target.width.is_multiple_of(self.source.width) && copies > 1;
        let padded = self.target.width > self.source.width && !duplicated;
        let channels = |new| Axis::new(self.channels.to_vec(), new);
        let written = || {
            channels(if matches!(self.source.norm, Norm::Layer { .. }) {
                New::Mean
            } else {
                New::Zero
            })
        };
        let read = || Axis { split: if duplicated { copies } else { 1 }, ..channels(New::Fresh) };
        // The variance of the stream is smaller by as much; a norm's bias is added after that.
        let narrowed = if padded {
            (f64::from(self.source.width) / f64::from(self.target.width)).sqrt() as f32
        } else {
            1.0
        };
        // What reads the last norm is not split.
        let last = if duplicated { 1.0 / copies as f32 } else { 1.0 };
        let norm = |scale: f32| vec![channels(New::Fresh).scaled(scale)];
        let sizes = |from: u32, to: u32| Axis::new(first(from as usize, to as usize), New::Fresh);
        let vocabulary = || sizes(self.source.vocabulary, self.target.vocabulary);
        let neurons =
            |new| Axis::new(self.block.map(|block| block.neurons.clone()).unwrap_or_default(), new);
        let experts = || sizes(64, self.target.experts.map_or(0, |experts| experts.count.into()));
        match part {
            "wte.weight" => vec![vocabulary(), written()],
            "lm_head.weight" => vec![vocabulary(), channels(New::Fresh)],
            "lm_head.bias" => vec![vocabulary()],
            "wpe.weight" => vec![sizes(self.source.context, self.target.context), written()],
            "ln_1.weight" | "ln_2.weight" => norm(narrowed),
            "ln_1.bias" | "ln_2.bias" => norm(1.0),
            "ln_f.weight" => norm(narrowed * last),
            "ln_f.bias" => norm(last),
            "attn.c_attn.weight" => vec![read(), Axis::new(self.projected(), New::Fresh)],
            "attn.c_attn.bias" => vec![Axis::new(self.projected(), New::Fresh)],
            "attn.c_proj.weight" => vec![Axis::new(self.queries(), New::Zero), written()],
            "mlp.c_gate.weight" | "mlp.c_fc.weight" => vec![read(), neurons(New::Fresh)],
            "mlp.c_gate.bias" | "mlp.c_fc.bias" => vec![neurons(New::Fresh)],
            "mlp.c_proj.weight" => vec![neurons(New::Zero), written()],
            "attn.c_proj.bias" | "mlp.c_proj.bias" => vec![written()],
            "mind.introspection.weight" => vec![channels(New::Zero)],
            "mlp.router.weight" => vec![read(), experts()],
            // The mind's, whose sizes are the source's.
            _ => Vec::new(),
        }
    }

    /// The values of `heads` heads for each of the block's groups of heads, which begin at `start`
    /// in the source.
    fn of_groups(&self, heads: usize, start: usize) -> impl Iterator<Item = Option<usize>> + '_ {
        let size = heads * usize::from(self.source.head_size);
        let groups = self.block.map(|block| block.groups.as_slice()).unwrap_or_default();
        groups.iter().flat_map(move |group| {
            (0..size).map(move |index| group.map(|group| start + group * size + index))
        })
    }

    fn queries(&self) -> Vec<Option<usize>> {
        self.of_groups(usize::from(self.source.heads / self.source.key_value_heads), 0).collect()
    }

    /// Queries, keys and values.
    fn projected(&self) -> Vec<Option<usize>> {
        let (keys, values) =
            (self.source.attention_width() as usize, self.source.key_value_width() as usize);
        let queries = self.queries().into_iter();
        queries.chain(self.of_groups(1, keys)).chain(self.of_groups(1, keys + values)).collect()
    }
}

/// Shape as three dimensions, the outer ones 1 where there are fewer.
fn outer_rows_columns(shape: &[u32]) -> [usize; 3] {
    let size =
        |from_last: usize| shape.iter().rev().nth(from_last).map_or(1, |&size| size as usize);
    [size(2), size(1), size(0)]
}

/// Fills the tensor `slot`, whose `values` are fresh, from the tensor `old` of the source.
fn fill(
    values: &mut [f32],
    slot: &Slot,
    source: &[f32],
    old: &Slot,
    axes: &[Axis],
    report: &mut AdaptReport,
) {
    let [outer, rows, columns] = outer_rows_columns(&slot.parameter.shape);
    let [_, old_rows, old_columns] = outer_rows_columns(&old.parameter.shape);
    let same = |size: usize| Axis::new(first(size, size), New::Fresh);
    let (whole_rows, whole_columns) = (same(rows), same(columns));
    let column_axis = axes.last().unwrap_or(&whole_columns);
    let row_axis = axes.len().checked_sub(2).and_then(|at| axes.get(at)).unwrap_or(&whole_rows);
    let scale = row_axis.scale * column_axis.scale;
    let parts = row_axis.split as f32;
    for matrix in 0..outer {
        let values = &mut values[matrix * rows * columns..][..rows * columns];
        // Fresh values of a place's copies, less their mean, add up to nothing. (In new columns
        // they stay as they are: copies are equal at first, and what added up to nothing would see
        // nothing.)
        if row_axis.split > 1 {
            for column in (0..columns).filter(|&column| column_axis.from[column].is_some()) {
                for row in 0..old_rows {
                    let places =
                        (0..row_axis.split).map(|copy| (row + copy * old_rows) * columns + column);
                    let mean = places.clone().map(|place| values[place]).sum::<f32>() / parts;
                    places.for_each(|place| values[place] -= mean);
                }
            }
        }
        for (row, from_row) in row_axis.from.iter().enumerate() {
            let old = from_row.map(|from_row| {
                &source[(matrix * old_rows + from_row) * old_columns..][..old_columns]
            });
            let mean = old.filter(|_| column_axis.new == New::Mean).map(mean);
            for (column, from_column) in column_axis.from.iter().enumerate() {
                let value = &mut values[row * columns + column];
                match (old, from_column) {
                    (Some(old), &Some(from_column)) => {
                        let old = old[from_column] * scale;
                        *value = if row_axis.split > 1 { old / parts + *value } else { old };
                        report.kept += 1;
                    }
                    (old, from_column) => {
                        let is_zero = |axis: &Axis, is_new: bool| is_new && axis.new == New::Zero;
                        if is_zero(row_axis, old.is_none())
                            || is_zero(column_axis, from_column.is_none())
                        {
                            *value = 0.0;
                            report.zero += 1;
                        } else if let Some(mean) = mean {
                            *value = mean;
                            report.kept += 1;
                        } else {
                            report.fresh += 1;
                        }
                    }
                }
            }
        }
    }
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::{families, lively};
    use pol_primitives::model::{Biases, Experts, Mind, Superposition};

    const SEED: Hash = [7; 32];
    const TOKENS: [i64; 12] = [1, 2, 3, 4, 5, 6, 12, 0, 12, 3, 3, 9];

    /// Scores of the first 13 tokens of the vocabulary, `[12, 13]`.
    fn logits(spec: &ModelSpec, flat: &[f32]) -> Tensor {
        let weights = Weights::new(&Layout::new(spec).unwrap(), flat).unwrap();
        let tokens = Tensor::from_slice(&TOKENS).view([2, 6]);
        Decoder::new(spec).unwrap().logits(&weights, &tokens).unwrap().narrow(1, 0, 13)
    }

    fn grown(source: &ModelSpec, target: &ModelSpec) -> AdaptReport {
        let flat = lively(source);
        let adapted = adapt(source, &flat, target, &SEED).unwrap();
        let (before, after) = (logits(source, &flat), logits(target, &adapted.parameters));
        let difference = (before - after).abs().max().double_value(&[]);
        assert!(
            difference < 1e-5,
            "scores of {source:?} moved by {difference} when it became {target:?}"
        );
        let AdaptReport { kept, fresh, zero, .. } = adapted.report;
        assert_eq!(kept + fresh + zero, target.size());
        assert!(adapted.report.preserved);
        adapted.report
    }

    fn dense_families() -> impl Iterator<Item = (&'static str, ModelSpec)> {
        families()
            .into_iter()
            .filter(|(_, spec)| spec.experts.is_none() && spec.mind == Mind::default())
    }

    #[test]
    fn growing_keeps_the_function() {
        for (_, spec) in dense_families() {
            let group = spec.heads / spec.key_value_heads;
            let (key_value_heads, heads) = (spec.key_value_heads + 1, spec.heads + group);
            for target in [
                ModelSpec { layers: 5, ..spec },
                ModelSpec { feed_forward: 19, ..spec },
                ModelSpec { heads, key_value_heads, ..spec },
                ModelSpec { width: 16, ..spec },
                ModelSpec { width: 24, ..spec },
                ModelSpec { vocabulary: 20, context: 9, ..spec },
                ModelSpec {
                    tied: false,
                    biases: Biases {
                        query_key_value: true,
                        attention_output: true,
                        feed_forward: true,
                        head: true,
                    },
                    ..spec
                },
                ModelSpec {
                    vocabulary: 17,
                    width: 16,
                    layers: 3,
                    feed_forward: 30,
                    heads,
                    key_value_heads,
                    context: 8,
                    tied: false,
                    ..spec
                },
            ] {
                grown(&spec, &target);
            }
        }
    }

    /// `spec` at another width, with the epsilon for it.
    fn wide(spec: &ModelSpec, width: u32) -> ModelSpec {
        ModelSpec { width, norm: norm(spec, width), ..*spec }
    }

    #[test]
    fn models_grow_to_any_width() {
        for (name, spec) in dense_families() {
            let (rule, had) = match spec.norm {
                Norm::Rms { epsilon } => ("zero channels added", epsilon),
                Norm::Layer { epsilon } => ("channels that hold the mean added", epsilon),
            };
            for width in [9, 10, 13, 20] {
                let target = wide(&spec, width);
                assert_eq!(grown(&spec, &target).changes[0].rule, rule, "{name}");
                let all = ModelSpec {
                    vocabulary: 17,
                    layers: 4,
                    feed_forward: 15,
                    tied: false,
                    context: 9,
                    ..target
                };
                grown(&spec, &all);
                let kept = ModelSpec { width, ..spec };
                assert_eq!(
                    adapt(&spec, &lively(&spec), &kept, &SEED).err(),
                    Some(AdaptError::Epsilon {
                        expected: norm(&spec, width).epsilon(),
                        found: had
                    })
                );
            }
        }
    }

    #[test]
    fn experts_compute_the_same_too() {
        for (_, dense) in dense_families() {
            let spec = ModelSpec { experts: Some(Experts::new(3, 2)), ..dense };
            for width in [8, 13, 16] {
                grown(&spec, &ModelSpec { layers: 3, feed_forward: 20, ..wide(&spec, width) });
            }
        }
    }

    #[test]
    fn new_channels_hold_the_mean() {
        let spec = families()[0].1;
        let target = wide(&spec, 11);
        let adapted = adapt(&spec, &lively(&spec), &target, &SEED).unwrap();
        let layout = Layout::new(&target).unwrap();
        for name in ["wte.weight", "wpe.weight", "h.1.attn.c_proj.weight", "h.1.mlp.c_proj.bias"] {
            let slot = layout.tensors().iter().find(|slot| slot.parameter.name == name).unwrap();
            for row in adapted.parameters[slot.range()].chunks(11) {
                assert!(row[8..].iter().all(|value| *value == mean(&row[..8])), "{name}: {row:?}");
            }
        }
    }

    #[test]
    fn rewrites_follow_one_another() {
        let (name, spec) = families()[3];
        let experts = Experts::new(4, 2);
        let rewrites = [
            Rewrite::Upcycle { experts },
            Rewrite::SplitExpert { expert: 1 },
            Rewrite::InsertBlock { at: 1 },
            Rewrite::Widen { feed_forward: 20 },
        ];
        let flat = lively(&spec);
        let (became, parameters) = rewrite(&spec, flat.clone(), &rewrites).unwrap();
        let expected = ModelSpec {
            experts: Some(Experts { count: 5, ..experts }),
            layers: 3,
            feed_forward: 20,
            ..spec
        };
        assert_eq!(became, expected);
        let tokens: Vec<u32> = (0..9).collect();
        let Difference { largest, scale } =
            difference([(&spec, &flat), (&became, &parameters)], &tokens).unwrap();
        assert!(largest < 1e-5 && scale > 0.5, "{name}: {largest} of {scale}");
        // Another model is far away.
        let other: Vec<f32> = flat.iter().map(|value| value * 1.1).collect();
        assert!(difference([(&spec, &flat), (&spec, &other)], &tokens).unwrap().largest > 1e-2);

        let refused = rewrite(&spec, flat.clone(), &rewrites[1..]).err().unwrap();
        assert_eq!(
            refused,
            AdaptError::Rewrite { rewrite: rewrites[1], invalid: InvalidRewrite::NoExperts }
        );
        assert!(matches!(
            rewrite(&spec, flat[1..].to_vec(), &rewrites),
            Err(AdaptError::Length { .. })
        ));
    }

    #[test]
    fn a_mind_is_added_without_effect() {
        for (_, spec) in dense_families() {
            let mind = Mind {
                superposition: Some(Superposition { branches: 3, rank: 2 }),
                introspection: true,
                second_pass: 1,
            };
            let report = grown(&spec, &ModelSpec { mind, width: 16, ..spec });
            assert!(report.added.iter().any(|name| name == "h.1.mind.gate"));
        }
    }

    #[test]
    fn what_is_new_learns() {
        for (name, spec) in dense_families() {
            let target = ModelSpec { width: 16, layers: 3, feed_forward: 20, ..spec };
            let adapted = adapt(&spec, &lively(&spec), &target, &SEED).unwrap();
            let layout = Layout::new(&target).unwrap();
            let weights = Weights::new(&layout, &adapted.parameters).unwrap().share(true).unwrap();
            let tokens = Tensor::from_slice(&TOKENS).view([2, 6]);
            let loss = Decoder::new(&target).unwrap().outcome(&weights, &tokens).unwrap().objective;
            let mut gradient = vec![0.0; layout.len()];
            weights.gradient(&loss, &mut gradient).unwrap();
            let of = |name: &str| {
                let slot =
                    layout.tensors().iter().find(|slot| slot.parameter.name == name).unwrap();
                (&gradient[slot.range()], slot.parameter.shape.clone())
            };
            // Outputs of the new block and of new neurons.
            assert!(
                of("h.2.mlp.c_proj.weight").0.iter().any(|&value| value.abs() > 1e-6),
                "{name}"
            );
            assert!(
                of("h.0.mlp.c_proj.weight").0[12 * 16..].iter().any(|&value| value.abs() > 1e-6),
                "{name}"
            );
            // The copies of a channel go different ways.
            let (columns, shape) = of("h.0.mlp.c_proj.weight");
            assert_eq!(shape, [20, 16]);
            assert!((columns[0] - columns[8]).abs() > 1e-7, "{name}");
        }
    }

    #[test]
    fn experts_grow_too() {
        let spec = ModelSpec { experts: Some(Experts::new(3, 1)), ..families()[3].1 };
        let target = ModelSpec { width: 16, feed_forward: 20, layers: 3, ..spec };
        let adapted = adapt(&spec, &lively(&spec), &target, &SEED).unwrap();
        assert_eq!(adapted.parameters.len() as u64, target.size());
        let value = |spec: &ModelSpec, flat: &[f32], name: &str, at: usize| {
            let layout = Layout::new(spec).unwrap();
            flat[layout.tensors().iter().find(|slot| slot.parameter.name == name).unwrap().offset
                + at]
        };
        // Expert 2, neuron 5 to channel 3, and its copy; a new neuron is silent.
        let old = value(&spec, &lively(&spec), "h.1.mlp.c_proj.weight", (2 * 12 + 5) * 8 + 3);
        let new = |neuron: usize, channel: usize| {
            value(
                &target,
                &adapted.parameters,
                "h.1.mlp.c_proj.weight",
                (2 * 20 + neuron) * 16 + channel,
            )
        };
        assert_eq!([new(5, 3), new(5, 11), new(12, 3)], [old, old, 0.0]);
        // What reads both copies adds up.
        let old = value(&spec, &lively(&spec), "h.0.mlp.router.weight", 3 * 3 + 1);
        let new = |channel: usize| {
            value(&target, &adapted.parameters, "h.0.mlp.router.weight", channel * 3 + 1)
        };
        assert!((new(3) + new(11) - old).abs() < 1e-6 && new(3) != new(11));
    }

    #[test]
    fn shrinking_keeps_the_strongest() {
        let spec = families()[3].1;
        let layout = Layout::new(&spec).unwrap();
        let mut flat = lively(&spec);
        let slot = |name: &str| {
            layout.tensors().iter().find(|slot| slot.parameter.name == name).unwrap().range()
        };
        // Neuron 7 of block 1 and channel 5 say most.
        flat[slot("h.1.mlp.c_proj.weight")][7 * 8..8 * 8].fill(9.0);
        flat[slot("wte.weight")].iter_mut().skip(5).step_by(8).for_each(|value| *value = 9.0);
        let target = ModelSpec {
            width: 1,
            feed_forward: 1,
            layers: 2,
            heads: 2,
            key_value_heads: 1,
            vocabulary: 4,
            ..spec
        };
        let Adapted { parameters, report } = adapt(&spec, &flat, &target, &SEED).unwrap();
        assert!(!report.preserved);
        assert_eq!(report.kept, target.size());
        let wanted = Layout::new(&target).unwrap();
        let new = |name: &str| {
            &parameters
                [wanted.tensors().iter().find(|slot| slot.parameter.name == name).unwrap().range()]
        };
        assert_eq!(new("wte.weight"), [9.0; 4]);
        assert_eq!(new("h.1.mlp.c_proj.weight"), [9.0]);
        assert_eq!(new("h.1.mlp.c_fc.weight"), [flat[slot("h.1.mlp.c_fc.weight")][5 * 12 + 7]]);
        let blocks = |from, to| (0..to).map(|index| origin(index, from, to).0).collect::<Vec<_>>();
        assert_eq!(
            (blocks(12, 4), blocks(5, 2), blocks(4, 1)),
            (vec![0, 4, 7, 11], vec![0, 4], vec![0])
        );
    }

    #[test]
    fn the_same_size_is_the_same_model() {
        for (name, spec) in families() {
            let adapted = adapt(&spec, &lively(&spec), &spec, &SEED).unwrap();
            assert_eq!(adapted.parameters, lively(&spec), "{name}");
            assert!(adapted.report.preserved && adapted.report.changes.is_empty());
        }
    }

    #[test]
    fn other_kinds_are_refused() {
        let [(_, gpt2), _, _, (_, llama), ..] = families();
        let refused = |source: &ModelSpec, target: &ModelSpec| {
            adapt(source, &lively(source), target, &SEED).err().unwrap()
        };
        assert_eq!(
            refused(&gpt2, &ModelSpec { norm: llama.norm, ..gpt2 }),
            AdaptError::Kind("norm")
        );
        assert_eq!(
            refused(&llama, &ModelSpec { tied: true, ..llama }),
            AdaptError::Kind("a head of its own that the target has not")
        );
        assert_eq!(
            refused(&llama, &ModelSpec { head_size: 8, ..llama }),
            AdaptError::Kind("the size of a head")
        );
        assert!(matches!(refused(&llama, &ModelSpec { heads: 6, ..llama }), AdaptError::Kind(_)));
        assert!(matches!(
            refused(&gpt2, &ModelSpec { biases: Biases::default(), ..gpt2 }),
            AdaptError::Kind(_)
        ));
        assert_eq!(
            adapt(&gpt2, &[0.0], &gpt2, &SEED).err(),
            Some(AdaptError::Length { expected: gpt2.size() as usize, found: 1 })
        );
        assert_eq!(
            refused(&gpt2, &ModelSpec { layers: 0, ..gpt2 }),
            AdaptError::Spec(InvalidSpec::Zero)
        );
    }
}
