// SPDX-License-Identifier: Apache-2.0

//! Specifications of the families that llama.cpp knows, where its metadata say less than a
//! specification does.

use super::{
    gguf_fields::Fields,
    gguf_maps, gguf_rope, listed,
    patterns::{PatternTooLong, pattern},
    whole_base,
};
use crate::{
    ImportError,
    files::TensorTable,
    mapping::{Factors, TensorMap},
};
use pol_primitives::model::{
    Activation, Biases, Experts, LocalAttention, Mind, ModelSpec, Norm, NormPlacement,
    OtherRotation, PositionEncoding, QueryKeyNorm, RotaryBase, SoftCaps,
};
use std::sync::LazyLock;

/// Families, by what distinguishes their blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Gpt2,
    GptNeox,
    Falcon,
    Llama,
    Phi3,
    Qwen3,
    SmolLm3,
    Olmo2,
    Gemma,
    Gemma2,
    Gemma3,
}

/// Architectures that can be imported, as `general.architecture` names them, in the order of their
/// names, with other models that they stand for.
static ARCHITECTURES: [(&str, &str, &TensorMap, Family); 13] = [
    ("falcon", "", &gguf_maps::FALCON, Family::Falcon),
    ("gemma", "", &gguf_maps::GEMMA, Family::Gemma),
    ("gemma2", "", &gguf_maps::GEMMA_2, Family::Gemma2),
    ("gemma3", "", &gguf_maps::GEMMA_3, Family::Gemma3),
    ("gpt2", "", &gguf_maps::GPT_2, Family::Gpt2),
    ("gptneox", "", &gguf_maps::GPT_NEOX, Family::GptNeox),
    ("llama", "Mistral and Mixtral", &gguf_maps::LLAMA, Family::Llama),
    ("olmo2", "", &gguf_maps::OLMO_2, Family::Olmo2),
    ("phi3", "Phi-4", &gguf_maps::PHI_3, Family::Phi3),
    ("qwen2", "", &gguf_maps::QWEN_2, Family::Llama),
    ("qwen3", "", &gguf_maps::QWEN_3, Family::Qwen3),
    ("qwen3moe", "", &gguf_maps::QWEN_3_MOE, Family::Qwen3),
    ("smollm3", "", &gguf_maps::SMOLLM_3, Family::SmolLm3),
];

/// Remedy for a model of another architecture.
pub(super) static ADVICE: LazyLock<String> = LazyLock::new(|| {
    let names = ARCHITECTURES.iter().map(|&(name, others, ..)| (name, others));
    format!("the architectures that can be imported from GGUF are {}", listed(names))
});

/// Returns the architectures that can be imported.
pub(super) fn architectures() -> Vec<&'static str> {
    ARCHITECTURES.iter().map(|&(name, ..)| name).collect()
}

/// Returns the tensors and the family of `architecture`, if it is known.
pub(super) fn find(
    architecture: &str,
    table: &TensorTable,
) -> Option<(&'static TensorMap, Family)> {
    let known = ARCHITECTURES.iter().find(|(name, ..)| *name == architecture);
    let &(_, _, tensor_map, family) = known?;
    let tensor_map = match architecture {
        "falcon" if has_second_norm(table) => &gguf_maps::FALCON_APART,
        "llama" if has_experts(table) => &gguf_maps::MIXTRAL,
        _ => tensor_map,
    };
    Some((tensor_map, family))
}

/// Returns `true` for a Falcon with a norm for each sublayer.
fn has_second_norm(table: &TensorTable) -> bool {
    table.entries().contains_key("blk.0.attn_norm_2.weight")
}

/// Returns `true` for a model with experts.
fn has_experts(table: &TensorTable) -> bool {
    table.entries().contains_key("blk.0.ffn_gate_inp.weight")
}

/// Sizes that all families have.
pub(super) struct Sizes {
    pub(super) vocabulary: u32,
    pub(super) width: u32,
    pub(super) heads: u16,
    pub(super) layers: u16,
    pub(super) feed_forward: u32,
    pub(super) context: u32,
    pub(super) tied: bool,
    pub(super) experts: Option<Experts>,
}

// The first files of Gemma 2 have no keys for its bounds and its window. llama.cpp takes these
// then: `llama_hparams` in src/llama-hparams.h, and `llama_model_gemma2` in src/models/gemma2.cpp.

/// Bound of scores in a Gemma 2 whose file names none.
const GEMMA_2_ATTENTION_CAP: f64 = 50.0;
/// Bound of logits in a Gemma 2 whose file names none.
const GEMMA_2_LOGITS_CAP: f64 = 30.0;
/// Window in a Gemma 2 whose file names none.
const GEMMA_2_WINDOW: i128 = 4_096;

