// SPDX-License-Identifier: Apache-2.0

//! Files of configurations.

use super::{config::Config, seed};
use anyhow::{Context, Result};
use std::{fs, path::Path};

/// Reads a configuration: TOML, or JSON with a section `data_acquisition`. Paths in it are relative
/// to its folder.
pub(super) fn read(path: &Path) -> Result<Config> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let checked = parse(&text).and_then(|mut config| {
        config.resolve(path.parent().unwrap_or(Path::new("")));
        config.validate()?;
        Ok(config)
    });
    checked.with_context(|| name.to_string())
}

/// Parses a configuration. Text that begins with a brace is JSON.
pub(super) fn parse(text: &str) -> Result<Config> {
    if text.trim_start().starts_with('{') {
        return seed::parse(text);
    }
    toml::from_str(text).context("this is no configuration of `data acquire`")
}
