// SPDX-License-Identifier: Apache-2.0

//! A whole configuration: its sections, what it states of the network, and what it leaves open.

use crate::{
    AiTraining, Blockchain, ConfigError, DataAcquisition, Node, Problem, field_names,
    keys::refusal, parse_tree, settings::without_password, unknown_key,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::path::Path;

/// Most threads of a member.
const MAX_WORKERS: u16 = 1024;
/// Most connections of the HTTP interface.
const MAX_CONNECTIONS: u16 = 512;
/// Largest size of a folder that is taken for one, in GiB.
const MAX_GIB: f64 = 1_048_576.0;
/// Values that are the same in every network, or that each request gives for itself.
const FIXED: [(&str, bool, &str); 5] = [
    (
        "pretrained_priority",
        true,
        "every network leases text of pretrained models first; remove it",
    ),
    (
        "enable_reasoning",
        false,
        "reasoning is asked for by each request, as with `pol-trainer generate --reason tree`; \
         remove it",
    ),
    (
        "enable_affect",
        false,
        "affect is followed where a request asks for it, as with `pol-trainer generate \
         --sensitivity 0.5`; remove it",
    ),
    (
        "enable_tools",
        false,
        "tools are offered where a request asks for it, as with `pol-trainer generate --tools`; \
         remove it",
    ),
    ("enable_rag", false, "there is no retrieval; put the text into the prompt, and remove it"),
];

/// Configuration of a member of the network. Missing and `null` keys keep their defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This machine and its account.
    pub node: Node,
    /// Model and training, as the network has them.
    pub ai_training: AiTraining,
    /// Sources of data, for `pol-trainer data acquire`: these switches, and all other fields of its
    /// configuration, such as `out`, `tokenizer`, and `source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DataAcquisition")]
    pub data_acquisition: Option<Map<String, Value>>,
    /// Rules of the chain.
    pub blockchain: Blockchain,
}

