// SPDX-License-Identifier: Apache-2.0

//! Descriptions of sources.

use super::{
    records::{DescribedRecords, records},
    terms::{invalid, is_term, items, text, texts},
};
use crate::DataError;
use pol_primitives::{Hash, hex_hash};
use serde_json::{Map, Value};

/// Largest description, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 4 << 20;
/// Addresses of licences in the SPDX list.
pub(super) const SPDX: &str = "https://spdx.org/licenses/";
/// Identifier of a manifest.
pub(super) const CONTENT_HASH: &str = "pol:contentHash";
/// Versions of the format that are read.
const VERSIONS: [&str; 2] =
    ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/1.1"];
/// File of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedFile {
    /// Name within the description.
    pub id: String,
    /// Address on the web, or path below the address of the description. A set of files has none.
    pub location: Option<String>,
    /// File or repository that holds it.
    pub contained_in: Vec<String>,
    /// Patterns of the names of the files of a set.
    pub includes: Vec<String>,
    /// Patterns of names that are not of the set.
    pub excludes: Vec<String>,
    /// Media type.
    pub media: Option<String>,
    /// Length in bytes, if it is stated in bytes.
    pub bytes: Option<u64>,
    /// SHA-256 of the contents.
    pub sha256: Option<Hash>,
}

/// Description of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDescription {
    /// Name.
    pub name: String,
    /// Description in words.
    pub description: Option<String>,
    /// Address on the web.
    pub address: Option<String>,
    /// Licence, as an SPDX identifier if it is on the list. Several are joined by `AND`.
    pub licence: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Files.
    pub files: Vec<DescribedFile>,
    /// Records in the files.
    pub records: Vec<DescribedRecords>,
    /// Content hash, if it is a manifest of a chain.
    pub content_hash: Option<Hash>,
    /// Names of what it was derived from.
    pub parents: Vec<String>,
    /// Conditions of use.
    pub usage: Vec<String>,
}

impl SourceDescription {
    /// Reads a description.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are longer than [`MAX_DESCRIPTION_BYTES`], if they are no description of
    /// a data set in version 1.0 or 1.1, or if a file has an address or a digest of another form.
    pub fn parse(json: &[u8]) -> Result<Self, DataError> {
        if json.len() > MAX_DESCRIPTION_BYTES {
            return Err(invalid(format!("{} bytes are too many", json.len())));
        }
        let value: Value =
            serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
        let Value::Object(object) = &value else { return Err(invalid("it is no object".into())) };
        let is_data_set =
            texts(object, "@type", "@id")?.iter().any(|kind| is_term(kind, "Dataset"));
        if !is_data_set {
            return Err(invalid("it describes no sc:Dataset".into()));
        }
        let versions = texts(object, "conformsTo", "@id")?;
        if !versions.iter().any(|version| VERSIONS.contains(&version.as_str())) {
            return Err(invalid(format!(
                "it conforms to {versions:?} and not to version 1.0 or 1.1 of the format"
            )));
        }
        let address = text(object, "url", "@id")?.filter(|address| is_web_address(address));
        let licences = texts(object, "license", "url")?;
        let licences: Vec<_> = licences.iter().map(|address| licence_name(address)).collect();
        Ok(Self {
            name: text(object, "name", "@value")?
                .ok_or_else(|| invalid("it has no name".into()))?,
            description: text(object, "description", "@value")?,
            address,
            licence: Some(licences.join(" AND ")).filter(|licence| !licence.is_empty()),
            version: text(object, "version", "@value")?,
            files: items(object, "distribution")?.map(file).collect::<Result<_, _>>()?,
            records: items(object, "recordSet")?.map(records).collect::<Result<_, _>>()?,
            content_hash: content_hash(object)?,
            parents: texts(object, "prov:wasDerivedFrom", "@id")?,
            usage: texts(object, "usageInfo", "name")?,
        })
        .and_then(|source| {
            if source.files.is_empty() {
                Err(invalid("it lists no files".into()))
            } else {
                Ok(source)
            }
        })
    }
}

/// Returns `true` for an address of HTTP without spaces.
fn is_web_address(address: &str) -> bool {
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    let is_graphic = |c: char| !c.is_whitespace() && !c.is_control();
    rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_graphic))
}

