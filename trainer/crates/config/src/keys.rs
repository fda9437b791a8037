// SPDX-License-Identifier: Apache-2.0

//! Names of keys: those that a type has, the nearest to an unknown one, and those that are refused.

use crate::Problem;
use serde::{
    Deserialize, Deserializer,
    de::{Visitor, value::Error},
    forward_to_deserialize_any,
};

/// Longest key for which a similar one is looked for, in bytes.
const MAX_KEY: usize = 64;

/// A key that is refused by name.
struct RefusedKey {
    section: &'static str,
    /// The key and its other spellings.
    names: &'static [&'static str],
    /// Reason, and what to use instead.
    instead: &'static str,
}

const REFUSED: [RefusedKey; 4] = [
    RefusedKey {
        section: "node",
        names: &[
            "private_key",
            "key",
            "secret_key",
            "secret",
            "seed",
            "mnemonic",
            "phrase",
            "password",
        ],
        instead: "secrets never stand in a configuration; name a key that `pol-trainer keys \
                  generate` made with node.account or node.key_file, or set the environment \
                  variable POL_KEY, and change a secret that others may have read here",
    },
    RefusedKey {
        section: "ai_training",
        names: &["epochs", "num_epochs", "max_steps"],
        instead: "nobody trains on a text twice: the chain leases each shard once, and the recipe \
                  fixes the steps of a lease; remove it",
    },
    RefusedKey {
        section: "blockchain",
        names: &["difficulty", "mining_difficulty"],
        instead: "there is no mining: blocks are produced in turn by authorities (BABE), and pay \
                  is for training that audits confirm; remove it. The effort of a trainer is \
                  node.tier",
    },
    RefusedKey {
        section: "blockchain",
        names: &["block_reward", "base_reward"],
        instead: "time emits, not blocks or rounds, and council decisions change it; remove it and \
                  see docs/economics.md",
    },
];

/// Returns the reason for which a key is refused by name, and what to use instead.
pub(crate) fn refusal(section: &str, key: &str) -> Option<&'static str> {
    let is_it = |refused: &&RefusedKey| refused.section == section && refused.names.contains(&key);
    REFUSED.iter().find(is_it).map(|refused| refused.instead)
}

/// Returns all keys that are refused by name, with their sections.
#[cfg(test)]
pub(crate) fn refused_keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    REFUSED.iter().flat_map(|refused| refused.names.iter().map(|name| (refused.section, *name)))
}

/// Returns the names of the fields of a struct, with all spellings that it accepts. A type that is
/// no struct has none.
pub fn field_names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // It fails always, since there is no value.
    let _ = T::deserialize(FieldNames(&mut names));
    names
}

/// Deserializer that has no value and takes down the fields that it is asked for.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("there is no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Returns the problem of a key that a section does not have, with the nearest key of `known`.
/// `section` is empty for keys beside the sections.
pub fn unknown_key(section: &str, key: &str, known: &[&str]) -> Problem {
    let path = |key: &str| match section {
        "" => key.to_owned(),
        section => format!("{section}.{key}"),
    };
    let nearest = nearest(key, known).map(path);
    let hint = match nearest {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("there are {}", known.join(", ")),
    };
    let shown: String = key.chars().take(MAX_KEY).collect();
    Problem::new(path(&shown), format!("there is no such key; {hint}"))
}

/// Returns the name that is most similar to `key` (Jaro), if one is similar at all. The bound is
/// clap's for options.
pub fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    if key.len() > MAX_KEY {
        return None;
    }
    let key = key.to_lowercase().replace('-', "_");
    let similar = known.iter().map(|name| (strsim::jaro(&key, name), *name));
    let similar = similar.filter(|(similarity, _)| *similarity > 0.7);
    similar.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataAcquisition, Node};

    #[test]
    fn fields_are_named_with_all_spellings() {
        let names = field_names::<Node>();
        for name in ["port", "boot_nodes", "bootnodes", "key_file"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        assert!(field_names::<DataAcquisition>().contains(&"huggingface_datasets"));
        assert!(field_names::<Vec<u8>>().is_empty());
    }

    #[test]
    fn the_nearest_key_is_named() {
        let known = ["port", "workers", "learning_rate"];
        for (key, nearest) in [
            ("prot", "node.port?"),
            ("Port", "node.port?"),
            ("worker", "node.workers?"),
            ("learningRate", "node.learning_rate?"),
            ("learning-rates", "node.learning_rate?"),
        ] {
            let problem = unknown_key("node", key, &known);
            assert_eq!(problem.key, format!("node.{key}"));
            assert!(problem.reason.ends_with(nearest), "{problem}");
        }
        let problem = unknown_key("", "zzz", &known);
        assert_eq!(
            problem.to_string(),
            "zzz: there is no such key; there are port, workers, learning_rate"
        );
        let long = unknown_key("", &"ä".repeat(1_000_000), &known);
        assert_eq!(long.key.chars().count(), MAX_KEY);
    }

    #[test]
    fn the_page_lists_all_keys() {
        let page = include_str!("../../../../docs/configuration.md");
        let refused = refused_keys().map(|(_, name)| name);
        let sections = ["node", "ai_training", "data_acquisition", "blockchain"];
        let fields = sections.iter().flat_map(|section| crate::config::section_fields(section));
        for key in fields.copied().chain(refused) {
            assert!(page.contains(&format!("`{key}`")), "{key} is not in docs/configuration.md");
        }
    }

    #[test]
    fn no_refused_key_is_a_field() {
        for (section, name) in refused_keys() {
            let fields = crate::config::section_fields(section);
            assert!(!fields.is_empty() && !fields.contains(&name), "{section}.{name}");
        }
    }
}
