// SPDX-License-Identifier: Apache-2.0

//! Names of files of a data set: patterns, formats, and the listing of a commit's tree.

use super::{Checksum, HubClient, HubError, HubFile, HubId, RepoKind};
use glob::{MatchOptions, Pattern};
use serde::Deserialize;
use std::{collections::BTreeSet, fmt::Write as _};

/// Maximum number of files and folders of a listing.
const MAX_ENTRIES: usize = 1 << 18;
/// Maximum length of a path, in bytes.
const MAX_PATH_BYTES: usize = 1 << 10;

/// Format of a file with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Parquet,
    /// JSON, one object a line as a rule, perhaps compressed.
    Json,
}

impl Format {
    /// Returns the format by the ending of `path`.
    pub(super) fn of(path: &str) -> Option<Self> {
        if path.ends_with(".parquet") {
            return Some(Self::Parquet);
        }
        let plain = [".gz", ".zst", ".zstd"].iter().find_map(|end| path.strip_suffix(end));
        let plain = plain.unwrap_or(path);
        [".jsonl", ".json", ".ndjson"].iter().any(|end| plain.ends_with(end)).then_some(Self::Json)
    }
}

/// Patterns of paths, in the notation of shells: `*` within a name, `**` over folders.
pub(super) struct Patterns(Vec<Pattern>);

impl Patterns {
    pub(super) fn parse(patterns: &[String]) -> Result<Self, String> {
        let parse = |pattern: &String| {
            Pattern::new(pattern)
                .map_err(|error| format!("{pattern:?} is no pattern of files: {error}; correct it"))
        };
        patterns.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
        self.0.iter().any(|pattern| pattern.matches_with(path, options))
    }

    /// Returns the folders to list so that all matches are found, none below another.
    pub(super) fn folders(&self) -> Vec<String> {
        let fixed = |pattern: &Pattern| {
            let text = pattern.as_str();
            let fixed = &text[..text.find(['*', '?', '[']).unwrap_or(text.len())];
            fixed.rfind('/').map_or(String::new(), |end| fixed[..end].to_owned())
        };
        let all: BTreeSet<String> = self.0.iter().map(fixed).collect();
        let is_below = |folder: &str, other: &str| {
            other.is_empty() || folder.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
        };
        let is_outermost =
            |folder: &&String| !all.iter().any(|other| other != *folder && is_below(folder, other));
        all.iter().filter(is_outermost).cloned().collect()
    }
}

/// Returns `true` if `path` leads downwards only and can be shown.
pub(super) fn is_safe_path(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES
        && !path.chars().any(|char| char.is_control() || char == '\\')
        && path.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

/// An entry of the hub's listing of a tree.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    /// Name of the Git object: the file, or what points to it in large file storage.
    oid: Option<String>,
    #[serde(default)]
    size: u64,
    lfs: Option<LargeFile>,
}

/// The hub's description of a file in large file storage.
#[derive(Deserialize)]
struct LargeFile {
    /// SHA-256 in hexadecimal.
    oid: String,
    size: u64,
}

/// Hands the files below `folder` of `id`, which names a commit, to `found`.
///
/// # Errors
///
/// Fails if the hub cannot be reached, or if its listing is malformed, contradicts itself or has no
/// end.
pub(super) fn list_tree(
    client: &HubClient,
    id: &HubId,
    folder: &str,
    mut found: impl FnMut(HubFile),
) -> Result<(), HubError> {
    let refuse =
        |reason: String| HubError::Answer { endpoint: client.endpoint().to_owned(), reason };
    let path = format!("api/datasets/{}/tree/{}", id.name(), id.revision());
    let mut url = format!("{}/{path}", client.endpoint());
    for name in folder.split('/').filter(|name| !name.is_empty()) {
        url.push('/');
        url.push_str(&escape(name));
    }
    url.push_str("?recursive=true");
    let mut entries = 0;
    loop {
        let (page, next): (Vec<Entry>, _) = client.json(RepoKind::Dataset, &url)?;
        entries += page.len();
        if entries > MAX_ENTRIES || (page.is_empty() && next.is_some()) {
            return Err(refuse(format!(
                "lists {entries} files of {id} without an end; name a folder by the files' patterns"
            )));
        }
        for entry in page.into_iter().filter(|entry| entry.kind == "file") {
            found(entry.into_file().map_err(refuse)?);
        }
        let Some(next) = next else { return Ok(()) };
        // The next page is asked of the same hub, whatever host the answer names.
        let at = next.find("/api/").ok_or_else(|| refuse("names a malformed next page".into()))?;
        url = format!("{}{}", client.endpoint(), &next[at..]);
    }
}

