// SPDX-License-Identifier: Apache-2.0

//! Values that a `config.json` may leave out.
//!
//! They are those of transformers, from the `configuration_*.py` of each family.

use super::hf_rope::{Blocks, RopeDefaults};

/// Values that the `config.json` of a family may leave out.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    /// Epsilon of norms.
    pub(super) epsilon: f64,
    /// Number of heads of keys and values; `None` for that of all heads.
    pub(super) key_value_heads: Option<u32>,
    /// Size of a head; `None` for its share of the width.
    pub(super) head_size: Option<u32>,
    /// Window of blocks that have one; `None` for no windows.
    pub(super) window: Option<u32>,
    /// Rotation of heads.
    pub(super) rope: RopeDefaults,
}

/// Values of LLaMA and Granite.
pub(super) const LLAMA: Defaults = Defaults {
    epsilon: 1e-6,
    key_value_heads: None,
    head_size: None,
    window: None,
    rope: RopeDefaults::USUAL,
};

pub(super) const MISTRAL: Defaults =
    Defaults { key_value_heads: Some(8), window: Some(4_096), ..LLAMA };

pub(super) const MIXTRAL: Defaults =
    Defaults { epsilon: 1e-5, key_value_heads: Some(8), rope: base(1_000_000.0), ..LLAMA };

pub(super) const QWEN_2: Defaults =
    Defaults { key_value_heads: Some(32), window: Some(4_096), ..LLAMA };

pub(super) const QWEN_3: Defaults = Defaults { head_size: Some(128), ..QWEN_2 };

pub(super) const QWEN_3_MOE: Defaults = Defaults { key_value_heads: Some(4), ..QWEN_2 };

pub(super) const GEMMA: Defaults =
    Defaults { key_value_heads: Some(16), head_size: Some(256), ..LLAMA };

pub(super) const GEMMA_2: Defaults =
    Defaults { key_value_heads: Some(4), window: Some(4_096), ..GEMMA };

/// Values of Gemma 3. The rotation is that of blocks with full attention.
pub(super) const GEMMA_3: Defaults =
    Defaults { rope: RopeDefaults { blocks: Some(Blocks::Full), ..base(1_000_000.0) }, ..GEMMA_2 };

/// Rotation of blocks with windows in a Gemma 3.
pub(super) const GEMMA_3_SLIDING: RopeDefaults = RopeDefaults {
    base_key: "rope_local_base_freq",
    blocks: Some(Blocks::Sliding),
    ..RopeDefaults::USUAL
};

pub(super) const OLMO_2: Defaults = Defaults { epsilon: 1e-5, ..LLAMA };

pub(super) const SMOLLM_3: Defaults =
    Defaults { key_value_heads: Some(4), rope: base(2_000_000.0), ..LLAMA };

pub(super) const PHI: Defaults = Defaults { epsilon: 1e-5, rope: rotated(0.5), ..LLAMA };

pub(super) const PHI_3: Defaults = Defaults {
    epsilon: 1e-5,
    rope: RopeDefaults { original_context: Some(4_096), ..rotated(1.0) },
    ..LLAMA
};

pub(super) const STABLELM: Defaults =
    Defaults { epsilon: 1e-5, key_value_heads: Some(32), rope: rotated(0.25), ..LLAMA };

pub(super) const STARCODER_2: Defaults =
    Defaults { epsilon: 1e-5, key_value_heads: Some(2), ..LLAMA };

pub(super) const FALCON: Defaults = Defaults { epsilon: 1e-5, ..LLAMA };

pub(super) const GPT_NEOX: Defaults = Defaults {
    epsilon: 1e-5,
    rope: RopeDefaults { base_key: "rotary_emb_base", share_key: "rotary_pct", ..rotated(0.25) },
    ..LLAMA
};

/// Returns the rotation of whole heads with this base.
const fn base(base: f64) -> RopeDefaults {
    RopeDefaults { base, ..RopeDefaults::USUAL }
}

/// Returns the rotation of this share of each head.
const fn rotated(share: f64) -> RopeDefaults {
    RopeDefaults { rotated: Some(share), ..RopeDefaults::USUAL }
}
