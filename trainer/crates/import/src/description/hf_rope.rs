// SPDX-License-Identifier: Apache-2.0

//! Rotary positions in a `config.json`.

use super::{
    UNSCALED_MODEL,
    hf_config::HfConfig,
    scaling::{self, LongRope, LongRopeError, MANY_FACTORS, Yarn},
    whole_base,
};
use crate::ImportError;
use pol_primitives::model::RotaryScaling;
use serde_json::{Map, Value};

/// Rotation of a model's heads.
pub(super) struct Rope {
    pub(super) base: u32,
    /// Number of dimensions of a head that are rotated.
    pub(super) dimensions: u16,
    pub(super) scaling: Option<RotaryScaling>,
    /// Longest text that is rotated so, if longer ones are not.
    longest: Option<u32>,
}

/// Usual values of a family, where its config has none, and the names it has for them.
#[derive(Clone, Copy)]
pub(super) struct RopeDefaults {
    /// Share of a head that is rotated; `None` for a family that rotates whole heads only.
    pub(super) rotated: Option<f64>,
    pub(super) base: f64,
    /// Key of the base outside the object.
    pub(super) base_key: &'static str,
    /// Key of the share outside the object.
    pub(super) share_key: &'static str,
    /// Kind of blocks, in a family whose blocks have rotations of their own.
    pub(super) blocks: Option<Blocks>,
    /// Context of the first training, in a family that does not look for it in the object.
    pub(super) original_context: Option<u32>,
}

/// Kinds of blocks with rotations of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocks {
    Full,
    Sliding,
}

impl RopeDefaults {
    /// Values of most families.
    pub(super) const USUAL: Self = Self {
        rotated: None,
        base: 10_000.0,
        base_key: "rope_theta",
        share_key: "partial_rotary_factor",
        blocks: None,
        original_context: None,
    };
}

impl Rope {
    /// Reads the rotation of heads of `head_size`. Newer configs have it in `rope_parameters`,
    /// older ones in `rope_theta`, `partial_rotary_factor`, and `rope_scaling`.
    pub(super) fn new(
        config: &HfConfig,
        defaults: &RopeDefaults,
        head_size: u16,
    ) -> Result<Self, ImportError> {
        let newer = object(config.map, "rope_parameters", config)?;
        let newer = match (newer, defaults.blocks) {
            (Some(newer), Some(Blocks::Full)) => object(newer, "full_attention", config)?,
            (Some(newer), Some(Blocks::Sliding)) => object(newer, "sliding_attention", config)?,
            (newer, _) => newer,
        };
        // An older config scales the rotation of full attention only.
        let older = match defaults.blocks {
            Some(Blocks::Sliding) => None,
            _ => object(config.map, "rope_scaling", config)?,
        };
        let found = match older {
            Some(parameters) => Some(("rope_scaling", parameters)),
            None => newer.map(|parameters| ("rope_parameters", parameters)),
        };
        // The reference takes the older object whole, and from the newer what it lacks.
        let own = |name: &str, outside: &str| {
            let of = |map: Option<&Map<String, Value>>, name| present(map?.get(name)).cloned();
            let inside = [found.map(|(_, parameters)| parameters), newer];
            let inside = inside.into_iter().find_map(|parameters| of(parameters, name));
            inside.or_else(|| of(Some(config.map), outside))
        };
        let theta = own("rope_theta", defaults.base_key);
        let base = theta.as_ref().map_or(Some(defaults.base), Value::as_f64);
        let base = base.and_then(whole_base).ok_or_else(|| {
            let found = theta.map_or_else(|| "missing".to_owned(), |theta| theta.to_string());
            config.refuse(format!("rope_theta is {found}, not a whole number of at least 2"))
        })?;
        let share = own("partial_rotary_factor", defaults.share_key);
        let factor = share.as_ref().map_or(defaults.rotated.or(Some(1.0)), Value::as_f64);
        let factor = factor.filter(|factor| *factor > 0.0 && *factor <= 1.0).ok_or_else(|| {
            let found = share.map_or_else(|| "missing".to_owned(), |share| share.to_string());
            config.refuse(format!("partial_rotary_factor is {found}, not a share of a head"))
        })?;
        if defaults.rotated.is_none() && factor != 1.0 {
            return Err(config.unsupported(
                "rotation of a part of each head (partial_rotary_factor)".into(),
                "take another model",
            ));
        }
        // Rounded down, as the reference does.
        let dimensions = (f64::from(head_size) * factor) as u16;
        let (scaling, longest) = match found {
            Some((key, parameters)) => {
                let usual_original = defaults.original_context;
                Scaling { config, key, parameters, dimensions, base, usual_original }.read()?
            }
            None => (None, None),
        };
        Ok(Self { base, dimensions, scaling, longest })
    }

