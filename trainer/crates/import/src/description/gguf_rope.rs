// SPDX-License-Identifier: Apache-2.0

//! Scaled rotary positions in a GGUF file, as llama.cpp takes them.

use super::{
    UNSCALED_MODEL,
    gguf_fields::Fields,
    scaling::{self, Yarn},
};
use crate::{
    ImportError,
    files::{TensorTable, gguf::Value},
};
use pol_primitives::model::RotaryScaling;

/// Divisors of the rates, one for each pair of dimensions.
const DIVISORS: &str = "rope_freqs.weight";

/// Reads the scaling of a rotation of `dimensions` with this `base`.
pub(super) fn scaling(
    fields: &Fields,
    table: &TensorTable,
    dimensions: u16,
    base: u32,
) -> Result<Option<RotaryScaling>, ImportError> {
    let kind = match fields.get("rope.scaling.type") {
        // llama.cpp takes a factor without a type as linear.
        None => "linear",
        Some(Value::Text(kind)) => kind,
        Some(other) => {
            return Err(fields.refuse(format!("rope.scaling.type is {other:?}, not a text")));
        }
    };
    let factor = match fields.float("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => fields.float("rope.scale_linear")?,
    };
    // 0 stands for none, as in llama.cpp.
    let factor = factor.filter(|&factor| factor != 0.0 && factor != 1.0);
    let scaling = match (kind, factor) {
        ("none", _) | ("linear", None) => None,
        ("linear", Some(factor)) => Some(scaling::linear(factor)),
        ("yarn", Some(factor)) => Some(yarn(fields, factor, dimensions, base)?.scaling()),
        (other, _) => {
            let feature = format!("rope scaling of type '{other}'");
            return Err(fields.unsupported(feature, UNSCALED_MODEL));
        }
    };
    let scaling = match scaling {
        None => None,
        Some(None) => {
            return Err(fields.refuse(format!(
                "rope.scaling has numbers that scaling of type '{kind}' cannot have; factors are \
                 at least 1"
            )));
        }
        Some(scaling) => scaling,
    };
    let Some(entry) = table.entries().get(DIVISORS) else { return Ok(scaling) };
    let divisors = table
        .decode(entry)
        .map_err(|source| ImportError::File { path: fields.from.into(), source })?;
    if scaling.is_some() || divisors.len() != usize::from(dimensions / 2) {
        let reason = "does not fit the rotation that the metadata describe".to_owned();
        return Err(ImportError::Contradiction { name: DIVISORS.to_owned(), reason });
    }
    if divisors.iter().all(|&divisor| divisor == 1.0) {
        return Ok(None);
    }
    let unknown = || {
        let feature = format!("rope scaling by divisors other than LLaMA 3's ({DIVISORS})");
        fields.unsupported(feature, UNSCALED_MODEL)
    };
    scaling::from_divisors(&divisors, base).map(Some).ok_or_else(unknown)
}

fn yarn(fields: &Fields, factor: f64, dimensions: u16, base: u32) -> Result<Yarn, ImportError> {
    for key in ["rope.scaling.yarn_log_multiplier", "rope.scaling.yarn_ext_factor"] {
        if let Some(value) = fields.float(key)? {
            let feature = format!("{key} of {value}");
            return Err(fields.unsupported(feature, UNSCALED_MODEL));
        }
    }
    let original: u32 = match fields.integer("rope.scaling.original_context_length")? {
        Some(size) => fields.fit("rope.scaling.original_context_length", size)?,
        None => fields.size("context_length")?,
    };
    let or = |key: &str, usual: f64| Ok::<_, ImportError>(fields.float(key)?.unwrap_or(usual));
    Ok(Yarn {
        factor,
        amplitude: or("rope.scaling.attn_factor", 1.0)? * Yarn::usual_amplitude(factor),
        beta_fast: or("rope.scaling.yarn_beta_fast", 32.0)?,
        beta_slow: or("rope.scaling.yarn_beta_slow", 1.0)?,
        original: original.into(),
        truncate: true,
        dimensions,
        base,
    })
}
