// SPDX-License-Identifier: Apache-2.0

//! Specifications of families with experts.
//!
//! Ours weigh the outputs of experts by a softmax over the scores of the chosen ones. Mixtral takes
//! a softmax over all scores and divides the chosen weights by their sum, which is the same. Ours
//! compares squashed scores, whose order is the same as long as scores of 20 differ by 10⁻⁴.

use super::{
    hf_config::HfConfig,
    hf_defaults,
    hf_families::{blocks, windows},
    hf_later::qwen_3_with,
};
use crate::ImportError;
use pol_primitives::model::{Experts, ModelSpec};
use serde_json::Value;

/// Returns the specification of a Mixtral: a Mistral with experts.
pub(super) fn mixtral(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let usual = hf_defaults::MIXTRAL;
    let spec = blocks(config, &usual)?;
    Ok(ModelSpec {
        local: windows(config, &spec, usual.window, |_| true)?,
        experts: Some(experts(config, "num_local_experts", 8, 2)?),
        ..spec
    })
}

/// Returns the specification of a Qwen3 with experts in every block.
pub(super) fn qwen_3_moe(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let advice = "take a model whose blocks all have experts, with weights that add up to 1";
    // Without it, weights are those of a softmax over all scores.
    if !config.flag("norm_topk_prob", false)? {
        let feature = "weights of experts that do not add up to 1 (norm_topk_prob false)";
        return Err(config.unsupported(feature.into(), advice));
    }
    let dense = config.map.get("mlp_only_layers").is_some_and(|blocks| {
        !blocks.is_null() && blocks.as_array().is_none_or(|blocks| !blocks.is_empty())
    });
    for (is_there, key) in [
        (dense, "mlp_only_layers"),
        (config.size("decoder_sparse_step", Some(1))? != 1, "decoder_sparse_step"),
    ] {
        if is_there {
            let value = config.map.get(key).unwrap_or(&Value::Null);
            return Err(
                config.unsupported(format!("blocks without experts ({key} {value})"), advice)
            );
        }
    }
    // transformers has written both.
    let key = if config.is_missing("num_experts") { "num_local_experts" } else { "num_experts" };
    let experts = experts(config, key, 128, 8)?;
    Ok(ModelSpec {
        feed_forward: config.size("moe_intermediate_size", Some(768))?,
        ..qwen_3_with(config, &hf_defaults::QWEN_3_MOE, Some(experts))?
    })
}

/// Returns the experts of a family with defaults of their number and of how many are active. Losses
/// of the router in training are ours.
fn experts(config: &HfConfig, key: &str, count: u32, active: u32) -> Result<Experts, ImportError> {
    let count = config.size(key, Some(count))?;
    let active = config.size("num_experts_per_tok", Some(active))?;
    match (u8::try_from(count), u8::try_from(active)) {
        (Ok(count @ ..=Experts::MAX_COUNT), Ok(active)) if active <= count => {
            Ok(Experts::new(count, active))
        }
        _ => Err(config.unsupported(
            format!("{count} experts ({key}), of which {active} are active"),
            "take a model with at most 64 experts",
        )),
    }
}