/// Returns `true` for a path that stays below where it starts.
fn is_relative_path(path: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part != ".."
            && !part.contains(['\\', ':'])
            && !part.contains(char::is_control)
    };
    path.split('/').all(is_part)
}

/// Returns the SPDX identifier of an address of the list, or the text as it is.
fn licence_name(licence: &str) -> String {
    let http = "http://spdx.org/licenses/";
    let name = licence.strip_prefix(SPDX).or_else(|| licence.strip_prefix(http));
    name.map_or(licence, |name| name.trim_end_matches(".html")).to_owned()
}

/// Returns the content hash of a manifest.
fn content_hash(object: &Map<String, Value>) -> Result<Option<Hash>, DataError> {
    for identifier in items(object, "identifier")?.filter_map(Value::as_object) {
        if text(identifier, "propertyID", "@id")?.as_deref() == Some(CONTENT_HASH) {
            let hash = text(identifier, "value", "@value")?;
            let hash = hash.and_then(|hash| hex_hash::parse(&hash));
            return hash.map(Some).ok_or_else(|| {
                invalid(format!("its {CONTENT_HASH} is not 64 hexadecimal digits"))
            });
        }
    }
    Ok(None)
}

/// Returns the number of bytes of a size. It is `None` inside if the size is rounded to a larger
/// unit, as people write it, and `None` outside if the text is no size.
fn content_size(text: &str) -> Option<Option<u64>> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    if matches!(unit.as_str(), "" | "b" | "byte" | "bytes") {
        return number.parse().ok().map(Some);
    }
    let is_unit =
        unit.len() == 1 || unit.ends_with('b') || unit.trim_end_matches('s').ends_with("byte");
    let is_rounded = unit.starts_with(['k', 'm', 'g', 't', 'p']) && is_unit;
    (is_rounded && number.parse::<f64>().is_ok()).then_some(None)
}