impl Family {
    /// Returns the specification, and the factors that llama.cpp applies while it computes.
    pub(super) fn spec(
        self,
        fields: &Fields,
        table: &TensorTable,
        sizes: Sizes,
    ) -> Result<(ModelSpec, Factors), ImportError> {
        let Sizes { vocabulary, width, layers, heads, feed_forward, context, tied, .. } = sizes;
        let windowed = matches!(self, Self::Phi3 | Self::Gemma2 | Self::Gemma3);
        if !windowed && fields.integer("attention.sliding_window")?.is_some_and(|size| size != 0) {
            let feature =
                format!("a sliding window ({}.attention.sliding_window)", fields.architecture);
            return Err(fields.unsupported(feature, "take a model without"));
        }
        if self == Self::Gpt2 {
            let norm = Norm::Layer { epsilon: fields.epsilon("attention.layer_norm_epsilon")? };
            let spec = ModelSpec::gpt2(vocabulary, width, layers, heads, feed_forward, context);
            return Ok((ModelSpec { norm, tied, ..spec }, Factors::default()));
        }
        let spec = self.rotated(fields, table, sizes)?;
        Ok(match self {
            Self::Gpt2 | Self::Llama => (spec, Factors::default()),
            Self::Phi3 => {
                // llama.cpp heeds no window of this family, and the checkpoint has it in all
                // blocks. 0 stands for none.
                let window: Option<u32> = match fields.integer("attention.sliding_window")? {
                    None | Some(0) => None,
                    Some(size) => Some(fields.fit("attention.sliding_window", size)?),
                };
                let window = window.filter(|&window| window < spec.context);
                let local = window.map(|window| LocalAttention { window, period: 1, layers: 1 });
                (ModelSpec { local, ..spec }, Factors::default())
            }
            Self::Qwen3 => {
                let query_key_norm = Some(QueryKeyNorm::Head);
                (ModelSpec { query_key_norm, ..spec }, Factors::default())
            }
            Self::SmolLm3 => {
                // llama.cpp rotates all but every fourth block.
                let other = OtherRotation { period: 4, layers: 0b1000, base: None };
                let other_rotation = (layers > 3).then_some(other);
                (ModelSpec { other_rotation, ..spec }, Factors::default())
            }
            Self::Olmo2 => {
                let query_key_norm = Some(QueryKeyNorm::Whole);
                let norms = NormPlacement::After;
                (ModelSpec { query_key_norm, norms, ..spec }, Factors::default())
            }
            Self::GptNeox => {
                let parallel = fields.flag("use_parallel_residual", true)?;
                let norms = if parallel { NormPlacement::Apart } else { NormPlacement::Before };
                let activation = Activation::Gelu;
                let spec = ModelSpec { gated: false, activation, parallel, norms, ..spec };
                (spec, Factors::default())
            }
            Self::Falcon => {
                let apart = has_second_norm(table);
                let norms = if apart { NormPlacement::Apart } else { NormPlacement::Before };
                let activation = Activation::Gelu;
                let spec = ModelSpec { gated: false, activation, parallel: true, norms, ..spec };
                (spec, Factors::default())
            }
            Self::Gemma | Self::Gemma2 | Self::Gemma3 => self.gemma(fields, spec)?,
        })
    }

    /// Returns the parts of a LLaMA, which the families after it share.
    fn rotated(
        self,
        fields: &Fields,
        table: &TensorTable,
        sizes: Sizes,
    ) -> Result<ModelSpec, ImportError> {
        let Sizes { vocabulary, width, heads, layers, feed_forward, context, tied, experts } =
            sizes;
        let head_size = head_size(fields, width, heads)?;
        let partial = matches!(self, Self::GptNeox | Self::Phi3);
        let dimensions = rotated_dimensions(fields, head_size, partial)?;
        let base = fields.float("rope.freq_base")?.unwrap_or(10_000.0);
        let base = whole_base(base).ok_or_else(|| {
            fields.refuse(format!("rope.freq_base is {base}, not a whole number"))
        })?;
        let key_value_heads = match fields.integer("attention.head_count_kv")? {
            Some(heads) => fields.fit("attention.head_count_kv", heads)?,
            None => heads,
        };
        let norm = match self {
            Self::GptNeox | Self::Falcon => {
                Norm::Layer { epsilon: fields.epsilon("attention.layer_norm_epsilon")? }
            }
            _ => Norm::Rms { epsilon: fields.epsilon("attention.layer_norm_rms_epsilon")? },
        };
        let has = |name: &str| table.entries().contains_key(name);
        let rotation = gguf_rope::read(fields, table, dimensions, base, context)?;
        Ok(ModelSpec {
            vocabulary,
            width,
            layers,
            heads,
            key_value_heads,
            head_size,
            feed_forward,
            context: rotation.context,
            activation: Activation::Silu,
            gated: true,
            norm,
            positions: PositionEncoding::Rotary { dimensions, base, interleaved: false },
            local: None,
            scaled: true,
            parallel: false,
            biases: Biases {
                query_key_value: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
                attention_output: has("blk.0.attn_output.bias"),
                feed_forward: has("blk.0.ffn_up.bias"),
                head: false,
            },
            tied,
            experts,
            mind: Mind::default(),
            scaling: rotation.scaling,
            other_rotation: None,
            query_key_norm: None,
            norms: NormPlacement::Before,
            caps: SoftCaps::default(),
        })
    }

