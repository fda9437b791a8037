// SPDX-License-Identifier: Apache-2.0

//! Metadata of a GGUF file.
//!
//! As for a Hugging Face folder, a family expresses a specification if the importer reads the same
//! one in its metadata. Functions write only keys that llama.cpp reads, and leave out what it fixes
//! by the architecture.

use super::subject::{Nearest, Subject};
use crate::{
    ImportError,
    description::{
        self, gguf_maps,
        scaling::{Yarn, to_divisors, yarn_of},
    },
    files::{
        Encoding, ReadAt,
        gguf::{self, Metadata, Value, writer::Header},
    },
    mapping::{Embeddings, ExportPlan, Factors, TensorMap},
};
use pol_primitives::model::{
    Activation, Biases, ModelSpec, Norm, NormPlacement, RotaryScaling, ScalingRamp, SoftCaps,
};
use std::io;

/// Description of a model in terms of a family, and the plan of its tensors.
pub(super) struct GgufModel {
    pub(super) family: &'static str,
    pub(super) metadata: Metadata,
    pub(super) embeddings: Embeddings,
    pub(super) plan: ExportPlan,
    /// Divisors of the rotation, a tensor of its own.
    pub(super) divisors: Option<Vec<f32>>,
    /// Set if the output projection is written though it is the embedding.
    pub(super) copies_head: bool,
}

/// Name of the embedding.
pub(super) const EMBEDDING: &str = "token_embd.weight";
/// Name of the output projection.
pub(super) const HEAD: &str = "output.weight";
/// Name of the tensor of divisors.
pub(super) const DIVISORS: &str = "rope_freqs.weight";

/// Keys of the epsilon of each kind of norm.
const EPSILONS: [&str; 2] = ["attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"];

/// Output projection of an architecture.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    /// The embedding, unless it is there.
    Optional,
    /// Always there.
    Required,
    /// Always the embedding.
    Embedding,
}

/// An architecture of llama.cpp.
struct Architecture {
    name: &'static str,
    tensor_map: &'static TensorMap,
    head: Head,
    /// Says a specification in its terms, or returns `None` if it is of another kind.
    describe: fn(&Subject, &mut Fields) -> Option<()>,
}

/// Architectures in the order in which they are tried.
const ARCHITECTURES: [Architecture; 12] = {
    const fn of(
        name: &'static str,
        tensor_map: &'static TensorMap,
        head: Head,
        describe: fn(&Subject, &mut Fields) -> Option<()>,
    ) -> Architecture {
        Architecture { name, tensor_map, head, describe }
    }
    [
        of("llama", &gguf_maps::LLAMA, Head::Optional, llama),
        of("qwen2", &gguf_maps::QWEN_2, Head::Optional, qwen2),
        of("qwen3", &gguf_maps::QWEN_3, Head::Optional, qwen3),
        of("smollm3", &gguf_maps::SMOLLM_3, Head::Optional, qwen3),
        of("olmo2", &gguf_maps::OLMO_2, Head::Required, olmo2),
        of("gemma", &gguf_maps::GEMMA, Head::Embedding, qwen3),
        of("gemma2", &gguf_maps::GEMMA_2, Head::Embedding, gemma2),
        of("gemma3", &gguf_maps::GEMMA_3, Head::Optional, gemma3),
        of("gpt2", &gguf_maps::GPT_2, Head::Optional, gpt2),
        of("falcon", &gguf_maps::FALCON, Head::Optional, falcon),
        of("falcon", &gguf_maps::FALCON_APART, Head::Optional, falcon),
        of("gptneox", &gguf_maps::GPT_NEOX, Head::Required, gpt_neox),
    ]
};

/// Remedies for a model that no architecture expresses.
const ADVICE: &str = "export it with --format hf. Windows are needed only for texts that are \
                      longer: `pol-trainer model adapt --context` makes a model that reads no \
                      longer ones";

/// Describes a model in terms of the first architecture that expresses it.
pub(super) fn describe(subject: &Subject) -> Result<GgufModel, ImportError> {
    let mut nearest = Nearest::default();
    for architecture in &ARCHITECTURES {
        match architecture.try_for(subject) {
            Ok(Some(model)) => return Ok(model),
            Ok(None) => {}
            Err(parts) => nearest.note(architecture.name, parts),
        }
    }
    Err(nearest.refusal("llama.cpp", ADVICE))
}

