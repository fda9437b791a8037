// SPDX-License-Identifier: Apache-2.0

//! Description of a manifest.

use super::ManifestName;
use crate::{DataError, error::IoContext};
use pol_primitives::{
    Hash,
    data::{ManifestId, ManifestInfo, SourceKind},
    lineage::{Activity, Derivation, Retirement, RetirementReason},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{fs::File, io::Read, path::Path};

/// File of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Path below the folder of the data, with `/` between its parts.
    pub name: String,
    /// Address to fetch it from, if there is one.
    pub url: Option<String>,
    /// Media type.
    pub media: String,
    /// Length, in bytes.
    pub bytes: u64,
    /// SHA-256 of the contents.
    pub sha256: Hash,
    /// BLAKE3 of the contents, which is the address in the swarm.
    pub blake3: Hash,
}

impl FileFacts {
    /// Reads a file and hashes it.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub fn read(folder: &Path, name: &str, media: &str) -> Result<Self, DataError> {
        let path = folder.join(name);
        let mut file = File::open(&path).io_context("open", &path)?;
        let (mut sha256, mut blake3) = (Sha256::new(), blake3::Hasher::new());
        let (mut buffer, mut bytes) = (vec![0; 1 << 16], 0);
        loop {
            let read = file.read(&mut buffer).io_context("read", &path)?;
            let part = &buffer[..read];
            if part.is_empty() {
                break;
            }
            sha256.update(part);
            blake3.update(part);
            bytes += read as u64;
        }
        Ok(Self {
            name: name.into(),
            url: None,
            media: media.into(),
            bytes,
            sha256: sha256.finalize().into(),
            blake3: *blake3.finalize().as_bytes(),
        })
    }
}

/// Manifest that another one was derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentFacts {
    /// Id of the manifest.
    pub id: ManifestId,
    /// Content hash, unless the chain no longer keeps the manifest.
    pub content_hash: Option<Hash>,
}

/// Facts about a manifest.
#[derive(Clone, Debug)]
pub struct ManifestFacts<'a> {
    /// Hash of the first block of the chain, which names it.
    pub genesis: Hash,
    /// Id of the manifest.
    pub id: ManifestId,
    /// Registered description.
    pub info: &'a ManifestInfo,
    /// Kind of text, if it was admitted.
    pub kind: Option<SourceKind>,
    /// Account of the provider, as people write it.
    pub owner: &'a str,
    /// Address of the source.
    pub address: &'a str,
    /// Licence of the source, as an SPDX expression where it has one.
    pub licence: &'a str,
    /// Date of the registration, such as `2026-11-28`, if it is known.
    pub published: Option<&'a str>,
    /// Manifests that it was derived from.
    pub parents: &'a [ParentFacts],
    /// Conditions of use that the source states, beside its licence.
    pub usage: &'a [String],
    /// Decision by which it was retired.
    pub retirement: Option<Retirement>,
    /// Files.
    pub files: &'a [FileFacts],
}

/// Returns the description of a manifest in JSON-LD.
///
/// It has no more than the given facts, so that the same facts give the same description.
pub fn describe(facts: &ManifestFacts<'_>) -> Value {
    let ManifestFacts { genesis, id, info, owner, address, licence, .. } = facts;
    let iri = ManifestName::OnChain { genesis: *genesis, id: *id }.to_string();
    let side = if info.held_out { "held-out" } else { "training" };
    let mut description = json!({
        "@context": context(),
        "@type": "sc:Dataset",
        "@id": iri,
        "name": format!("pol-manifest-{id}"),
        "description": format!(
            "Manifest {id} of {side} text: {} shards of {} tokens, made from {address}.",
            info.shards, info.shard_tokens
        ),
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "version": "1.0.0",
        "url": if is_web_address(address) { (*address).to_owned() } else { iri },
        "license": licence_address(licence),
        "creator": { "@type": "Organization", "name": owner },
        "keywords": keywords(facts, side),
        "identifier": identifiers(info),
        "isLiveDataset": false,
        "distribution": facts.files.iter().map(describe_file).collect::<Vec<_>>(),
        "prov:wasDerivedFrom": origins(facts),
        "prov:wasGeneratedBy": describe_derivation(&info.derivation),
        "prov:wasAttributedTo": { "@type": "prov:Agent", "prov:label": owner },
    });
    if let Some(date) = facts.published {
        description["datePublished"] = date.into();
    }
    if !facts.usage.is_empty() {
        let condition = |name| json!({ "@type": "CreativeWork", "name": name });
        description["usageInfo"] = facts.usage.iter().map(condition).collect();
    }
    if let Some(retirement) = &facts.retirement {
        description["prov:wasInvalidatedBy"] = describe_retirement(retirement);
    }
    description
}

