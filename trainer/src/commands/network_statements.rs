// SPDX-License-Identifier: Apache-2.0

//! Statements of a configuration about the network, compared with the chain.

use anyhow::{Result, bail};
use pol_chain::{Chain, Rules};
use pol_config::{Config, ConfigError, ConfigFile, ModelType, Problem};
use pol_import::describe;
use pol_primitives::{
    MILLION, POL,
    member::Role,
    model::{ModelSpec, PositionEncoding},
    recipe::{BILLION, Recipe, Tier},
};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Largest difference of numbers that are the same: half a step of a learning rate.
const TOLERANCE: f64 = 0.5e-9;

/// Statements whose value depends on the tier.
const TIERED: [&str; 1] = ["ai_training.batch_size"];

/// Compares a configuration with the chain, before the account is bonded. Sizes of batches are
/// those of `tier`. Returns `false` if the chain has no recipe, and `ai_training` is not compared.
pub(super) async fn compare(
    file: &ConfigFile,
    chain: &Chain,
    recipe: Option<&Recipe>,
    role: Role,
    tier: Option<Tier>,
) -> Result<bool> {
    let mut network = blockchain(role, &chain.rules().await?);
    match recipe {
        Some(recipe) => network.append(&mut training(recipe, tier)),
        None => tracing::warn!(
            "the chain has no recipe yet, so ai_training of {} is not compared with it",
            file.path.display()
        ),
    }
    let mut problems = differences(&file.config, &network);
    if let (Some(recipe), Some(folder)) = (recipe, &file.config.ai_training.pretrained_base_model) {
        problems.extend(other_model(recipe, folder)?);
    }
    if problems.is_empty() {
        return Ok(recipe.is_some());
    }
    let source = Box::new(ConfigError::Problems(problems));
    bail!(ConfigError::At { path: file.path.clone(), source })
}

/// Returns the problem of an imported model from which the network did not start.
fn other_model(recipe: &Recipe, folder: &Path) -> Result<Option<Problem>> {
    let root = describe(folder)?.1.root;
    let network = match recipe.pretrained {
        Some(pretrained) if pretrained == root => return Ok(None),
        Some(pretrained) => format!("the model 0x{}", hex::encode(pretrained)),
        None => "random parameters".to_owned(),
    };
    let reason = format!(
        "{} holds the model 0x{}, and the network started from {network}; remove the key",
        folder.display(),
        hex::encode(root)
    );
    Ok(Some(Problem::new("ai_training.pretrained_base_model", reason)))
}

/// Returns the statements that differ from the network. Those that it has no value for are left
/// out.
fn differences(config: &Config, network: &Map<String, Value>) -> Vec<Problem> {
    let differ = |(key, stated): (String, Value)| {
        let actual = network.get(&key).filter(|actual| !agree(&stated, actual))?;
        let decides = if TIERED.contains(&key.as_str()) {
            "the network decides it for each tier, so choose another tier with node.tier or --tier"
        } else {
            "the network decides it for all, so write its value"
        };
        let reason =
            format!("the file says {stated}, the network {actual}; {decides}, or remove the key");
        Some(Problem::new(key, reason))
    };
    config.statements().into_iter().filter_map(differ).collect()
}

fn agree(stated: &Value, actual: &Value) -> bool {
    match (stated.as_f64(), actual.as_f64()) {
        (Some(stated), Some(actual)) => (stated - actual).abs() <= TOLERANCE,
        _ => stated == actual || *stated == json!(ModelType::Transformer),
    }
}

/// Returns the rules of the chain for a role, by the keys of a configuration.
fn blockchain(role: Role, rules: &Rules) -> Map<String, Value> {
    let rules = [
        ("block_time", rules.block_time.as_secs_f64()),
        ("consensus_threshold", f64::from(rules.quorum_percent) / 100.0),
        ("min_stake", rules.minimum_bond(role) as f64 / POL as f64),
        ("reward_multiplier", f64::from(rules.dataset_bonus) / f64::from(MILLION)),
    ];
    rules.into_iter().map(|(key, value)| (format!("blockchain.{key}"), json!(value))).collect()
}

/// Returns the recipe of the network, by the keys of a configuration.
fn training(recipe: &Recipe, tier: Option<Tier>) -> Map<String, Value> {
    let model = &recipe.model;
    let mind = &model.mind;
    let (superposed, second_pass) = (mind.superposition.is_some(), mind.second_pass > 0);
    let mut values = json!({
        "model_type": family(model),
        "hidden_size": model.width,
        "num_layers": model.layers,
        "num_heads": model.heads,
        "num_key_value_heads": model.key_value_heads,
        "intermediate_size": model.feed_forward,
        "vocab_size": model.vocabulary,
        "num_experts": model.experts.map_or(0, |experts| experts.count),
        "max_sequence_length": recipe.sequence,
        "context_length": model.context,
        "learning_rate": recipe.schedule.peak as f64 / BILLION as f64,
        "enable_adaptation": recipe.pretrained.is_some(),
        "enable_consciousness": superposed || mind.introspection || second_pass,
        "enable_superposition": superposed,
        "enable_introspection": mind.introspection,
        "enable_meta_cognition": second_pass,
        "enable_experts": model.experts.is_some(),
    });
    if let Some(tier) = tier {
        values["batch_size"] = recipe.tier(tier).sequences_per_step().into();
    }
    let values = values.as_object_mut().map(std::mem::take).unwrap_or_default();
    values.into_iter().map(|(key, value)| (format!("ai_training.{key}"), value)).collect()
}