impl Entry {
    fn into_file(self) -> Result<HubFile, String> {
        let Self { path, size, lfs, oid, .. } = self;
        if !is_safe_path(&path) {
            return Err(format!("lists a file with the path {path:?}"));
        }
        let checksum = match (lfs, oid) {
            (Some(lfs), _) if lfs.size != size => {
                let other = lfs.size;
                return Err(format!("says that {path} has {size} bytes, and that it has {other}"));
            }
            (Some(lfs), _) => {
                let oid = lfs.oid.strip_prefix("sha256:").unwrap_or(&lfs.oid);
                Some(Checksum::Sha256(check_digest(oid, 64, "SHA-256", &path)?))
            }
            (None, Some(oid)) => Some(Checksum::GitBlob(check_digest(&oid, 40, "SHA-1", &path)?)),
            (None, None) => None,
        };
        Ok(HubFile { path, size: Some(size), checksum })
    }
}

/// Fails if `digest` has not this number of hexadecimal digits.
fn check_digest(digest: &str, digits: usize, name: &str, path: &str) -> Result<String, String> {
    if digest.len() == digits && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(digest.to_owned());
    }
    Err(format!("says that the {name} of {path} is {digest:?}"))
}

/// Escapes the name of a file or folder for an address.
pub(super) fn escape(name: &str) -> String {
    name.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::parse(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn formats_are_told_by_endings() {
        for (path, format) in [
            ("a/0000.parquet", Some(Format::Parquet)),
            ("c4-train.0.json.gz", Some(Format::Json)),
            ("x.jsonl.zst", Some(Format::Json)),
            ("x.jsonl", Some(Format::Json)),
            ("README.md", None),
            ("x.csv.gz", None),
            ("parquet", None),
        ] {
            assert_eq!(Format::of(path), format, "{path}");
        }
    }

    #[test]
    fn patterns_match_as_in_shells() {
        let all = patterns(&["en/c4-train.*.json.gz", "data/**/*.parquet"]);
        assert!(all.matches("en/c4-train.00000-of-01024.json.gz"));
        assert!(!all.matches("en/c4-validation.00000.json.gz"));
        assert!(!all.matches("en/sub/c4-train.0.json.gz"));
        assert!(all.matches("data/a/b/0.parquet"));
        assert_eq!(all.folders(), ["data", "en"]);
        assert!(Patterns::parse(&["a***".into()]).is_err_and(|text| text.contains("correct it")));
    }

    #[test]
    fn folders_to_list_are_outermost() {
        assert_eq!(patterns(&["a/b/*", "a/*", "ab/c/*"]).folders(), ["a", "ab/c"]);
        assert_eq!(patterns(&["*.jsonl", "a/b.jsonl"]).folders(), [""]);
    }

    #[test]
    fn entries_that_contradict_themselves_are_refused() {
        let entry = |path: &str, size, oid: &str| Entry {
            kind: "file".into(),
            path: path.into(),
            oid: Some("cd".repeat(20)),
            size: 5,
            lfs: Some(LargeFile { oid: oid.into(), size }),
        };
        let hash = "ab".repeat(32);
        let checksum = |entry: Entry| entry.into_file().unwrap().checksum;
        let large = Some(Checksum::Sha256(hash.clone()));
        assert_eq!(checksum(entry("a", 5, &format!("sha256:{hash}"))), large);
        assert!(entry("a", 6, &hash).into_file().unwrap_err().contains("5 bytes"));
        assert!(entry("a", 5, "ab").into_file().unwrap_err().contains("SHA-256"));
        let small = |oid: Option<&str>| Entry {
            oid: oid.map(str::to_owned),
            lfs: None,
            ..entry("a", 5, &hash)
        };
        let blob = "cd".repeat(20);
        assert_eq!(checksum(small(Some(&blob))), Some(Checksum::GitBlob(blob)));
        assert_eq!(checksum(small(None)), None);
        assert!(small(Some("cd")).into_file().unwrap_err().contains("the SHA-1 of a is \"cd\""));
        for path in ["../a", "a//b", "/a", "a/./b", "a\nb", ""] {
            assert!(entry(path, 5, &hash).into_file().is_err(), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn escaped_names_are_one_name(name in "\\PC{0,40}") {
            let escaped = escape(&name);
            prop_assert!(escaped.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(!escaped.contains(['/', '?', '#', ' ']));
        }
    }
}
