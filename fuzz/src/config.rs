// SPDX-License-Identifier: Apache-2.0

//! Configurations of members.

use crate::Target;
use pol_config::{Config, ConfigError};

pub(crate) const TARGETS: &[Target] =
    &[Target { name: "config", run: config, seeds: config_seeds }];

/// Reads bytes as a configuration. A valid one is valid again once it is written, and another one
/// names what is wrong.
fn config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match Config::parse(text) {
        Ok(config) => {
            let written = serde_json::to_string(&config).expect("a configuration is JSON");
            let again = Config::parse(&written).expect("it was written");
            assert_eq!(again.statements().len(), config.statements().len());
            assert_eq!(again.node.boot_nodes, config.node.boot_nodes);
            true
        }
        Err(ConfigError::Problems(problems)) => {
            assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.key.is_empty()));
            false
        }
        Err(_) => false,
    }
}

fn config_seeds() -> Vec<Vec<u8>> {
    let json = include_bytes!("../../docs/examples/production_config.json");
    let toml = "[node]\nid = \"a\"\nboot_nodes = [\"/dns4/node.example/tcp/443/wss\"]\n\
                workers = 4\nadvertise = [\"[::1]:1\"]\n[data_acquisition]\n\
                [[data_acquisition.source]]\nname = \"a\"\n";
    vec![json.into(), pol_config::template().into(), toml.into()]
}