/// Returns the context that the specification recommends, as far as its terms are used here, and
/// that of provenance. The specification writes schema.org with `http`, and its validator accepts
/// only `https` (mlcroissant 1.1.1).
fn context() -> Value {
    json!({
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "dct": "http://purl.org/dc/terms/",
        "prov": "http://www.w3.org/ns/prov#",
        "conformsTo": "dct:conformsTo",
        "isLiveDataset": "cr:isLiveDataset",
    })
}

/// Returns `true` for an address that a browser can open.
fn is_web_address(address: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| address.starts_with(scheme))
}

/// Returns the address of a licence of the SPDX list, or the expression itself if it is another
/// one, or the statement that there is none or that none is known.
fn licence_address(licence: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-.+".contains(c);
    let is_listed = !["", "NONE", "NOASSERTION"].contains(&licence)
        && !licence.starts_with("LicenseRef-")
        && licence.chars().all(is_part);
    if is_listed { format!("{}{licence}.html", super::import::SPDX) } else { licence.into() }
}

fn keywords(facts: &ManifestFacts<'_>, side: &str) -> Vec<String> {
    let kind = facts.kind.map(|kind| format!("{kind:?}").to_lowercase());
    [Some("text".to_owned()), Some(side.to_owned()), kind].into_iter().flatten().collect()
}

fn hash_text(hash: &Hash) -> String {
    format!("0x{}", hex::encode(hash))
}

fn identifier(name: &str, value: String) -> Value {
    json!({ "@type": "PropertyValue", "propertyID": name, "value": value })
}

fn identifiers(info: &ManifestInfo) -> Vec<Value> {
    let mut all = vec![
        identifier(super::import::CONTENT_HASH, hash_text(&info.content_hash)),
        identifier("pol:merkleRoot", hash_text(&info.merkle_root)),
        identifier("pol:tokenizer", hash_text(&info.tokenizer)),
    ];
    if let Some(documents) = &info.documents {
        all.push(identifier("pol:documentsRoot", hash_text(&documents.root)));
        all.push(identifier("pol:documents", documents.count.to_string()));
    }
    all
}

fn describe_file(file: &FileFacts) -> Value {
    json!({
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.url.as_ref().unwrap_or(&file.name),
        "contentSize": format!("{} B", file.bytes),
        "encodingFormat": file.media,
        "sha256": hex::encode(file.sha256),
        "identifier": identifier("blake3", hash_text(&file.blake3)),
    })
}

/// Returns the source and the parents.
fn origins(facts: &ManifestFacts<'_>) -> Vec<Value> {
    let source = if is_web_address(facts.address) {
        json!({ "@id": facts.address })
    } else {
        json!({ "@type": "prov:Entity", "prov:label": facts.address })
    };
    let parent = |parent: &ParentFacts| {
        let name = ManifestName::OnChain { genesis: facts.genesis, id: parent.id };
        let mut entity = json!({ "@id": name.to_string() });
        if let Some(content_hash) = &parent.content_hash {
            entity["identifier"] = identifier(super::import::CONTENT_HASH, hash_text(content_hash));
        }
        entity
    };
    std::iter::once(source).chain(facts.parents.iter().map(parent)).collect()
}

fn describe_derivation(derivation: &Derivation) -> Value {
    let label = match derivation.activity {
        Activity::Collection => "collection",
        Activity::Selection => "selection",
        Activity::Transformation => "transformation",
        Activity::Generation => "generation",
        Activity::Sampling => "sampling",
    };
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    json!({
        "@type": "prov:Activity",
        "prov:label": label,
        "prov:wasAssociatedWith": {
            "@type": "prov:SoftwareAgent",
            "prov:label": text(&derivation.tool),
            "softwareVersion": text(&derivation.version),
        },
        "prov:used": { "@id": format!("urn:blake3:{}", hex::encode(derivation.configuration)) },
    })
}

