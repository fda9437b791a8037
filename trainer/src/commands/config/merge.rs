// SPDX-License-Identifier: Apache-2.0

//! Options of a member from the command line, the environment, and the file.

use crate::{
    api::ApiOptions,
    commands::{
        acquire,
        run::{RoleOption, RunOptions, TierOption},
    },
    options::{KEY_VARIABLE, KeyOptions, LogOptions},
    password::PASSWORD_VARIABLE,
};
use anyhow::{Context, Result, anyhow};
use clap::{ArgMatches, parser::ValueSource};
use pol_chain::{format_account, parse_account};
use pol_config::{ConfigFile, Node, NodeAddress, Role, Settings, Source, Tier};
use serde::Serialize;
use std::path::PathBuf;

/// Reads the file that the options name, if they name one. Takes from it what neither the command
/// line nor the environment gave, and notes the source of each value.
pub(crate) fn merge(
    options: &mut RunOptions,
    log: &mut LogOptions,
    matches: &ArgMatches,
) -> Result<()> {
    let file = options.config.as_deref().map(ConfigFile::read).transpose()?;
    let mut merge = Merge { matches, settings: Settings::default() };
    let config = file.as_ref().map(|file| file.config.clone()).unwrap_or_default();
    if let (Some(file), Some(section)) = (&file, config.acquisition()) {
        acquire::check_keys(section).with_context(|| file.path.display().to_string())?;
    }
    if options.config.is_some() {
        merge.take("config", "config", &mut options.config, None);
    }
    let path = options.config.clone().unwrap_or_default();
    merge.member(options, &config.node).with_context(|| path.display().to_string())?;
    let model = config.ai_training.pretrained_base_model.clone();
    merge.take("ai_training.pretrained_base_model", "model", &mut options.model, model.map(Some));
    merge.take("node.log", "log", &mut log.log, config.node.log.clone());
    if let Some(filter) = &config.node.log {
        check_filter(filter).with_context(|| path.display().to_string())?;
    }
    merge.take("node.log_json", "log_json", &mut log.log_json, config.node.log_json);
    for (key, value) in config.statements() {
        merge.settings.note(&key, &value, Source::File);
    }
    if let Some(section) = &config.data_acquisition {
        merge.settings.note("data_acquisition", section, Source::File);
    }
    (options.settings, options.file) = (merge.settings, file);
    Ok(())
}

/// Checks the filter of a log.
fn check_filter(filter: &str) -> Result<()> {
    let log = LogOptions { log: filter.to_owned(), log_json: false };
    log.filter().map(drop).map_err(|error| {
        anyhow!(
            "node.log: {error}; a filter is a level such as debug, or a list such as \
             pol_trainer=debug,pol_api=info"
        )
    })
}

/// Values so far, and the options that were given.
struct Merge<'a> {
    matches: &'a ArgMatches,
    settings: Settings,
}

