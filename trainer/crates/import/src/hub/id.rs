// SPDX-License-Identifier: Apache-2.0

use crate::source_files::is_plain_name;
use std::{fmt, str::FromStr};

const DEFAULT_REVISION: &str = "main";

/// Name of a model on a hub: `organisation/name`, or `organisation/name@revision` with a branch,
/// tag or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    name: String,
    revision: String,
}

impl HubId {
    /// Returns `organisation/name`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the branch, tag or commit.
    pub(super) fn revision(&self) -> &str {
        &self.revision
    }
}

impl FromStr for HubId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let is_name = name
            .split_once('/')
            .is_some_and(|(organisation, name)| is_plain_name(organisation) && is_plain_name(name));
        if is_name && revision.split('/').all(is_plain_name) {
            Ok(Self { name: name.to_owned(), revision: revision.to_owned() })
        } else {
            Err(format!(
                "'{text}' is neither a file or folder here nor a model on the hub, such as \
                 openai-community/gpt2 or org/name@revision"
            ))
        }
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_not_paths() {
        let id: HubId = "openai-community/gpt2".parse().unwrap();
        assert_eq!(id.to_string(), "openai-community/gpt2@main");
        assert_eq!("a/b@refs/pr/1".parse::<HubId>().unwrap().revision, "refs/pr/1");
        for text in [
            "", "gpt2", "a/b/c", "../b", "a/..", "a/b@", "a/b@../x", "a/b@x//y", "/b", "a/",
            "a b/c", "a/b?c", "a/.b",
        ] {
            assert!(text.parse::<HubId>().is_err(), "{text}");
        }
    }
}
