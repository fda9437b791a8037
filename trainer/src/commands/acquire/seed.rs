// SPDX-License-Identifier: Apache-2.0

//! Section `data_acquisition` of a network's JSON configuration.

use super::{
    config::{Config, Kind, SourceConfig},
    suppliers::{HubConfig, SynthesisConfig, known_dataset},
};
use anyhow::{Context, Result, ensure};
use pol_primitives::Hash;
use pol_sources::hub;
use pol_synthesis::Recipe;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Name of the section.
const SECTION: &str = "data_acquisition";
/// Documents of the synthetic source, unless its budget is less.
const SYNTHETIC_DOCUMENTS: u32 = 100_000;
/// Seed of the synthetic source.
const SYNTHETIC_SEED: Hash = [0; 32];

/// Switches of the section, beside the fields that TOML has.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Switches {
    /// Read sources of the web. If it is false, those that are named are left out.
    enable_web_scraping: Option<bool>,
    /// Data sets, by their names in the catalogue or on the hub.
    huggingface_datasets: Vec<String>,
    /// Draw text from an imported model. If it is false, sources that would are left out.
    pretrained_extraction: Option<bool>,
    /// Folder of that model.
    pretrained_model: Option<PathBuf>,
    /// Make tasks with proofs. If it is false, synthetic sources that are named are left out.
    synthetic_generation: Option<bool>,
}

impl Switches {
    const NAMES: [&str; 5] = [
        "enable_web_scraping",
        "huggingface_datasets",
        "pretrained_extraction",
        "pretrained_model",
        "synthetic_generation",
    ];

    /// Takes the switches out of the section.
    fn take(section: &mut Map<String, Value>) -> Result<Self> {
        let switches: Map<_, _> =
            Self::NAMES.iter().filter_map(|name| section.remove_entry(*name)).collect();
        serde_json::from_value(switches.into()).context(SECTION)
    }

    /// Adds the sources that the switches ask for.
    fn apply(self, config: &mut Config) -> Result<()> {
        let sources = &mut config.sources;
        for name in self.huggingface_datasets {
            sources.push(dataset(&name)?);
        }
        let follows_recipe =
            |source: &SourceConfig, kind| source.kind == kind && source.synthesis.is_some();
        let draws = |source: &SourceConfig| follows_recipe(source, Kind::Pretrained);
        match self.pretrained_extraction {
            Some(true) if !sources.iter().any(draws) => {
                let model = self.pretrained_model.with_context(|| {
                    format!(
                        "{SECTION}.pretrained_extraction: no model to draw text from; add to \
                         {SECTION} \"pretrained_model\": \"DIR\" with a folder that `pol-trainer \
                         model import` made"
                    )
                })?;
                let mut drawn = SourceConfig::new("drawn".into(), Kind::Pretrained);
                drawn.synthesis =
                    Some(SynthesisConfig { model: Some(model), ..SynthesisConfig::default() });
                sources.push(drawn);
            }
            Some(false) => sources.retain(|source| !draws(source)),
            Some(true) | None => {}
        }
        match self.enable_web_scraping {
            Some(true) => ensure!(
                sources.iter().any(|source| source.kind == Kind::Web),
                "{SECTION}.enable_web_scraping: no page to begin at; add to {SECTION}.source one \
                 of kind \"web\", such as {{\"name\": \"pages\", \"kind\": \"web\", \"crawl\": \
                 {{\"seeds\": [\"https://example.org/\"]}}}}"
            ),
            Some(false) => sources.retain(|source| source.kind != Kind::Web),
            None => {}
        }
        match self.synthetic_generation {
            Some(true) if !sources.iter().any(|it| follows_recipe(it, Kind::Synthetic)) => {
                let recipe = Recipe::all_tasks(SYNTHETIC_SEED, SYNTHETIC_DOCUMENTS);
                let mut tasks = SourceConfig::new("tasks".into(), Kind::Synthetic);
                tasks.synthesis =
                    Some(SynthesisConfig { recipe: Some(recipe), ..SynthesisConfig::default() });
                sources.push(tasks);
            }
            Some(false) => sources.retain(|source| source.kind != Kind::Synthetic),
            Some(true) | None => {}
        }
        Ok(())
    }
}

/// Parses a JSON configuration. Other sections than `data_acquisition` are left alone.
pub(super) fn parse(text: &str) -> Result<Config> {
    let mut file: Map<String, Value> =
        serde_json::from_str(text).context("this is no JSON object")?;
    let section = file.remove(SECTION);
    let section = section.with_context(|| format!("it has no section {SECTION}; add one"))?;
    let Value::Object(mut section) = section else {
        anyhow::bail!("{SECTION} is no object; write {{\"out\": …, \"tokenizer\": …, …}}")
    };
    let switches = Switches::take(&mut section)?;
    let mut config: Config = serde_json::from_value(section.into()).context(SECTION)?;
    switches.apply(&mut config)?;
    Ok(config)
}

/// Returns the source of a data set: one of the catalogue, or one on the hub.
fn dataset(name: &str) -> Result<SourceConfig> {
    let (hub, kind) = if name.contains('/') {
        (HubConfig::of_id(name.to_owned()), Kind::Dataset)
    } else {
        let context = || format!("{SECTION}.huggingface_datasets");
        let kind = match known_dataset(name).with_context(context)?.kind {
            hub::Kind::Dataset => Kind::Dataset,
            hub::Kind::Synthetic => Kind::Synthetic,
        };
        (HubConfig::known(name.to_owned()), kind)
    };
    let mut source = SourceConfig::new(name.replace(['/', '@'], "-"), kind);
    source.hub = Some(hub);
    Ok(source)
}
