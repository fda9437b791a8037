// SPDX-License-Identifier: Apache-2.0

//! Scaled rotary positions in a GGUF file, as llama.cpp takes them.

use super::{
    UNSCALED_MODEL,
    gguf_fields::Fields,
    scaling::{self, LongRope, LongRopeError, MANY_FACTORS, Yarn},
};
use crate::{
    ImportError,
    files::{TensorTable, gguf::Value},
};
use pol_primitives::model::RotaryScaling;

/// Divisors of the rates, one for each pair of dimensions.
const DIVISORS: &str = "rope_freqs.weight";
/// Divisors in texts as long as those of the first training.
const SHORT: &str = "rope_factors_short.weight";
/// Divisors in longer texts.
const LONG: &str = "rope_factors_long.weight";

/// Scaling of a rotation, and the texts that have it.
pub(super) struct Rotation {
    pub(super) scaling: Option<RotaryScaling>,
    /// Most tokens of a text that is rotated so.
    pub(super) context: u32,
}

/// Reads the scaling of a rotation of `dimensions` with this `base` in a model of this `context`.
pub(super) fn read(
    fields: &Fields,
    table: &TensorTable,
    dimensions: u16,
    base: u32,
    context: u32,
) -> Result<Rotation, ImportError> {
    let divisors = |name: &str| divisors(fields, table, dimensions, name);
    let (short, long, same) = (divisors(SHORT)?, divisors(LONG)?, divisors(DIVISORS)?);
    // llama.cpp would divide by these and by the factor.
    let is_alone = same.is_none() && kind(fields)? != "yarn" && factor(fields)?.is_none();
    match (short, long) {
        (None, None) => {
            let scaling = scaling(fields, same.as_deref(), dimensions, base)?;
            Ok(Rotation { scaling, context })
        }
        (Some(short), Some(long)) if is_alone => long_rope(fields, &short, &long, context),
        (short, _) => Err(contradiction(if short.is_some() { SHORT } else { LONG })),
    }
}

/// Returns the type of the scaling.
fn kind<'a>(fields: &'a Fields) -> Result<&'a str, ImportError> {
    match fields.get("rope.scaling.type") {
        // llama.cpp takes a factor without a type as linear.
        None => Ok("linear"),
        Some(Value::Text(kind)) => Ok(kind),
        Some(other) => Err(fields.refuse(format!("rope.scaling.type is {other:?}, not a text"))),
    }
}

/// Returns the divisor of all rates, if there is one.
fn factor(fields: &Fields) -> Result<Option<f64>, ImportError> {
    let factor = match fields.float("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => fields.float("rope.scale_linear")?,
    };
    // 0 stands for none, as in llama.cpp.
    Ok(factor.filter(|&factor| factor != 0.0 && factor != 1.0))
}

/// Returns the factor of queries and keys beside that of YaRN, which llama.cpp applies whatever
/// the type of the scaling is.
fn amplitude(fields: &Fields) -> Result<f64, ImportError> {
    Ok(fields.float("rope.scaling.attn_factor")?.unwrap_or(1.0))
}

/// Returns the divisors in the tensor `name`, if it is there.
fn divisors(
    fields: &Fields,
    table: &TensorTable,
    dimensions: u16,
    name: &str,
) -> Result<Option<Vec<f32>>, ImportError> {
    let Some(entry) = table.entries().get(name) else { return Ok(None) };
    let divisors = table
        .decode(entry)
        .map_err(|source| ImportError::File { path: fields.from.into(), source })?;
    let is_divisor = |divisor: &f32| divisor.is_finite() && *divisor > 0.0;
    if divisors.len() != usize::from(dimensions / 2) || !divisors.iter().all(is_divisor) {
        return Err(contradiction(name));
    }
    Ok(Some(divisors))
}

fn contradiction(name: &str) -> ImportError {
    let reason = "does not fit the rotation that the metadata describe".to_owned();
    ImportError::Contradiction { name: name.to_owned(), reason }
}

/// Returns the scaling of a rotation that is the same for all texts, with `divisors` of its rates
/// where the file has them.
fn scaling(
    fields: &Fields,
    divisors: Option<&[f32]>,
    dimensions: u16,
    base: u32,
) -> Result<Option<RotaryScaling>, ImportError> {
    let (kind, amplitude) = (kind(fields)?, amplitude(fields)?);
    let scaling = match (kind, factor(fields)?) {
        ("none", _) | ("linear", None) if amplitude == 1.0 => None,
        ("none", _) | ("linear", None) => Some(scaling::linear(1.0, amplitude)),
        ("linear", Some(factor)) => Some(scaling::linear(factor, amplitude)),
        ("yarn", Some(factor)) => {
            Some(yarn(fields, factor, amplitude, dimensions, base)?.scaling())
        }
        (other, _) => {
            let feature = format!("rope scaling of type '{other}'");
            return Err(fields.unsupported(feature, UNSCALED_MODEL));
        }
    };
    let scaling =
        scaling.map(|scaling| scaling.ok_or_else(|| out_of_range(fields, kind))).transpose()?;
    let Some(divisors) = divisors else { return Ok(scaling) };
    if scaling.is_some() {
        return Err(contradiction(DIVISORS));
    }
    if divisors.iter().all(|&divisor| divisor == 1.0) {
        return Ok(None);
    }
    let unknown = || {
        let feature = format!("rope scaling by divisors other than LLaMA 3's ({DIVISORS})");
        fields.unsupported(feature, UNSCALED_MODEL)
    };
    scaling::from_divisors(divisors, base).map(Some).ok_or_else(unknown)
}

/// Returns the scaling of texts that are as long as those of the first training. llama.cpp chooses
/// by the context that it is started with, and transformers by the text.
fn long_rope(
    fields: &Fields,
    short: &[f32],
    long: &[f32],
    context: u32,
) -> Result<Rotation, ImportError> {
    let key = "rope.scaling.original_context_length";
    let original: u32 = match fields.integer(key)? {
        Some(size) => fields.fit(key, size)?,
        None => context,
    };
    let stated = amplitude(fields)?;
    // The file has it in single precision.
    let usual =
        LongRope::usual_amplitude(f64::from(context) / f64::from(original), original.into());
    let amplitude = if stated as f32 == usual as f32 { usual } else { stated };
    let long_rope = LongRope { short, long, original, amplitude };
    match long_rope.scaling() {
        Ok(scaling) => {
            let longest = long_rope.longest().unwrap_or(context);
            Ok(Rotation { scaling, context: context.min(longest) })
        }
        Err(LongRopeError::ManyFactors) => {
            Err(fields.unsupported(format!("{MANY_FACTORS} ({SHORT})"), UNSCALED_MODEL))
        }
        Err(LongRopeError::OutOfRange) => Err(out_of_range(fields, "longrope")),
    }
}

fn out_of_range(fields: &Fields, kind: &str) -> ImportError {
    fields.refuse(format!(
        "rope.scaling has numbers that scaling of type '{kind}' cannot have; factors are at \
         least 1"
    ))
}

fn yarn(
    fields: &Fields,
    factor: f64,
    amplitude: f64,
    dimensions: u16,
    base: u32,
) -> Result<Yarn, ImportError> {
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
        amplitude: amplitude * Yarn::usual_amplitude(factor),
        beta_fast: or("rope.scaling.yarn_beta_fast", 32.0)?,
        beta_slow: or("rope.scaling.yarn_beta_slow", 1.0)?,
        original: original.into(),
        truncate: true,
        dimensions,
        base,
    })
}