impl Config {
    /// Parses a configuration in TOML, or in JSON if it begins with a brace.
    ///
    /// # Errors
    ///
    /// Fails with all keys that are unknown, refused, or have a wrong value, and if the text is
    /// neither TOML nor JSON.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut tree = parse_tree(text)?;
        let mut problems = Vec::new();
        let config = Self {
            node: section(&mut tree, "node", &mut problems),
            ai_training: section(&mut tree, "ai_training", &mut problems),
            data_acquisition: table(&mut tree, "data_acquisition", &mut problems).and_then(present),
            blockchain: section(&mut tree, "blockchain", &mut problems),
        };
        for key in tree.keys() {
            problems.push(unknown_section(key));
        }
        problems.extend(config.problems());
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Problems(problems)) }
    }

    /// Returns what is wrong with values that are well formed.
    fn problems(&self) -> Vec<Problem> {
        let node = &self.node;
        let mut problems = Vec::new();
        let mut require = |is_right: bool, key: &str, reason: &str| {
            if !is_right {
                problems.push(Problem::new(key, reason));
            }
        };
        require(
            node.port.is_none() || node.listen.is_none(),
            "node.port",
            "node.listen has a port too; remove one of them",
        );
        require(
            node.account.is_none() || node.key_file.is_none(),
            "node.account",
            "node.key_file names a key too; remove one of them",
        );
        let workers = node.workers.map_or(1, |workers| workers.get());
        require(workers <= MAX_WORKERS, "node.workers", "there are at most 1,024 threads");
        let connections = node.api_client_connections.map_or(1, |most| most.get());
        require(
            connections <= MAX_CONNECTIONS,
            "node.api_client_connections",
            "there are at most 512 connections",
        );
        require(
            node.api_index.as_deref().and_then(without_password).is_none(),
            "node.api_index",
            "a password never stands in a file; remove the key, and give the address in POL_INDEX",
        );
        require(
            node.state_budget.is_none_or(|size| (0.0..=MAX_GIB).contains(&size)),
            "node.state_budget",
            "a size is a number of GiB from 0 to 1,048,576",
        );
        let chain = &self.blockchain;
        let is_amount =
            |amount: Option<f64>| amount.is_none_or(|amount| amount.is_finite() && amount >= 0.0);
        require(
            chain.block_time.is_none_or(|seconds| seconds > 0.0 && seconds.is_finite()),
            "blockchain.block_time",
            "a time is a number of seconds above 0",
        );
        require(
            chain.consensus_threshold.is_none_or(|share| (0.0..=1.0).contains(&share)),
            "blockchain.consensus_threshold",
            "a share is a number from 0 to 1, such as 0.67",
        );
        require(
            is_amount(chain.min_stake),
            "blockchain.min_stake",
            "a bond is a number of POL from 0",
        );
        require(
            is_amount(chain.reward_multiplier),
            "blockchain.reward_multiplier",
            "a weight is a number from 0",
        );
        let extraction = self
            .data_acquisition
            .as_ref()
            .and_then(|section| section.get("pretrained_extraction")?.as_bool());
        let stated = self.ai_training.enable_extraction;
        require(
            stated.is_none() || extraction.is_none() || stated == extraction,
            "ai_training.enable_extraction",
            "data_acquisition.pretrained_extraction says otherwise; remove one of them",
        );
        let training = object(&self.ai_training);
        for (key, value, reason) in FIXED {
            let is_right = training.get(key).is_none_or(|stated| *stated == Value::Bool(value));
            require(is_right, &format!("ai_training.{key}"), reason);
        }
        problems
    }

    /// Returns what the file says of the network, by the keys with their sections.
    pub fn statements(&self) -> Vec<(String, Value)> {
        let of = |section: &str, values: Map<String, Value>| {
            let key = |(name, value)| (format!("{section}.{name}"), value);
            values.into_iter().map(key).collect::<Vec<_>>()
        };
        let mut training = object(&self.ai_training);
        training.remove("pretrained_base_model");
        training.remove("enable_extraction");
        training.retain(|key, _| FIXED.iter().all(|(fixed, ..)| key != fixed));
        [of("ai_training", training), of("blockchain", object(&self.blockchain))].concat()
    }

    /// Returns the section `data_acquisition`, completed by what `ai_training` says of it.
    pub fn acquisition(&self) -> Option<Map<String, Value>> {
        let mut section = self.data_acquisition.clone()?;
        let AiTraining { enable_extraction, pretrained_base_model, .. } = &self.ai_training;
        if let Some(is_enabled) = *enable_extraction {
            section.entry("pretrained_extraction").or_insert(is_enabled.into());
        }
        if let Some(model) = pretrained_base_model.as_ref().and_then(|path| path.to_str()) {
            section.entry("pretrained_model").or_insert(model.into());
        }
        Some(section)
    }

    /// Makes the paths of this machine relative to the folder `base`. Those in `data_acquisition`
    /// are left as they are.
    pub fn resolve(&mut self, base: &Path) {
        let Node { key_file, password_file, base_path, data, .. } = &mut self.node;
        let model = &mut self.ai_training.pretrained_base_model;
        let paths = [key_file, password_file, base_path, data, model];
        for path in paths.into_iter().flatten() {
            *path = base.join(&*path);
        }
        let Node { api_tokens, api_library, api_index, .. } = &mut self.node;
        for path in [api_tokens, api_library].into_iter().flatten() {
            *path = base.join(&*path);
        }
        // The URL of a database has a colon.
        if let Some(index) = api_index.as_mut().filter(|index| !index.contains(':'))
            && let Some(path) = base.join(&*index).to_str()
        {
            *index = path.to_owned();
        }
    }

    /// Returns what the reader of the file should know though nothing is wrong.
    pub fn notes(&self) -> Vec<String> {
        let Node { is_authority, enable_training, .. } = self.node;
        let mut notes = Vec::new();
        if is_authority == Some(true) && enable_training == Some(true) {
            notes.push(
                "node.is_authority: an account has one role, and this one trains; start a \
                 validator with an account of its own: the same command with --role validator, \
                 another --key-file and another --base-path. Blocks are produced by `pol-node \
                 --validator`"
                    .into(),
            );
        }
        if self.data_acquisition.is_some() {
            notes.push(
                "data_acquisition: members do not acquire data while they train; run `pol-trainer \
                 data acquire` with the same --config beside them"
                    .into(),
            );
        }
        notes
    }
}

/// Returns the fields of a section with all their spellings, or none if there is no such section.
pub(crate) fn section_fields(section: &str) -> &'static [&'static str] {
    match section {
        "node" => field_names::<Node>(),
        "ai_training" => field_names::<AiTraining>(),
        "data_acquisition" => field_names::<DataAcquisition>(),
        "blockchain" => field_names::<Blockchain>(),
        _ => &[],
    }
}

/// Returns the problem of a key beside the sections, which may belong into one of them.
fn unknown_section(key: &str) -> Problem {
    let sections = field_names::<Config>();
    let owner = sections.iter().find(|section| section_fields(section).contains(&key));
    match owner {
        Some(owner) => Problem::new(key, format!("it belongs into the section {owner}")),
        None => unknown_key("", key, sections),
    }
}