impl Architecture {
    /// Describes a model, or returns `None` if it is of another kind.
    ///
    /// # Errors
    ///
    /// Fails with the parts in which the model differs from all of the architecture.
    fn try_for(&self, subject: &Subject) -> Result<Option<GgufModel>, Vec<&'static str>> {
        let mut fields = Fields::new(self.name, &subject.spec);
        if (self.describe)(subject, &mut fields).is_none() {
            return Ok(None);
        }
        let spec = &subject.spec;
        let scales = self.name.starts_with("gemma");
        let embeddings = subject.embeddings(scales);
        if self.head == Head::Embedding && embeddings == Embeddings::Apart {
            return Err(vec!["an output projection that is not the embedding (tied)"]);
        }
        let plan = |factors: &Factors| {
            ExportPlan::new(self.tensor_map, factors, spec, embeddings)
                .map_err(|_| vec!["its tensors"])
        };
        let Fields { metadata, divisors, .. } = fields;
        let tensors = plan(&Factors::default())?;
        let read = reread(&metadata, &tensors, divisors.as_deref(), self);
        let Ok((read, factors)) = read else { return Ok(None) };
        let parts = subject.differences(&read);
        if !parts.is_empty() {
            return Err(parts);
        }
        Ok(Some(GgufModel {
            family: self.name,
            metadata,
            embeddings,
            plan: plan(&factors)?,
            divisors,
            copies_head: self.head == Head::Required && embeddings == Embeddings::Shared,
        }))
    }
}

/// Reads metadata of `architecture` as the importer does.
fn reread(
    metadata: &Metadata,
    plan: &ExportPlan,
    divisors: Option<&[f32]>,
    architecture: &Architecture,
) -> Result<(ModelSpec, Factors), ImportError> {
    let from = "the description of an export";
    let failed = |reason: String| ImportError::Config { from: from.into(), reason };
    // A model with the other kind of norm differs in that, and is not malformed.
    let mut metadata = metadata.clone();
    for key in EPSILONS {
        let key = format!("{}.{key}", architecture.name);
        metadata.entry(key).or_insert(Value::Float(1e-5));
    }
    let mut tensors = Vec::new();
    let mut first = Vec::new();
    if let Some(divisors) = divisors {
        tensors.push((DIVISORS.to_owned(), vec![divisors.len() as u64], Encoding::F32));
        first = divisors.iter().flat_map(|divisor| divisor.to_le_bytes()).collect();
    }
    // Values tell whether the output projection is the embedding, and they are not there yet.
    let described = plan.tensors().filter(|piece| piece.name != architecture.tensor_map.head);
    tensors.extend(described.map(|piece| (piece.name.clone(), piece.shape.clone(), Encoding::F32)));
    let header = Header { metadata, tensors };
    let (mut start, rest) = header.write().map_err(failed)?;
    let size = start.len() as u64 + rest;
    start.extend(first);
    let (metadata, table) = gguf::read(Box::new(Unwritten { start, size }))
        .map_err(|source| ImportError::File { path: from.into(), source })?;
    let read = description::gguf::read(&metadata, &table, from)?;
    Ok((read.spec, read.factors))
}

/// The start of a file whose other values are not there yet, and are zeros.
struct Unwritten {
    start: Vec<u8>,
    size: u64,
}

impl ReadAt for Unwritten {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        into.fill(0);
        let start = usize::try_from(offset).ok().and_then(|offset| self.start.get(offset..));
        for (byte, written) in into.iter_mut().zip(start.unwrap_or_default()) {
            *byte = *written;
        }
        Ok(())
    }
}

/// Metadata under construction.
struct Fields {
    architecture: &'static str,
    metadata: Metadata,
    divisors: Option<Vec<f32>>,
}

impl Fields {
    /// Starts with the sizes that all architectures have.
    fn new(architecture: &'static str, spec: &ModelSpec) -> Self {
        let mut metadata = Metadata::new();
        metadata.insert("general.architecture".into(), Value::Text(architecture.to_owned()));
        let mut fields = Self { architecture, metadata, divisors: None };
        fields.integer("block_count", spec.layers.into());
        fields.integer("context_length", spec.context);
        fields.integer("embedding_length", spec.width);
        fields.integer("feed_forward_length", spec.feed_forward);
        fields.integer("attention.head_count", spec.heads.into());
        fields.integer("vocab_size", spec.vocabulary);
        let epsilon = f64::from(spec.norm.epsilon()) / 1e9;
        match spec.norm {
            Norm::Layer { .. } => fields.float(EPSILONS[0], epsilon),
            Norm::Rms { .. } => fields.float(EPSILONS[1], epsilon),
        }
        fields
    }

    fn set(&mut self, key: &str, value: Value) {
        self.metadata.insert(format!("{}.{key}", self.architecture), value);
    }

    fn integer(&mut self, key: &str, value: u32) {
        self.set(key, Value::Integer(value.into()));
    }

    fn float(&mut self, key: &str, value: f64) {
        self.set(key, Value::Float(value));
    }

    /// Adds the size of heads.
    fn head_size(&mut self, spec: &ModelSpec) {
        self.integer("attention.key_length", spec.head_size.into());
        self.integer("attention.value_length", spec.head_size.into());
    }