/// Reads an item of the distribution.
fn file(value: &Value) -> Result<DescribedFile, DataError> {
    let Value::Object(object) = value else {
        return Err(invalid("an item of its distribution is no object".into()));
    };
    let id = text(object, "@id", "@id")?.or(text(object, "name", "@value")?);
    let id = id.ok_or_else(|| invalid("a file has neither an @id nor a name".into()))?;
    let kinds = texts(object, "@type", "@id")?;
    let is_set = kinds.iter().any(|kind| is_term(kind, "FileSet"));
    if !is_set && !kinds.iter().any(|kind| is_term(kind, "FileObject")) {
        return Err(invalid(format!("{id} is neither a cr:FileObject nor a cr:FileSet")));
    }
    let location = text(object, "contentUrl", "@id")?;
    let is_location = |location: &String| is_web_address(location) || is_relative_path(location);
    if !location.as_ref().is_none_or(is_location) {
        return Err(invalid(format!(
            "{id} has an address that is neither one of HTTP nor a path below the description"
        )));
    }
    let contained_in = texts(object, "containedIn", "@id")?;
    if location.is_none() && contained_in.is_empty() {
        return Err(invalid(format!("{id} has no contentUrl and is contained in nothing")));
    }
    let sha256 = text(object, "sha256", "@value")?
        .map(|digits| {
            hex_hash::parse(&digits)
                .ok_or_else(|| invalid(format!("{id} has a sha256 that is not 64 digits")))
        })
        .transpose()?;
    let bytes = match text(object, "contentSize", "@value")? {
        Some(size) => content_size(&size).ok_or_else(|| {
            invalid(format!("{id} has a contentSize of {size:?}; write bytes, such as \"25 B\""))
        })?,
        None => None,
    };
    Ok(DescribedFile {
        location,
        contained_in,
        includes: texts(object, "includes", "@value")?,
        excludes: texts(object, "excludes", "@value")?,
        media: text(object, "encodingFormat", "@value")?,
        bytes,
        sha256,
        id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Returns a description as hubs write them: a repository and the files in it.
    fn example() -> Value {
        json!({
            "@context": { "@vocab": "https://schema.org/" },
            "@type": "sc:Dataset",
            "name": "stories",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "license": ["https://spdx.org/licenses/CC-BY-4.0.html", "ODC-By-1.0"],
            "url": "https://example.org/stories",
            "version": 2,
            "prov:wasDerivedFrom": { "@id": "urn:dataset:books" },
            "usageInfo": { "@type": "DefinedTerm", "name": "General Research Use" },
            "distribution": [
                {
                    "@type": "cr:FileObject",
                    "@id": "repo",
                    "contentUrl": "https://example.org/stories.git",
                    "encodingFormat": "git+https",
                },
                {
                    "@type": "cr:FileSet",
                    "@id": "parquet",
                    "containedIn": { "@id": "repo" },
                    "includes": "default/*/*.parquet",
                },
                {
                    "@type": "cr:FileObject",
                    "@id": "stories.txt",
                    "contentUrl": "data/stories.txt",
                    "contentSize": "25 B",
                    "sha256": "07".repeat(32),
                },
            ],
        })
    }

    fn parse(value: &Value) -> Result<SourceDescription, DataError> {
        SourceDescription::parse(&serde_json::to_vec(value).unwrap())
    }

    #[test]
    fn a_hub_s_description_is_read() {
        let source = parse(&example()).unwrap();
        assert_eq!((source.name.as_str(), source.version.as_deref()), ("stories", Some("2")));
        assert_eq!(source.licence.as_deref(), Some("CC-BY-4.0 AND ODC-By-1.0"));
        assert_eq!(source.parents, ["urn:dataset:books"]);
        assert_eq!(source.usage, ["General Research Use"]);
        assert_eq!(source.files.len(), 3);
        let [_, set, file] = &source.files[..] else { panic!("three files") };
        assert_eq!((&set.contained_in[..], &set.location), (&["repo".to_owned()][..], &None));
        assert_eq!(set.includes, ["default/*/*.parquet"]);
        assert_eq!((file.bytes, file.sha256), (Some(25), Some([7; 32])));
    }

    #[test]
    fn sizes_are_in_bytes_or_rounded() {
        for (size, bytes) in [
            (json!(25), Some(25)),
            (json!("25"), Some(25)),
            (json!("25 bytes"), Some(25)),
            (json!("1.2 GB"), None),
            (json!("3 MiB"), None),
            (json!("70k"), None),
            (json!("5 Megabytes"), None),
            (json!(null), None),
        ] {
            let mut other = example();
            other["distribution"][2]["contentSize"] = size;
            assert_eq!(parse(&other).unwrap().files[2].bytes, bytes, "{other}");
        }
    }

    #[test]
    fn descriptions_that_cannot_be_used_say_why() {
        let refused = |path: &str, value: Value, reason: &str| {
            let mut other = example();
            match other.pointer_mut(path) {
                Some(place) => *place = value,
                None => panic!("{path}"),
            }
            let error = parse(&other).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        refused("", json!([]), "no object");
        refused("/@type", json!("sc:Book"), "no sc:Dataset");
        refused("/conformsTo", json!("http://mlcommons.org/croissant/9"), "not to version");
        refused("/name", json!(null), "no name");
        refused("/name", json!(["a", "b"]), "several values");
        refused("/name", json!("a\0"), "NUL");
        refused("/distribution", json!([]), "no files");
        refused("/distribution/0", json!("x"), "no object");
        refused("/distribution/0/@id", json!(null), "neither an @id");
        refused("/distribution/0/@type", json!("cr:Field"), "neither a cr:FileObject");
        refused("/distribution/1/containedIn", json!([]), "contained in nothing");
        refused("/distribution/2/sha256", json!("07"), "64 digits");
        for size in ["much", "-5 B", "2.5 B", "B", "1.2.3 MB", "5 miles", "", "9e9"] {
            refused("/distribution/2/contentSize", json!(size), "stories.txt has a contentSize");
        }
        for address in ["../up", "/etc/passwd", "file:///x", "https://", "https://a b", "a\\b", ""]
        {
            refused("/distribution/2/contentUrl", json!(address), "has an address");
        }
        refused("/distribution", json!(vec![0; 10_001]), "more than 10000");
        let long = vec![b' '; MAX_DESCRIPTION_BYTES + 1];
        let error = SourceDescription::parse(&long).unwrap_err();
        assert!(error.to_string().contains("too many"));
        let nested = "[".repeat(100_000);
        assert!(SourceDescription::parse(nested.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text: String) {
            let _ = SourceDescription::parse(&bytes);
            let mut other = example();
            other["distribution"][2]["contentUrl"] = text.clone().into();
            other["license"] = text.into();
            let _ = parse(&other);
        }
    }
}
