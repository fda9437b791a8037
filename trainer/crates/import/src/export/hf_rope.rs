// SPDX-License-Identifier: Apache-2.0

//! Rotations in a `config.json`.

use super::subject::{HalfRotation, number};
use crate::description::scaling::{Yarn, yarn_of};
use pol_primitives::model::{RotaryScaling, ScalingRamp};
use serde_json::{Map, Value, json};

/// Adds a rotation in the older spelling, which all versions of transformers read. Returns `None`
/// if the rotation cannot be said.
pub(super) fn add_rotation(
    mut config: Map<String, Value>,
    rotation: &HalfRotation,
    context: u32,
) -> Option<Map<String, Value>> {
    config.insert("rope_theta".into(), rotation.base.into());
    if let Some(scaling) = rotation.scaling {
        config.insert("rope_scaling".into(), scaled(&scaling, rotation, context)?);
    }
    Some(config)
}

/// Adds the rotation of blocks with full attention and that of blocks with windows. The older
/// spelling has no scaling for the latter.
pub(super) fn add_two_rotations(
    mut config: Map<String, Value>,
    full: &HalfRotation,
    sliding: &HalfRotation,
    context: u32,
) -> Option<Map<String, Value>> {
    if sliding.scaling.is_none() {
        config.insert("rope_local_base_freq".into(), sliding.base.into());
        return Some(config);
    }
    config.remove("rope_theta");
    config.remove("rope_scaling");
    let newer = |rotation: &HalfRotation| {
        let mut parameters = match rotation.scaling {
            None => json!({"rope_type": "default"}),
            Some(scaling) => scaled(&scaling, rotation, context)?,
        };
        parameters["rope_theta"] = rotation.base.into();
        Some(parameters)
    };
    let both = json!({"full_attention": newer(full)?, "sliding_attention": newer(sliding)?});
    config.insert("rope_parameters".into(), both);
    Some(config)
}

/// Returns the object that scales a rotation, or `None` if there is none for it.
fn scaled(scaling: &RotaryScaling, rotation: &HalfRotation, context: u32) -> Option<Value> {
    let factor = f64::from(scaling.factor) / f64::from(RotaryScaling::FACTOR_UNIT);
    let tokens =
        |wavelength: u32| f64::from(wavelength) / f64::from(RotaryScaling::WAVELENGTH_UNIT);
    Some(match scaling.ramp {
        ScalingRamp::All if scaling.amplitude == RotaryScaling::AMPLITUDE_UNIT => {
            json!({"rope_type": "linear", "factor": factor})
        }
        // The scaling of short and of long texts alike.
        ScalingRamp::All => {
            let factors = vec![factor; usize::from(rotation.dimensions / 2)];
            let unit = f64::from(RotaryScaling::AMPLITUDE_UNIT);
            json!({
                "rope_type": "longrope",
                "short_factor": factors,
                "long_factor": factors,
                "attention_factor": f64::from(scaling.amplitude) / unit,
                "original_max_position_embeddings": context,
            })
        }
        ScalingRamp::Wavelengths { short, long } => {
            let original = tokens(long).ceil().max(1.0);
            json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": original / tokens(long),
                "high_freq_factor": original / tokens(short),
                "original_max_position_embeddings": number(original),
            })
        }
        ScalingRamp::Pairs { .. } => {
            let yarn = yarn_of(scaling, rotation.dimensions, rotation.base, context)?;
            let mut object = json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": number(yarn.original),
            });
            if (yarn.beta_fast, yarn.beta_slow) != Yarn::USUAL_BETAS {
                object["beta_fast"] = yarn.beta_fast.into();
                object["beta_slow"] = yarn.beta_slow.into();
            }
            if !yarn.truncate {
                object["truncate"] = false.into();
            }
            if yarn.amplitude != Yarn::usual_amplitude(factor) {
                object["attention_factor"] = yarn.amplitude.into();
            }
            object
        }
    })
}