    /// Adds groups of heads and the rotation. Returns `None` if it cannot be said.
    fn rotation(&mut self, subject: &Subject) -> Option<()> {
        let (spec, rotation) = (&subject.spec, subject.rotation()?);
        self.integer("attention.head_count_kv", spec.key_value_heads.into());
        self.integer("rope.dimension_count", rotation.dimensions.into());
        self.float("rope.freq_base", rotation.base.into());
        let Some(scaling) = rotation.scaling else { return Some(()) };
        let kind = match scaling.ramp {
            ScalingRamp::All => "linear",
            ScalingRamp::Pairs { .. } => "yarn",
            ScalingRamp::Wavelengths { .. } => {
                // llama.cpp reads the tensor of this architecture only.
                self.divisors = to_divisors(&scaling, rotation.dimensions, rotation.base);
                return (self.architecture == "llama" && self.divisors.is_some()).then_some(());
            }
        };
        let factor = f64::from(scaling.factor) / f64::from(RotaryScaling::FACTOR_UNIT);
        self.set("rope.scaling.type", Value::Text(kind.to_owned()));
        self.float("rope.scaling.factor", factor);
        if kind == "linear" {
            if scaling.amplitude != RotaryScaling::AMPLITUDE_UNIT {
                let unit = f64::from(RotaryScaling::AMPLITUDE_UNIT);
                self.float("rope.scaling.attn_factor", f64::from(scaling.amplitude) / unit);
            }
            return Some(());
        }
        let yarn = yarn_of(&scaling, rotation.dimensions, rotation.base, spec.context)?;
        if yarn.original.fract() != 0.0 {
            return None;
        }
        self.integer("rope.scaling.original_context_length", yarn.original as u32);
        if (yarn.beta_fast, yarn.beta_slow) != Yarn::USUAL_BETAS {
            self.float("rope.scaling.yarn_beta_fast", yarn.beta_fast);
            self.float("rope.scaling.yarn_beta_slow", yarn.beta_slow);
        }
        let usual = Yarn::usual_amplitude(factor);
        if yarn.amplitude != usual {
            self.float("rope.scaling.attn_factor", yarn.amplitude / usual);
        }
        Some(())
    }
}

/// Requires the biases that llama.cpp knows of an architecture.
fn only(spec: &ModelSpec, biases: Biases) -> Option<()> {
    (spec.biases == biases).then_some(())
}

fn llama(subject: &Subject, fields: &mut Fields) -> Option<()> {
    fields.head_size(&subject.spec);
    fields.rotation(subject)
}

fn qwen2(subject: &Subject, fields: &mut Fields) -> Option<()> {
    only(&subject.spec, Biases { query_key_value: true, ..Biases::default() })?;
    fields.rotation(subject)
}

/// Adds the fields of an architecture without biases.
fn qwen3(subject: &Subject, fields: &mut Fields) -> Option<()> {
    only(&subject.spec, Biases::default())?;
    llama(subject, fields)
}

fn olmo2(subject: &Subject, fields: &mut Fields) -> Option<()> {
    only(&subject.spec, Biases::default())?;
    fields.rotation(subject)
}

/// Adds a bound of scores or logits.
fn cap(fields: &mut Fields, key: &str, bound: u32) {
    fields.float(key, f64::from(bound) / f64::from(SoftCaps::UNIT));
}

fn gemma2(subject: &Subject, fields: &mut Fields) -> Option<()> {
    let spec = &subject.spec;
    (spec.norms == NormPlacement::Around).then_some(())?;
    // llama.cpp always applies both, and divides by them.
    cap(fields, "attn_logit_softcapping", spec.caps.attention?);
    cap(fields, "final_logit_softcapping", spec.caps.logits?);
    // A window as long as the context hides nothing. Without the key it is 4,096.
    let window = spec.local.map_or(spec.context, |local| local.window);
    fields.integer("attention.sliding_window", window);
    qwen3(subject, fields)
}

fn gemma3(subject: &Subject, fields: &mut Fields) -> Option<()> {
    let spec = &subject.spec;
    (spec.norms == NormPlacement::Around).then_some(())?;
    if let Some(bound) = spec.caps.logits {
        cap(fields, "final_logit_softcapping", bound);
    }
    if spec.other_rotation.is_some() || spec.local.is_some() {
        let window = spec.local.map_or(spec.context, |local| local.window);
        fields.integer("attention.sliding_window", window);
    }
    qwen3(subject, fields)
}

fn gpt2(subject: &Subject, _: &mut Fields) -> Option<()> {
    subject.rotation().is_none().then_some(())
}

/// Adds the fields of a Falcon, of which llama.cpp knows no biases.
fn falcon(subject: &Subject, fields: &mut Fields) -> Option<()> {
    only(&subject.spec, Biases::default())?;
    (subject.heads_fill_width() && subject.spec.activation == Activation::Gelu).then_some(())?;
    fields.rotation(subject)
}

/// Adds the fields of a GPT-NeoX, of which llama.cpp needs all biases.
fn gpt_neox(subject: &Subject, fields: &mut Fields) -> Option<()> {
    let biases =
        Biases { query_key_value: true, attention_output: true, feed_forward: true, head: false };
    only(&subject.spec, biases)?;
    subject.heads_fill_width().then_some(())?;
    fields.set("use_parallel_residual", Value::Bool(subject.spec.parallel));
    fields.rotation(subject)
}