/// Takes the table `name` out of `tree`.
fn table(
    tree: &mut Map<String, Value>,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Option<Map<String, Value>> {
    match tree.remove(name)? {
        Value::Null => None,
        Value::Object(table) => Some(table),
        _ => {
            problems.push(Problem::new(name, "it is no section; write its keys into a table"));
            None
        }
    }
}

/// Returns a table without the values that are `null`, if others are left.
fn present(mut table: Map<String, Value>) -> Option<Map<String, Value>> {
    table.retain(|_, value| !value.is_null());
    (!table.is_empty()).then_some(table)
}

/// Takes a section out of `tree`. Keys with problems are left out of it.
fn section<T: DeserializeOwned + Default>(
    tree: &mut Map<String, Value>,
    name: &'static str,
    problems: &mut Vec<Problem>,
) -> T {
    let fields = field_names::<T>();
    let mut valid = Map::new();
    for (key, value) in table(tree, name, problems).unwrap_or_default() {
        let path = || format!("{name}.{key}");
        if let Some(reason) = refusal(name, &key) {
            // The value may be a secret, so it is not shown.
            if !value.is_null() {
                problems.push(Problem::new(path(), reason));
            }
        } else if !fields.contains(&key.as_str()) {
            problems.push(unknown_key(name, &key, fields));
        } else if let Err(error) = parse::<T>(Map::from_iter([(key.clone(), value.clone())])) {
            problems.push(Problem::new(path(), explain(error, &value)));
        } else {
            valid.insert(key, value);
        }
    }
    // Only two spellings of one key are left to refuse.
    parse(valid).unwrap_or_else(|error| {
        problems.push(Problem::new(name, format!("{error}, in two spellings; remove one")));
        T::default()
    })
}

/// Returns the error of a value, which serde_json does not show if it is a number.
fn explain(error: String, value: &Value) -> String {
    match value {
        Value::Number(number) if error == "invalid number" => format!(
            "{number} is out of range here, or has a fraction where only whole numbers count"
        ),
        _ => error,
    }
}

fn parse<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(fields.into()).map_err(|error| error.to_string())
}

