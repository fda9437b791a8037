// SPDX-License-Identifier: Apache-2.0

//! JSON without keys that mean nothing: a misspelt one would leave its default in force.

use anyhow::{Result, ensure};
use pol_config::{ConfigError, field_names, unknown_key};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Parses a value. Editors on Windows put a mark before the text, which means nothing.
///
/// # Errors
///
/// Fails if the JSON is none of a `T`, and with all keys in it that a `T` does not have.
pub(super) fn parse<T: DeserializeOwned + Serialize>(json: &[u8]) -> Result<T> {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    let is_wide = json.starts_with(&[0xff, 0xfe]) || json.starts_with(&[0xfe, 0xff]);
    ensure!(!is_wide, "the text is encoded as UTF-16; save it as UTF-8");
    let parsed: T = serde_json::from_slice(json)?;
    let (given, kept) = (serde_json::from_slice(json)?, serde_json::to_value(&parsed)?);
    let mut problems = Vec::new();
    compare(&given, &kept, "", field_names::<T>(), &mut problems);
    ensure!(problems.is_empty(), ConfigError::Problems(problems));
    Ok(parsed)
}

/// Adds the keys of `given` that are not in `kept`, or among those that may be missing there.
fn compare(
    given: &Value,
    kept: &Value,
    path: &str,
    optional: &[&str],
    problems: &mut Vec<pol_config::Problem>,
) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            let mut known: Vec<&str> = kept.keys().map(String::as_str).collect();
            known.extend(optional.iter().filter(|name| !kept.contains_key(**name)));
            for (key, value) in given {
                match kept.get(key) {
                    Some(kept) => {
                        let dot = if path.is_empty() { "" } else { "." };
                        compare(value, kept, &format!("{path}{dot}{key}"), &[], problems);
                    }
                    None if value.is_null() || optional.contains(&key.as_str()) => {}
                    None => problems.push(unknown_key(path, key, &known)),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            for ((given, kept), number) in given.iter().zip(kept).zip(0..) {
                compare(given, kept, &format!("{path}[{number}]"), &[], problems);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Preset;
    use pol_data::IngestRecord;
    use pol_primitives::{audit::AuditConfig, recipe::Recipe, round::RoundConfig};
    use serde_json::json;

    fn recipe() -> Recipe {
        let data = IngestRecord { vocabulary: 8_192, sequence: 128, ..Default::default() };
        Preset::Demo.sizes(&data).recipe([7; 32])
    }

    #[test]
    fn marks_of_encodings_are_understood() {
        let text = serde_json::to_string(&recipe()).unwrap();
        assert_eq!(parse::<Recipe>(format!("\u{feff}{text}").as_bytes()).unwrap(), recipe());
        let wide: Vec<u8> =
            "\u{feff}{}".encode_utf16().flat_map(|unit| unit.to_le_bytes()).collect();
        let error = parse::<Recipe>(&wide).unwrap_err().to_string();
        assert!(error.contains("save it as UTF-8"), "{error}");
    }

    #[test]
    fn what_is_printed_is_parsed() {
        for recipe in [Recipe { held_out: Some([1; 32]), ..recipe() }, recipe()] {
            let json = serde_json::to_vec(&recipe).unwrap();
            assert_eq!(parse::<Recipe>(&json).unwrap(), recipe);
        }
        let lengths = serde_json::to_vec(&RoundConfig::default()).unwrap();
        assert_eq!(parse::<RoundConfig>(&lengths).unwrap(), RoundConfig::default());
        let audits = serde_json::to_vec(&AuditConfig::default()).unwrap();
        assert_eq!(parse::<AuditConfig>(&audits).unwrap(), AuditConfig::default());
    }

    #[test]
    fn keys_that_mean_nothing_are_named_with_the_nearest() {
        let mut json = serde_json::to_value(recipe()).unwrap();
        json["pretrained"] = Value::Null;
        parse::<Recipe>(json.to_string().as_bytes()).unwrap();
        json["held_uot"] = json!("0x00");
        json["schedule"]["warmup_step"] = json!(3);
        json["tiers"][2]["cadense"] = json!(1);
        let error = parse::<Recipe>(json.to_string().as_bytes()).unwrap_err().to_string();
        for line in [
            "held_uot: there is no such key; did you mean held_out?",
            "schedule.warmup_step: there is no such key; did you mean schedule.",
            "tiers[2].cadense: there is no such key; did you mean tiers[2].cadence?",
        ] {
            assert!(error.contains(line), "{line}: {error}");
        }
        assert!(parse::<RoundConfig>(b"{}").is_err());
    }
}