    /// Returns the part of `context` within which texts are rotated so.
    pub(super) fn context_within(&self, context: u32) -> u32 {
        self.longest.map_or(context, |longest| longest.min(context))
    }
}

/// Returns the object under `key` of `map`; `None` for an empty one too.
fn object<'a>(
    map: &'a Map<String, Value>,
    key: &str,
    config: &HfConfig,
) -> Result<Option<&'a Map<String, Value>>, ImportError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(parameters)) => Ok(Some(parameters).filter(|map| !map.is_empty())),
        Some(other) => Err(config.refuse(format!("{key} is {other}, not an object"))),
    }
}

fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

/// An object that scales the rotation.
struct Scaling<'a> {
    config: &'a HfConfig<'a>,
    key: &'static str,
    parameters: &'a Map<String, Value>,
    dimensions: u16,
    base: u32,
    /// Context of the first training, where the config does not say it outside the object.
    usual_original: Option<u32>,
}

impl Scaling<'_> {
    /// Returns the scaling, and the longest text that has it if longer ones have another.
    fn read(&self) -> Result<(Option<RotaryScaling>, Option<u32>), ImportError> {
        let Self { config, key, .. } = self;
        let kind = self.kind()?;
        let scaling = match kind {
            "default" => return Ok((None, None)),
            // Within the context, which no text here exceeds, it changes nothing.
            "dynamic" => return Ok((None, None)),
            "longrope" => return self.long_rope(),
            "linear" => scaling::linear(self.number("factor")?, 1.0),
            "llama3" => {
                let original = self.original()?;
                let wavelength = |name: &str| Ok::<_, ImportError>(original / self.number(name)?);
                scaling::between_wavelengths(
                    self.number("factor")?,
                    wavelength("high_freq_factor")?,
                    wavelength("low_freq_factor")?,
                )
            }
            "yarn" => self.yarn()?.scaling(),
            other => {
                return Err(config.unsupported(
                    format!("rope scaling of type '{other}' ({key})"),
                    UNSCALED_MODEL,
                ));
            }
        };
        Ok((Some(scaling.ok_or_else(|| self.out_of_range(kind))?), None))
    }

    fn out_of_range(&self, kind: &str) -> ImportError {
        self.config.refuse(format!(
            "{} has numbers that rope scaling of type '{kind}' cannot have; factors are at least 1",
            self.key
        ))
    }

    /// Reads a scaling with factors for short and for long texts.
    fn long_rope(&self) -> Result<(Option<RotaryScaling>, Option<u32>), ImportError> {
        let Self { config, key, .. } = self;
        let (original, context) = (self.original()?, self.context()?);
        let factor = match self.optional("factor")? {
            Some(factor) => factor,
            None => f64::from(context) / original,
        };
        let amplitude = match self.optional("attention_factor")? {
            Some(amplitude) => amplitude,
            None => LongRope::usual_amplitude(factor, original),
        };
        let (short, long) = (self.factors("short_factor")?, self.factors("long_factor")?);
        let long_rope =
            LongRope { short: &short, long: &long, original: original as u32, amplitude };
        match long_rope.scaling() {
            Ok(scaling) => Ok((scaling, long_rope.longest())),
            Err(LongRopeError::ManyFactors) => {
                Err(config.unsupported(format!("{MANY_FACTORS} ({key})"), UNSCALED_MODEL))
            }
            Err(LongRopeError::OutOfRange) => Err(self.out_of_range("longrope")),
        }
    }

    /// Returns the factor of each rotated pair.
    fn factors(&self, name: &str) -> Result<Vec<f32>, ImportError> {
        let pairs = usize::from(self.dimensions / 2);
        let listed = present(self.parameters.get(name)).and_then(Value::as_array);
        let listed = listed.filter(|listed| listed.len() == pairs);
        let factor = |factor: &Value| factor.as_f64().map(|factor| factor as f32);
        listed.and_then(|listed| listed.iter().map(factor).collect()).ok_or_else(|| {
            self.config.refuse(format!(
                "{}.{name} does not list a number for each of the {pairs} rotated pairs of a head",
                self.key
            ))
        })
    }

    fn yarn(&self) -> Result<Yarn, ImportError> {
        let original = self.original()?;
        let factor = match self.optional("factor")? {
            Some(factor) => factor,
            None => f64::from(self.context()?) / original,
        };
        let ratio = |scale: f64| if factor > 1.0 { 0.1 * scale * factor.ln() + 1.0 } else { 1.0 };
        let scales = (self.optional("mscale")?, self.optional("mscale_all_dim")?);
        let amplitude = match (self.optional("attention_factor")?, scales) {
            (Some(amplitude), _) => amplitude,
            (None, (Some(one), Some(all))) if one != 0.0 && all != 0.0 => ratio(one) / ratio(all),
            _ => Yarn::usual_amplitude(factor),
        };
        let truncate = match present(self.parameters.get("truncate")) {
            None => true,
            Some(value) => value.as_bool().ok_or_else(|| {
                self.config.refuse(format!("truncate is {value}, neither true nor false"))
            })?,
        };
        Ok(Yarn {
            factor,
            amplitude,
            beta_fast: self.optional("beta_fast")?.unwrap_or(32.0),
            beta_slow: self.optional("beta_slow")?.unwrap_or(1.0),
            original,
            truncate,
            dimensions: self.dimensions,
            base: self.base,
        })
    }

    /// Returns the type of the scaling. Either name may be there with a null, beside the other.
    fn kind(&self) -> Result<&str, ImportError> {
        let Self { config, key, parameters, .. } = self;
        let named = ["rope_type", "type"].into_iter().find_map(|key| present(parameters.get(key)));
        match named {
            // Names that Phi-3 has had for one thing.
            Some(Value::String(kind))
                if kind == "su" || (kind == "yarn" && parameters.contains_key("short_factor")) =>
            {
                Ok("longrope")
            }
            Some(Value::String(kind)) => Ok(kind),
            Some(other) => Err(config.refuse(format!("{key} has the type {other}, not a string"))),
            None if present(parameters.get("factor")).is_some() => Err(config.unsupported(
                format!("rope scaling by a factor without a type ({key})"),
                UNSCALED_MODEL,
            )),
            None => Ok("default"),
        }
    }

    /// Returns the context of the first training.
    fn original(&self) -> Result<f64, ImportError> {
        let name = "original_max_position_embeddings";
        // Some families say it outside the object.
        if !self.config.is_missing(name) {
            return Ok(self.config.size(name, None)?.into());
        }
        if let Some(usual) = self.usual_original {
            return Ok(usual.into());
        }
        match self.optional(name)? {
            Some(original) if original >= 1.0 => Ok(original),
            Some(original) => Err(self.config.refuse(format!("{name} is {original}, not a size"))),
            None => Ok(self.context()?.into()),
        }
    }

    fn context(&self) -> Result<u32, ImportError> {
        self.config.size("max_position_embeddings", None)
    }

    fn number(&self, name: &str) -> Result<f64, ImportError> {
        let missing =
            || self.config.refuse(format!("{} does not say {name}, which scaling needs", self.key));
        self.optional(name)?.ok_or_else(missing)
    }

    fn optional(&self, name: &str) -> Result<Option<f64>, ImportError> {
        let number = |value: &Value| {
            value
                .as_f64()
                .ok_or_else(|| self.config.refuse(format!("{name} is {value}, not a number")))
        };
        present(self.parameters.get(name)).map(number).transpose()
    }
}
