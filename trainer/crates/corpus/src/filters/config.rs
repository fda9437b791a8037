// SPDX-License-Identifier: Apache-2.0

//! Configuration of cleaning.

use std::collections::BTreeMap;

use pol_primitives::Hash;
use serde::{Deserialize, Serialize};

use super::{catalogue, rule::Limits};
use crate::CorpusError;

/// Version of the rules. A change by which some text is cleaned or judged otherwise raises it, be
/// it of a rule, of `whatlang`, or of a table of Unicode.
pub const RULES_VERSION: u32 = 1;

/// Kind of text, and the rules that fit it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Pages of the web: all rules, but lines need no terminal punctuation.
    #[default]
    Web,
    /// Books and other edited text: characters, keys and addresses, language, and the shapes of
    /// words. Verse, plays, and tables of contents repeat lines, and their lines are short.
    Books,
    /// Source code: characters, keys and addresses, and the shapes of lines.
    Code,
    /// Conversations: characters, all personal data, language, and the shares of letters and hash
    /// signs. Turns are short and repeat each other.
    Dialogue,
    /// Any text, as it is.
    None,
}

impl Preset {
    /// Returns `true` if its rules tell languages.
    #[must_use]
    pub fn tells_languages(self) -> bool {
        !matches!(self, Self::Code | Self::None)
    }
}

/// Setting of a rule that differs from the preset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Switch of the rule, in place of the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// Smallest measure that passes: a count, or a share in millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    /// Largest measure that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// Configuration of a [`Cleaner`](super::Cleaner).
///
/// ```
/// let config: pol_corpus::filters::CleanConfig = serde_json::from_str(
///     r#"{
///         "preset": "web",
///         "languages": ["eng", "deu"],
///         "rules": { "gopher.words": { "min": 20 }, "scrub.phone": { "on": false } }
///     }"#,
/// )?;
/// assert!(pol_corpus::filters::Cleaner::new(&config).is_ok());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanConfig {
    /// Rules to begin with.
    #[serde(default)]
    pub preset: Preset,
    /// Languages that pass, as ISO 639-3 codes. All, if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// Domains whose e-mail addresses stay, beside those for examples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_domains: Vec<String>,
    /// Settings that differ from the preset, by the names of their rules.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, Setting>,
}

/// Rule with the limits in force.
pub(super) struct Active {
    pub(super) entry: &'static catalogue::Entry,
    pub(super) limits: Limits,
}

impl CleanConfig {
    /// Creates the configuration of a preset.
    #[must_use]
    pub fn of(preset: Preset) -> Self {
        Self { preset, ..Self::default() }
    }

    /// Returns the rules in force, in their order.
    pub(super) fn active(&self) -> Result<Vec<Active>, CorpusError> {
        let invalid = |text: String| Err(CorpusError::InvalidOption(text));
        if let Some(name) =
            (self.rules.keys()).find(|&name| catalogue::entries().all(|entry| entry.name != name))
        {
            let names: Vec<_> = catalogue::entries().map(|entry| entry.name).collect();
            return invalid(format!("rules: there is no `{name}`, but {}", names.join(", ")));
        }
        let mut active = Vec::new();
        for entry in catalogue::entries() {
            let setting = self.rules.get(entry.name).copied().unwrap_or_default();
            let limits = Limits {
                min: setting.min.unwrap_or(entry.limits.min),
                max: setting.max.unwrap_or(entry.limits.max),
            };
            if limits.min > limits.max {
                return invalid(format!(
                    "rules: the min of `{}`, {}, is above its max, {}; nothing would pass",
                    entry.name, limits.min, limits.max
                ));
            }
            if setting.on.unwrap_or_else(|| entry.presets.contains(&self.preset)) {
                active.push(Active { entry, limits });
            }
        }
        if let Some(domain) = self.kept_domains.iter().find(|it| it.is_empty() || it.contains('@'))
        {
            return invalid(format!(
                "kept_domains: `{domain}` is no domain; write one such as `kernel.org`"
            ));
        }
        Ok(active)
    }
}

/// Returns a hash of everything that decides about a text.
pub(super) fn digest(config: &CleanConfig, active: &[Active]) -> Hash {
    let mut lines = vec![format!("pol-corpus rules {RULES_VERSION}")];
    lines.extend(active.iter().map(|Active { entry, limits }| {
        format!("rule {} {} {}", entry.name, limits.min, limits.max)
    }));
    let sorted = |word: &str, items: &[String]| {
        let mut items: Vec<_> = items.iter().map(|item| format!("{word} {item:?}")).collect();
        items.sort_unstable();
        items.dedup();
        items
    };
    lines.extend(sorted("language", &config.languages));
    lines.extend(sorted("domain", &config.kept_domains));
    *blake3::hash(lines.join("\n").as_bytes()).as_bytes()
}
