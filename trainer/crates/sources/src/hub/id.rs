// SPDX-License-Identifier: Apache-2.0

use std::{fmt, str::FromStr};

const DEFAULT_REVISION: &str = "main";

/// Kind of a repository on a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

impl RepoKind {
    /// Returns the first part of the path in the hub's API.
    pub(super) fn api(self) -> &'static str {
        match self {
            Self::Model => "api/models",
            Self::Dataset => "api/datasets",
        }
    }

    /// Returns the prefix of the path of files.
    pub(super) fn files(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

impl fmt::Display for RepoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        })
    }
}

/// Name of a repository on a hub: `organisation/name`, or `organisation/name@revision` with a
/// branch, tag or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    name: String,
    revision: String,
}

impl HubId {
    /// Returns `organisation/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Returns the same repository at another revision, or `None` if that is no revision's name.
    pub fn at(&self, revision: &str) -> Option<Self> {
        is_revision(revision).then(|| Self { name: self.name.clone(), revision: revision.into() })
    }

    /// Returns `true` if the revision is a commit, which never changes.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl FromStr for HubId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let is_name = name
            .split_once('/')
            .is_some_and(|(organisation, name)| is_plain_name(organisation) && is_plain_name(name));
        if is_name && is_revision(revision) {
            Ok(Self { name: name.to_owned(), revision: revision.to_owned() })
        } else {
            Err(format!(
                "'{text}' is neither a file or folder here nor a name on the hub, such as \
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

/// Returns `true` if `name` is the plain name of a file and not a path.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Returns `true` if `text` is a commit: a SHA-1 in hexadecimal.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_revision(text: &str) -> bool {
    text.split('/').all(is_plain_name)
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

    #[test]
    fn only_commits_are_pinned() {
        let id: HubId = "a/b".parse().unwrap();
        assert!(!id.is_pinned());
        assert!(id.at(&"0a".repeat(20)).unwrap().is_pinned());
        assert_eq!(id.at("../x"), None);
    }
}
