// SPDX-License-Identifier: Apache-2.0

//! Files of configurations.

use super::{
    config::{Config, keys},
    seed,
};
use anyhow::{Context, Result};
use std::path::Path;

/// Reads a configuration of its own in TOML, or that of a member with a section `data_acquisition`.
/// Paths in it are relative to its folder.
pub(super) fn read(path: &Path) -> Result<Config> {
    let name = path.display();
    let text = pol_config::read_text(path).with_context(|| name.to_string())?;
    let checked = parse(&text).and_then(|mut config| {
        config.resolve(path.parent().unwrap_or(Path::new("")));
        config.validate()?;
        Ok(config)
    });
    checked.with_context(|| name.to_string())
}

/// Parses a configuration. Text that begins with a brace, or has the section, is that of a member.
pub(super) fn parse(text: &str) -> Result<Config> {
    let tree =
        pol_config::parse_tree(text).context("this is no configuration of `data acquire`")?;
    if text.trim_start().starts_with('{') || tree.contains_key(seed::SECTION) {
        return seed::parse(text);
    }
    Ok(keys::parse(tree, "")?)
}
