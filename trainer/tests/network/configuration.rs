// SPDX-License-Identifier: Apache-2.0

//! The example of a configuration, as the start of a trainer.

use crate::{harness::Network, process::Process};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

const EXAMPLE: &str = include_str!("../../../docs/examples/production_config.json");
/// Name of the trainer's folder.
const FOLDER: &str = "trainer-2";

impl Network {
    /// Starts a trainer as the example says, with the sizes of this network. With those of the
    /// demo's network it is refused.
    pub(crate) fn configured_trainer(&self) -> Process {
        let path = self.path("production_config.json");
        let write = |config: &Value| fs::write(&path, config.to_string()).unwrap();
        let mut config: Value = serde_json::from_str(EXAMPLE).unwrap();
        let node = json!({
            "port": null, "listen": "127.0.0.1:0", "boot_nodes": [self.node_url()],
            "base_path": FOLDER, "tier": "miner", "workers": 1,
            // It trains again what audits ask for.
            "state_budget": 0.0,
        });
        set(&mut config["node"], node);
        write(&config);
        self.check_refused(&path);

        let recipe = self.run_json(&["recipe", "show"]);
        let (model, tier) = (&recipe["model"], &recipe["tiers"][3]);
        let sizes = json!({
            "hidden_size": model["width"],
            "num_layers": model["layers"],
            "num_heads": model["heads"],
            "vocab_size": model["vocabulary"],
            "max_sequence_length": recipe["sequence"],
            "batch_size":
                tier["micro_batch"].as_u64().unwrap() * tier["accumulation"].as_u64().unwrap(),
            "learning_rate": recipe["schedule"]["peak"].as_f64().unwrap() / 1e9,
        });
        set(&mut config["ai_training"], sizes);
        let mut other = config.clone();
        let rules = json!({
            "block_time": 6, "consensus_threshold": 0.5, "min_stake": 20, "reward_multiplier": 2,
        });
        set(&mut other["blockchain"], rules);
        write(&other);
        self.check_rules(&path);
        write(&config);
        self.check_sources(&path);
        Process::start(&mut self.start_configured(&path), self.path("trainer-2.log"))
    }

    /// Returns the one command that starts a member with a configuration. Its node is named by the
    /// file.
    fn start_configured(&self, path: &Path) -> Command {
        let mut command = self.trainer();
        command.env_remove("POL_NODE").env("POL_KEY", "//Trainer//2");
        command.arg("--config").arg(path).args(["--tier", "whale"]);
        command
    }

    /// Checks that a configuration with other sizes is refused with both values, before the account
    /// is bonded.
    fn check_refused(&self, path: &Path) {
        let output = self.start_configured(path).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains("hidden_size: the file says 128, the network 32"), "{message}");
        assert!(!message.contains("bonded"), "{message}");
        let checked = self.try_run(&["config", "check", "--network", "--config", text(path)]);
        let message = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(message.contains("ai_training.num_heads: the file says 4"), "{message}");
    }

    /// Checks that each rule of the chain is compared with what its runtime publishes.
    fn check_rules(&self, path: &Path) {
        let checked = self.try_run(&["config", "check", "--network", "--config", text(path)]);
        let message = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{message}");
        for part in [
            "block_time: the file says 6.0, the network 3.0",
            "consensus_threshold: the file says 0.5, the network 0.67",
            "min_stake: the file says 20.0, the network 1000.0",
            "reward_multiplier: the file says 2.0, the network 1.0",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    /// Checks that flags come before the environment, and that before the file.
    fn check_sources(&self, path: &Path) {
        let arguments = ["--config", text(path), "--tier", "whale", "--json"];
        let shown = self.run_json(&[&["config", "show"][..], &arguments].concat());
        for (key, value, source) in [
            ("node.tier", json!("whale"), "flag"),
            ("node.boot_nodes", json!([self.node_url()]), "environment"),
            ("node.workers", json!(1), "file"),
            ("node.base_path", json!(self.path(FOLDER)), "file"),
            ("node.archive", json!(false), "default"),
            ("role", json!("trainer"), "file"),
        ] {
            assert_eq!(shown[key], json!({"value": value, "source": source}), "{key}");
        }
        let checked = self.run(&["config", "check", "--network", "--config", text(path)]);
        assert!(checked.contains("agrees with the network"), "{checked}");
        let sources = self.run(&["data", "acquire", "--dry-run", "--config", text(path)]);
        assert!(sources.contains("tasks (synthetic)"), "{sources}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Sets fields of an object.
fn set(object: &mut Value, fields: Value) {
    for (key, value) in fields.as_object().unwrap() {
        object[key] = value.clone();
    }
}
