// SPDX-License-Identifier: Apache-2.0

//! Section `data_acquisition` of a member's configuration.

use super::{
    config::{Config, Kind, SourceConfig, keys},
    suppliers::{HubConfig, SynthesisConfig, known_dataset},
};
use anyhow::{Context, Result, ensure};
use pol_config::{DataAcquisition, field_names};
use pol_primitives::Hash;
use pol_sources::hub;
use pol_synthesis::Recipe;
use serde_json::{Map, Value};

/// Name of the section.
pub(super) const SECTION: &str = "data_acquisition";
/// Documents of the synthetic source, unless its budget is less.
const SYNTHETIC_DOCUMENTS: u32 = 100_000;
/// Seed of the synthetic source.
const SYNTHETIC_SEED: Hash = [0; 32];

/// Adds the sources that the switches ask for.
fn apply(switches: DataAcquisition, config: &mut Config) -> Result<()> {
    let sources = &mut config.sources;
    for name in switches.huggingface_datasets {
        sources.push(dataset(&name)?);
    }
    let follows_recipe =
        |source: &SourceConfig, kind| source.kind == kind && source.synthesis.is_some();
    let draws = |source: &SourceConfig| follows_recipe(source, Kind::Pretrained);
    match switches.pretrained_extraction {
        Some(true) if !sources.iter().any(draws) => {
            let model = switches.pretrained_model.with_context(|| {
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
    match switches.enable_web_scraping {
        Some(true) => ensure!(
            sources.iter().any(|source| source.kind == Kind::Web),
            "{SECTION}.enable_web_scraping: no page to begin at; add to {SECTION}.source one \
             of kind \"web\", such as {{\"name\": \"pages\", \"kind\": \"web\", \"crawl\": \
             {{\"seeds\": [\"https://example.org/\"]}}}}"
        ),
        Some(false) => sources.retain(|source| source.kind != Kind::Web),
        None => {}
    }
    match switches.synthetic_generation {
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

/// Parses a member's configuration. Of its other sections only the nodes are used.
pub(super) fn parse(text: &str) -> Result<Config> {
    let file = pol_config::Config::parse(text)?;
    let section = file.acquisition();
    let section = section.with_context(|| format!("it has no section {SECTION}; add one"))?;
    let (mut config, switches) = parse_section(section)?;
    apply(switches, &mut config)?;
    if let Some(provider) = &mut config.provider
        && provider.node.is_empty()
    {
        let nodes = file.node.boot_nodes.unwrap_or_default();
        provider.node = nodes.into_iter().map(String::from).collect();
    }
    Ok(config)
}

/// Parses the section into the fields that a configuration of the command alone has too, and the
/// switches.
pub(super) fn parse_section(mut section: Map<String, Value>) -> Result<(Config, DataAcquisition)> {
    let (fields, switches) = (field_names::<Config>(), field_names::<DataAcquisition>());
    let switches: Vec<_> = switches.iter().copied().filter(|name| !fields.contains(name)).collect();
    keys::check(&section, SECTION, &switches)?;
    let switches: Map<_, _> =
        switches.into_iter().filter_map(|name| section.remove_entry(name)).collect();
    let switches = serde_json::from_value(switches.into()).context(SECTION)?;
    Ok((keys::parse(section, SECTION)?, switches))
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