fn describe_retirement(retirement: &Retirement) -> Value {
    let label = match retirement.reason {
        RetirementReason::OptOut => "retirement: opt-out",
        RetirementReason::Licence => "retirement: licence",
        RetirementReason::Quality => "retirement: quality",
        RetirementReason::Contamination => "retirement: contamination",
        RetirementReason::Unavailable => "retirement: unavailable",
        RetirementReason::Other => "retirement",
    };
    let mut activity = json!({ "@type": "prov:Activity", "prov:label": label });
    if let Some(evidence) = &retirement.evidence {
        activity["prov:used"] = json!({ "@id": format!("urn:blake3:{}", hex::encode(evidence)) });
    }
    activity
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::croissant::SourceDescription;
    use pol_primitives::lineage::{Documents, ToolName};

    fn info() -> ManifestInfo {
        ManifestInfo {
            source: 0,
            merkle_root: [1; 32],
            content_hash: [2; 32],
            tokenizer: [3; 32],
            shards: 5,
            shard_tokens: 64,
            parents: vec![1].try_into().unwrap(),
            quality: 0,
            held_out: false,
            derivation: Derivation {
                activity: Activity::Selection,
                tool: ToolName::truncate_from(b"pol-data".to_vec()),
                version: ToolName::truncate_from(b"0.1.0".to_vec()),
                configuration: [4; 32],
            },
            documents: Some(Documents { root: [5; 32], count: 7 }),
        }
    }

    /// Writes a description into the folder that POL_DESCRIPTIONS names, where
    /// `scripts/croissant-check.sh` has the reference implementation read it.
    fn keep(name: &str, description: &Value) {
        if let Some(folder) = std::env::var_os("POL_DESCRIPTIONS") {
            let path = Path::new(&folder).join(name).with_extension("json");
            std::fs::write(path, description.to_string()).unwrap();
        }
    }

    fn facts<'a>(info: &'a ManifestInfo, files: &'a [FileFacts]) -> ManifestFacts<'a> {
        ManifestFacts {
            genesis: [9; 32],
            id: 3,
            info,
            kind: Some(SourceKind::Web),
            owner: "5Grw",
            address: "https://example.org/texts",
            licence: "CC-BY-4.0",
            published: Some("2026-11-28"),
            parents: &[ParentFacts { id: 1, content_hash: Some([8; 32]) }],
            usage: &[],
            retirement: None,
            files,
        }
    }

    #[test]
    fn a_description_is_read_as_that_of_a_source() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("body.bin"), b"abc").unwrap();
        let mut file =
            FileFacts::read(folder.path(), "body.bin", "application/octet-stream").unwrap();
        // The digest of the example in FIPS 180-4.
        assert_eq!(hex::encode(&file.sha256[..4]), "ba7816bf");
        assert_eq!((file.bytes, file.blake3), (3, *blake3::hash(b"abc").as_bytes()));
        file.url = Some("https://example.org/body.bin".into());
        let info = info();
        let files = [file];
        let description = describe(&facts(&info, &files));
        keep("manifest-with-files", &description);
        let json = serde_json::to_vec(&description).unwrap();
        let read = SourceDescription::parse(&json).unwrap();
        assert_eq!(read.name, "pol-manifest-3");
        assert_eq!(read.licence.as_deref(), Some("CC-BY-4.0"));
        assert_eq!(read.address.as_deref(), Some("https://example.org/texts"));
        assert_eq!(read.content_hash, Some([2; 32]));
        assert_eq!(read.files[0].sha256, Some(files[0].sha256));
        assert_eq!(read.files[0].bytes, Some(3));
        let parent = ManifestName::OnChain { genesis: [9; 32], id: 1 };
        assert_eq!(read.parents, ["https://example.org/texts", &parent.to_string()]);
        assert!(matches!(
            FileFacts::read(folder.path(), "missing", "text/plain"),
            Err(DataError::Io { .. })
        ));
    }

    #[test]
    fn provenance_is_in_the_terms_of_prov() {
        let info = info();
        let retirement = Retirement {
            reason: RetirementReason::OptOut,
            evidence: Some([6; 32]),
            for_cause: false,
        };
        let usage = ["x-robots-tag: noai".to_owned()];
        let facts = ManifestFacts {
            address: "local",
            licence: "LicenseRef-Public-Domain",
            published: None,
            usage: &usage,
            retirement: Some(retirement),
            ..facts(&info, &[])
        };
        let unknown = describe(&ManifestFacts { licence: "NOASSERTION", ..facts.clone() });
        assert_eq!(unknown["license"], "NOASSERTION");
        let description = describe(&facts);
        keep("retired-manifest", &description);
        let activity = &description["prov:wasGeneratedBy"];
        assert_eq!(activity["prov:label"], "selection");
        assert_eq!(activity["prov:wasAssociatedWith"]["prov:label"], "pol-data");
        assert_eq!(activity["prov:used"]["@id"], format!("urn:blake3:{}", "04".repeat(32)));
        assert_eq!(description["prov:wasDerivedFrom"][0]["prov:label"], "local");
        assert_eq!(description["prov:wasInvalidatedBy"]["prov:label"], "retirement: opt-out");
        assert_eq!(description["usageInfo"][0]["name"], "x-robots-tag: noai");
        assert_eq!(description["license"], "LicenseRef-Public-Domain");
        let name = ManifestName::OnChain { genesis: [9; 32], id: 3 };
        assert_eq!(description["url"], name.to_string());
        assert_eq!(description.get("datePublished"), None);
    }
}
