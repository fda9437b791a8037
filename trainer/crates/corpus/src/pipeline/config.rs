// SPDX-License-Identifier: Apache-2.0

//! Configuration of a run.

use super::References;
use crate::{
    CorpusError, ReadOptions,
    dedup::{DedupConfig, RepeatConfig},
    filters::{CleanConfig, Cleaner, Preset},
};
use pol_primitives::{Hash, MILLION, Ppm};
use serde::{Deserialize, Serialize};

/// Version of the steps. A change by which some inputs give other documents raises it.
pub const VERSION: u32 = 7;

/// Configuration of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// Rules of cleaning.
    pub clean: CleanConfig,
    /// Least quality of a document, in millionths. Zero keeps all.
    pub min_quality: Ppm,
    /// Search for near duplicates.
    pub dedup: DedupConfig,
    /// Search for repeated passages. Without it they stay.
    pub repeats: Option<RepeatConfig>,
    /// Share of the text that is held out, in millionths.
    pub held_out: Ppm,
    /// Drop held-out documents that share a passage with text to train on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub clean_held_out: bool,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            clean: CleanConfig::of(Preset::None),
            min_quality: 0,
            dedup: DedupConfig::default(),
            repeats: None,
            held_out: 0,
            clean_held_out: false,
        }
    }
}

impl PipelineConfig {
    pub(super) fn validate(&self) -> Result<(), CorpusError> {
        if self.held_out >= MILLION {
            return Err(CorpusError::InvalidOption(
                "the held-out share must leave some text to train on".into(),
            ));
        }
        if self.min_quality > MILLION {
            return Err(CorpusError::InvalidOption(format!(
                "the least quality is {} millionths; choose at most {MILLION}",
                self.min_quality
            )));
        }
        Ok(())
    }

    /// Returns the digest of everything besides the inputs and the signature files that determines
    /// the result. Budgets of memory do not.
    pub(super) fn digest(
        &self,
        cleaner: &Cleaner,
        references: &References,
        options: &ReadOptions,
    ) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("pol-corpus 2026 pipeline");
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        let DedupConfig { seed, shingle, bands, rows, similarity, memory: _ } = self.dedup;
        add(&VERSION.to_le_bytes());
        add(env!("CARGO_PKG_VERSION").as_bytes());
        add(&cleaner.digest());
        add(&self.min_quality.to_le_bytes());
        add(&seed.to_le_bytes());
        [shingle, bands, rows, similarity].iter().for_each(|n| add(&n.to_le_bytes()));
        add(&self.repeats.as_ref().map_or(0, |repeats| repeats.bytes).to_le_bytes());
        add(&self.held_out.to_le_bytes());
        add(&references.digest());
        let tool = options.html.tool();
        add(tool.name.as_bytes());
        add(tool.version.as_bytes());
        options.text_fields.iter().for_each(|field| add(field.as_bytes()));
        if self.clean_held_out {
            // No field has a name of this length and a zero.
            add(b"clean held-out\0");
        }
        *hasher.finalize().as_bytes()
    }
}