    /// Returns what distinguishes a Gemma of any generation from a LLaMA. Weights of norms have
    /// their addend in the file.
    fn gemma(self, fields: &Fields, spec: ModelSpec) -> Result<(ModelSpec, Factors), ImportError> {
        let mut spec = ModelSpec { activation: Activation::GeluTanh, ..spec };
        let mut factors =
            Factors { embedding: f64::from(spec.width).sqrt() as f32, ..Factors::default() };
        if self == Self::Gemma {
            return Ok((spec, factors));
        }
        spec.norms = NormPlacement::Around;
        // Only the largest model of each generation scales by the width; llama.cpp knows it by its
        // blocks.
        let largest = if self == Self::Gemma2 { 46 } else { 62 };
        if spec.layers == largest {
            let share = (spec.width / u32::from(spec.heads)).max(1);
            factors.query = (f64::from(spec.head_size) / f64::from(share)).sqrt() as f32;
        }
        let is_second = self == Self::Gemma2;
        let cap = |key, usual| {
            let bound = fields.float(key)?.or(is_second.then_some(usual));
            let bound = bound.filter(|&bound| bound != 0.0);
            let units = bound.map(|bound| (bound * f64::from(SoftCaps::UNIT)).round());
            match units {
                Some(units) if !(1.0..=1e9).contains(&units) => {
                    Err(fields.refuse(format!("{key} is not a bound")))
                }
                units => Ok(units.map(|units| units as u32)),
            }
        };
        spec.caps.logits = cap("final_logit_softcapping", GEMMA_2_LOGITS_CAP)?;
        if is_second {
            spec.caps.attention = cap("attn_logit_softcapping", GEMMA_2_ATTENTION_CAP)?;
        }
        if self == Self::Gemma3 {
            spec.query_key_norm = Some(QueryKeyNorm::Head);
        }
        let window = fields.integer("attention.sliding_window")?;
        let window = window.or(is_second.then_some(GEMMA_2_WINDOW)).filter(|&size| size != 0);
        let Some(window) = window else { return Ok((spec, factors)) };
        let window: u32 = fields.fit("attention.sliding_window", window)?;
        let period: u16 = match fields.integer("attention.sliding_window_pattern")? {
            Some(period) => fields.fit("attention.sliding_window_pattern", period)?,
            None if is_second => 2,
            None => 6,
        };
        // All blocks of the pattern but the last have windows.
        let kinds: Vec<bool> =
            (1..=spec.layers).map(|block| !block.is_multiple_of(period)).collect();
        let pattern = pattern(&kinds).map_err(|PatternTooLong| {
            let feature = "a pattern of blocks longer than 64".to_owned();
            fields.unsupported(feature, "take another model")
        })?;
        let Some((period, layers)) = pattern else { return Ok((spec, factors)) };
        if window < spec.context {
            spec.local = Some(LocalAttention { window, period, layers });
        }
        if self == Self::Gemma3 {
            let base = fields.float("rope.freq_base_swa")?.unwrap_or(10_000.0);
            let base = whole_base(base).ok_or_else(|| {
                fields.refuse(format!("rope.freq_base_swa is {base}, not a whole number"))
            })?;
            let base = Some(RotaryBase { base, scaling: None });
            spec.other_rotation = Some(OtherRotation { period, layers, base });
        }
        Ok((spec, factors))
    }
}

/// Returns the size of a head.
fn head_size(fields: &Fields, width: u32, heads: u16) -> Result<u16, ImportError> {
    let head_size: u16 = match fields.integer("attention.key_length")? {
        Some(size) => fields.fit("attention.key_length", size)?,
        None => fields.fit("embedding_length", i128::from(width / u32::from(heads)))?,
    };
    let differs = |size: i128| size != head_size.into();
    if fields.integer("attention.value_length")?.is_some_and(differs) {
        return Err(
            fields.unsupported("values of another size than keys".into(), "take another model")
        );
    }
    Ok(head_size)
}

/// Returns the number of dimensions of a head that are rotated: all, unless `partial` is set.
fn rotated_dimensions(fields: &Fields, head_size: u16, partial: bool) -> Result<u16, ImportError> {
    let dimensions = match fields.integer("rope.dimension_count")? {
        Some(count) => fields.fit("rope.dimension_count", count)?,
        None => head_size,
    };
    if dimensions != head_size && !partial {
        return Err(fields.unsupported(
            "rotation of a part of each head (rope.dimension_count)".into(),
            "take another model",
        ));
    }
    if !dimensions.is_multiple_of(2) {
        return Err(fields.refuse(format!(
            "heads have the odd size {dimensions}, which cannot be rotated in pairs"
        )));
    }
    Ok(dimensions)
}