/// Returns the fields of a section that have a value.
fn object(section: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(section) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Returns the problems of a configuration, one a line.
    fn problems(config: Value) -> Vec<String> {
        match Config::parse(&config.to_string()) {
            Err(ConfigError::Problems(problems)) => {
                problems.iter().map(ToString::to_string).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_error_names_its_key_and_a_remedy() {
        for (config, problem) in [
            (json!({"node": {"private_key": "0x00"}}), "node.private_key: secrets never stand"),
            (json!({"node": {"key": "//Alice"}}), "with node.account or node.key_file"),
            (json!({"blockchain": {"difficulty": 4}}), "there is no mining"),
            (json!({"ai_training": {"epochs": 3}}), "the chain leases each shard once"),
            (
                json!({"node": {"prot": 1}}),
                "node.prot: there is no such key; did you mean node.port?",
            ),
            (json!({"nod": {}}), "nod: there is no such key; did you mean node?"),
            (json!({"port": 1}), "port: it belongs into the section node"),
            (json!({"node": 1}), "node: it is no section"),
            (json!({"node": {"port": 0}}), "node.port: invalid value"),
            (json!({"node": {"port": 70000}}), "70000"),
            (json!({"node": {"port": "x"}}), "node.port: invalid type"),
            (
                json!({"node": {"port": 1, "listen": "0.0.0.0:1"}}),
                "node.port: node.listen has a port",
            ),
            (json!({"node": {"account": "a", "key_file": "b"}}), "node.key_file names a key too"),
            (json!({"node": {"workers": 2000}}), "node.workers: there are at most 1,024"),
            (json!({"node": {"api_client_connections": 513}}), "at most 512 connections"),
            (
                json!({"node": {"api_index": "postgres://pol:x@localhost/pol"}}),
                "node.api_index: a password never stands in a file",
            ),
            (json!({"node": {"state_budget": -1}}), "node.state_budget: a size is a number of GiB"),
            (json!({"node": {"state_budget": 1e300}}), "from 0 to 1,048,576"),
            (json!({"blockchain": {"block_time": 0}}), "blockchain.block_time: a time is"),
            (json!({"blockchain": {"quorum": 67}}), "blockchain.consensus_threshold: a share is"),
            (json!({"blockchain": {"min_stake": -1}}), "blockchain.min_stake: a bond is"),
            (json!({"blockchain": {"multiplier": -0.5}}), "reward_multiplier: a weight is"),
            (json!({"node": {"tier": "shark"}}), "node.tier: unknown variant `shark`"),
            (json!({"node": {"boot_nodes": ["x"]}}), "node.boot_nodes: \"x\" is no RPC address"),
            (json!({"node": {"boot_nodes": [], "bootnodes": []}}), "duplicate field `boot_nodes`"),
            (json!({"ai_training": {"model_type": "rnn"}}), "unknown variant `rnn`"),
            (json!({"ai_training": {"pretrained_priority": false}}), "every network leases text"),
            (json!({"ai_training": {"enable_reasoning": true}}), "generate --reason tree"),
            (json!({"ai_training": {"enable_affect": true}}), "generate --sensitivity"),
            (json!({"ai_training": {"enable_tools": true}}), "generate --tools"),
            (json!({"ai_training": {"enable_rag": true}}), "there is no retrieval"),
            (
                json!({"ai_training": {"extraction": true},
                       "data_acquisition": {"pretrained_extraction": false}}),
                "data_acquisition.pretrained_extraction says otherwise",
            ),
        ] {
            let found = problems(config.clone());
            assert_eq!(found.len(), 1, "{config}: {found:?}");
            assert!(found[0].contains(problem), "{config}: {found:?}");
        }
    }

    #[test]
    fn all_problems_are_named_at_once_and_secrets_are_not_repeated() {
        let secret = "0xsecretsecret";
        let config = json!({
            "node": {"private_key": secret, "prt": 1, "port": true},
            "blockchain": {"difficulty": 4},
            "other": {},
        });
        let found = problems(config.clone());
        assert_eq!(found.len(), 5, "{found:?}");
        let error = Config::parse(&config.to_string()).unwrap_err().to_string();
        assert!(error.starts_with("5 keys have to change\n  node."), "{error}");
        assert!(!error.contains(secret), "{error}");
    }

    #[test]
    fn null_is_no_value() {
        let config = json!({
            "node": {"private_key": null, "port": null},
            "ai_training": null,
            "data_acquisition": {"pretrained_model": null},
        });
        let parsed = Config::parse(&config.to_string()).unwrap();
        assert_eq!(parsed, Config::default());
        assert_eq!(problems(json!({"node": {"prot": null}})).len(), 1);
    }

    #[test]
    fn statements_of_the_network_have_one_spelling() {
        let text = "[ai_training]\nn_layers = 4\nlr = 0.002\nbase_model = \"m\"\n\
                    extraction = true\nenable_moe = false\nenable_rag = false\n\
                    [blockchain]\nquorum = 0.67\n";
        let config = Config::parse(text).unwrap();
        let expected = [
            ("ai_training.enable_experts", json!(false)),
            ("ai_training.learning_rate", json!(0.002)),
            ("ai_training.num_layers", json!(4)),
            ("blockchain.consensus_threshold", json!(0.67)),
        ];
        let mut statements = config.statements();
        statements.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(statements, expected.map(|(key, value)| (key.to_owned(), value)));
        assert_eq!(config.acquisition(), None);
    }

    #[test]
    fn the_training_section_completes_the_acquisition() {
        let text = "[ai_training]\npretrained_base_model = \"m\"\nextraction = true\n\
                    [data_acquisition]\nsynthetic_generation = true\n";
        let section = Config::parse(text).unwrap().acquisition().unwrap();
        assert_eq!(
            Value::from(section),
            json!({"pretrained_extraction": true, "pretrained_model": "m",
                   "synthetic_generation": true})
        );
        let own =
            text.replace("[data_acquisition]", "[data_acquisition]\npretrained_model = \"n\"");
        let section = Config::parse(&own).unwrap().acquisition().unwrap();
        assert_eq!(section["pretrained_model"], json!("n"));
    }

    #[test]
    fn two_roles_are_explained() {
        let notes = |text: &str| Config::parse(text).unwrap().notes().join("\n");
        let both = notes("[node]\nis_authority = true\nenable_training = true\n");
        assert!(both.contains("an account has one role"), "{both}");
        let data = notes("[data_acquisition]\nsynthetic_generation = true\n");
        assert!(data.contains("pol-trainer data acquire"), "{data}");
        assert_eq!(notes("[node]\nenable_training = true\n"), "");
    }
}