impl Merge<'_> {
    /// Takes the options of this machine and its account.
    fn member(&mut self, options: &mut RunOptions, node: &Node) -> Result<()> {
        let node = node.clone();
        self.role(options, &node)?;
        self.account(&mut options.key, &node)?;
        if let Some(name) = &node.node_id {
            self.settings.note("node.node_id", name, Source::File);
        }
        let urls = |nodes: Vec<NodeAddress>| nodes.into_iter().map(String::from).collect();
        let urls = node.boot_nodes.clone().filter(|nodes| !nodes.is_empty()).map(urls);
        self.take("node.boot_nodes", "urls", &mut options.node.urls, urls);
        self.take("node.tier", "tier", &mut options.tier, node.tier.map(TierOption::from));
        self.take(
            "node.base_path",
            "base_path",
            &mut options.base_path,
            node.base_path.clone().map(Some),
        );
        let workers = node.workers.map(|workers| Some(workers.get()));
        self.take("node.workers", "workers", &mut options.workers, workers);
        self.take(
            "node.state_budget",
            "state_budget",
            &mut options.state_budget,
            node.state_budget,
        );
        let swarm = &mut options.swarm;
        self.take("node.listen", "listen", &mut swarm.listen, node.listen());
        self.take("node.advertise", "advertise", &mut swarm.advertise, node.advertise.clone());
        self.take("node.archive", "archive", &mut options.archive, node.archive);
        self.take("node.unfinalised", "unfinalised", &mut options.unfinalised, node.unfinalised);
        let metrics = &mut options.metrics.metrics;
        self.take("node.metrics", "metrics", metrics, node.metrics.map(Some));
        self.take("node.data", "data", &mut options.data, node.data.clone().map(Some));
        self.api(&mut options.api, node);
        Ok(())
    }

    /// Takes the options of the HTTP interface.
    fn api(&mut self, options: &mut ApiOptions, node: Node) {
        let parts = &mut options.parts;
        self.take("node.api", "api", &mut options.api, node.api.map(Some));
        self.take("node.api_tokens", "tokens", &mut parts.tokens, node.api_tokens.map(Some));
        self.take("node.api_origins", "allow_origin", &mut parts.allow_origin, node.api_origins);
        self.take("node.api_library", "library", &mut parts.library, node.api_library.map(Some));
        self.take("node.api_index", "index", &mut parts.index, node.api_index.map(Some));
        let connections = node.api_client_connections.map(|most| Some(most.get()));
        self.take(
            "node.api_client_connections",
            "client_connections",
            &mut parts.client_connections,
            connections,
        );
        self.take("node.api_no_follow", "no_follow", &mut parts.no_follow, node.api_no_follow);
    }

    /// Takes the role, which the file need not leave open if the command line gives it.
    fn role(&mut self, options: &mut RunOptions, node: &Node) -> Result<()> {
        let role = match self.given("role") {
            Some(_) => None,
            None => node.role().map_err(anyhow::Error::msg)?,
        };
        self.take("role", "role", &mut options.role, role.map(RoleOption::from));
        Ok(())
    }

    /// Takes the account, its key, and the source of its password.
    fn account(&mut self, key: &mut KeyOptions, node: &Node) -> Result<()> {
        let given = self.given("key_file").or(flag(key.dev_account.is_some()));
        let name = node.account.as_ref().map(PathBuf::from);
        let name = name.or_else(|| node.key_file.clone()).map(Some);
        let given = given.or(variable(KEY_VARIABLE));
        self.settings.merge("node.account", given, &mut key.key_file, name);

        let password = &mut key.password;
        let given = self.given("password_file").or(flag(password.password_fd.is_some()));
        let given = given.or(variable(PASSWORD_VARIABLE));
        let file = node.password_file.clone().map(Some);
        self.settings.merge("node.password_file", given, &mut password.password_file, file);

        let mut principal = key.proxy_for.as_ref().map(format_account);
        self.take("node.proxy_for", "proxy_for", &mut principal, node.proxy_for.clone().map(Some));
        let principal = principal.as_deref().map(parse_account).transpose();
        key.proxy_for = principal.map_err(|error| anyhow!("node.proxy_for: {error}"))?;
        Ok(())
    }

    /// Sets `slot`, the value of the option `id`, to that of the file unless it was given.
    fn take<T: Serialize>(&mut self, key: &str, id: &str, slot: &mut T, file: Option<T>) {
        let given = self.given(id);
        self.settings.merge(key, given, slot, file);
    }

    /// Returns the source of an option that was given.
    fn given(&self, id: &str) -> Option<Source> {
        match self.matches.value_source(id)? {
            ValueSource::CommandLine => Some(Source::Flag),
            ValueSource::EnvVariable => Some(Source::Environment),
            _ => None,
        }
    }
}

fn flag(is_given: bool) -> Option<Source> {
    is_given.then_some(Source::Flag)
}

fn variable(name: &str) -> Option<Source> {
    std::env::var_os(name).map(|_| Source::Environment)
}

impl From<Role> for RoleOption {
    fn from(role: Role) -> Self {
        match role {
            Role::Trainer => Self::Trainer,
            Role::Validator => Self::Validator,
        }
    }
}

impl From<Tier> for TierOption {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Mobile => Self::Mobile,
            Tier::Participant => Self::Participant,
            Tier::Miner => Self::Miner,
            Tier::Whale => Self::Whale,
            Tier::Auto => Self::Auto,
        }
    }
}