/// Returns the family of an architecture.
fn family(model: &ModelSpec) -> ModelType {
    match model.positions {
        PositionEncoding::Learned if model.local.is_some() => ModelType::GptNeo,
        PositionEncoding::Learned => ModelType::Gpt2,
        PositionEncoding::Rotary { interleaved: true, .. } => ModelType::GptJ,
        PositionEncoding::Rotary { .. } => ModelType::Llama,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Preset;
    use pol_data::IngestRecord;
    use std::time::Duration;

    const EXAMPLE: &str = include_str!("../../../docs/examples/production_config.json");
    /// Rules of a chain like that of the demo.
    const RULES: Rules = Rules {
        block_time: Duration::from_secs(3),
        quorum_percent: 67,
        trainer_bond: 1_000 * POL,
        validator_bond: 5_000 * POL,
        authority_bond: 10_000 * POL,
        dataset_bonus: 1_000_000,
    };

    /// Returns the network of the demo, with a vocabulary of 8,192 tokens.
    fn recipe() -> Recipe {
        let (vocabulary, sequence, shard_tokens) = (8_192, 128, 4_096);
        let data = IngestRecord { vocabulary, sequence, shard_tokens, ..IngestRecord::default() };
        Preset::Demo.sizes(&data).recipe([0; 32])
    }

    fn network(recipe: &Recipe, role: Role) -> Map<String, Value> {
        let mut network = blockchain(role, &RULES);
        network.append(&mut training(recipe, Some(Tier::Whale)));
        network
    }

    #[test]
    fn the_example_agrees_with_the_demo() {
        let config = Config::parse(EXAMPLE).unwrap();
        let network = network(&recipe(), Role::Trainer);
        assert_eq!(differences(&config, &network), vec![]);
    }

    #[test]
    fn all_that_can_be_stated_is_compared() {
        let network = network(&recipe(), Role::Trainer);
        let schema = pol_config::schema();
        for section in ["ai_training", "blockchain"] {
            let keys = schema["properties"][section]["properties"].as_object().unwrap();
            for (key, property) in keys {
                let config = json!({section: {key: property["examples"][0]}});
                for (statement, _) in Config::parse(&config.to_string()).unwrap().statements() {
                    assert!(network.contains_key(&statement), "{statement}");
                }
            }
        }
    }

    #[test]
    fn each_difference_is_named_with_both_values() {
        let network = network(&recipe(), Role::Validator);
        for (text, values) in [
            ("[ai_training]\nhidden_size = 768", "hidden_size: the file says 768, the network 128"),
            ("[ai_training]\nnum_layers = 5", "the file says 5, the network 4"),
            ("[ai_training]\nlr = 0.001", "the file says 0.001, the network 0.002"),
            ("[ai_training]\nbatch_size = 31", "the file says 31, the network 32"),
            ("[ai_training]\nmodel_type = \"llama\"", "says \"llama\", the network \"gpt2\""),
            ("[ai_training]\nenable_consciousness = true", "says true, the network false"),
            ("[ai_training]\nenable_adaptation = true", "says true, the network false"),
            ("[blockchain]\nblock_time = 6", "the file says 6.0, the network 3.0"),
            ("[blockchain]\nconsensus_threshold = 0.5", "says 0.5, the network 0.67"),
            ("[blockchain]\nmin_stake = 1000", "says 1000.0, the network 5000.0"),
            ("[blockchain]\nreward_multiplier = 2", "says 2.0, the network 1.0"),
        ] {
            let problems = differences(&Config::parse(text).unwrap(), &network);
            let [problem] = &problems[..] else { panic!("{text}: {problems:?}") };
            assert!(problem.to_string().contains(values), "{problem}");
            let is_tiered = text.contains("batch_size");
            assert_eq!(problem.to_string().contains("--tier"), is_tiered, "{problem}");
        }
        let agreeing = "[ai_training]\nmodel_type = \"gpt-2\"\nlr = 2e-3\n";
        assert_eq!(differences(&Config::parse(agreeing).unwrap(), &network), vec![]);
    }

    #[test]
    fn what_the_chain_publishes_counts() {
        let rules = Rules {
            block_time: Duration::from_secs(6),
            quorum_percent: 75,
            trainer_bond: 20 * POL,
            dataset_bonus: 1_500_000,
            ..RULES
        };
        let network = blockchain(Role::Trainer, &rules);
        let agreeing = "[blockchain]\nblock_time = 6\nconsensus_threshold = 0.75\n\
                        min_stake = 20\nreward_multiplier = 1.5\n";
        assert_eq!(differences(&Config::parse(agreeing).unwrap(), &network), vec![]);
        let problems = differences(&Config::parse(EXAMPLE).unwrap(), &network);
        assert_eq!(problems.len(), 4, "{problems:?}");
    }

    #[test]
    fn families_are_told_by_their_positions() {
        let mut model = recipe().model;
        assert_eq!(family(&model), ModelType::Gpt2);
        let rotary =
            |interleaved| PositionEncoding::Rotary { dimensions: 8, base: 10_000, interleaved };
        model.positions = rotary(true);
        assert_eq!(family(&model), ModelType::GptJ);
        model.positions = rotary(false);
        assert_eq!(family(&model), ModelType::Llama);
    }

    #[test]
    fn the_base_model_is_an_imported_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = other_model(&recipe(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("make one with `pol-trainer model import`"), "{error}");
    }
}
