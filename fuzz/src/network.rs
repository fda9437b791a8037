// SPDX-License-Identifier: Apache-2.0

//! Shards that members send, of which the signatures of a network's documents are made.

use crate::Target;
use pol_corpus::dedup::DedupConfig;
use pol_data::{
    DataError, EndOfText,
    network::{Fetched, ListedManifest, SignatureFolder, UpdateOptions, UpdateReport},
};
use pol_primitives::{
    Hash,
    data::ManifestInfo,
    lineage::{Activity, Derivation, ToolName},
    trace::merkle_root,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    slice,
    sync::LazyLock,
    time::Duration,
};

pub(crate) const TARGETS: &[Target] =
    &[Target { name: "network_signatures", run: signatures, seeds: signature_seeds }];

/// Token that ends a text. No text spells it.
const END: &str = "<end>";

/// Tokenizer of a letter for each token, and of the end.
static TOKENIZER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let names = ('a'..='z').map(String::from).chain([END.to_owned()]).zip(0u32..);
    let vocabulary = Value::Object(names.map(|(name, token)| (name, json!(token))).collect());
    let model = json!({ "type": "BPE", "vocab": vocabulary, "merges": [] });
    json!({ "version": "1.0", "added_tokens": [], "model": model }).to_string().into()
});

fn hash(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

/// Reads bytes as the shards of a manifest, behind the number of their tokens. They are signed or
/// refused, and the next time they are known.
fn signatures(bytes: &[u8]) -> bool {
    let Some((&shard_tokens, bytes)) = bytes.split_first() else { return false };
    let shards = bytes.chunks((usize::from(shard_tokens) + 1) * 2);
    let hashes: Vec<Hash> = shards.clone().map(hash).collect();
    let manifest = manifest(shard_tokens.into(), &hashes);
    let blobs: HashMap<Hash, Vec<u8>> = (shards.map(<[u8]>::to_vec))
        .chain([hashes.concat(), TOKENIZER.clone()])
        .map(|blob| (hash(&blob), blob))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let first = update(folder.path(), &manifest, &blobs);
    assert_eq!(first.compared + first.skipped.len() as u64, 1);
    assert!(first.documents <= bytes.len() as u64);
    let again = update(folder.path(), &manifest, &blobs);
    assert_eq!((again.compared, again.documents), (first.compared, first.documents));
    assert!(!again.has_changed && again.skipped.iter().all(|skipped| !skipped.is_new));
    first.compared == 1
}

fn manifest(shard_tokens: u32, hashes: &[Hash]) -> ListedManifest {
    let info = ManifestInfo {
        source: 0,
        merkle_root: merkle_root(hashes),
        content_hash: hash(&hashes.concat()),
        tokenizer: hash(&TOKENIZER),
        shards: hashes.len() as u32,
        shard_tokens,
        parents: Default::default(),
        quality: 0,
        held_out: false,
        derivation: Derivation {
            activity: Activity::Collection,
            tool: ToolName::default(),
            version: ToolName::default(),
            configuration: [0; 32],
        },
        documents: None,
    };
    ListedManifest { id: 0, owner: [1; 32], info }
}

fn update(
    folder: &Path,
    manifest: &ListedManifest,
    blobs: &HashMap<Hash, Vec<u8>>,
) -> UpdateReport {
    let path = folder.join("network");
    let mut signatures = SignatureFolder::new(path, [1; 32], DedupConfig::default());
    let options = UpdateOptions {
        tokenizer: None,
        end_of_text: EndOfText::Named(END.into()),
        max_bytes: u64::MAX,
        max_time: Duration::MAX,
        turn: Duration::MAX,
        retry: false,
        now: 0,
    };
    let mut fetch = |_: &ListedManifest, hashes: &[Hash], _: u64| {
        let blobs = hashes.iter().map(|hash| blobs.get(hash).cloned().unwrap_or_default());
        Ok::<_, DataError>(Fetched::Blobs(blobs.collect()))
    };
    let listed = slice::from_ref(manifest);
    let updated = signatures.update(listed, &BTreeSet::new(), &options, &mut fetch);
    updated.expect("the disk can be written")
}

fn signature_seeds() -> Vec<Vec<u8>> {
    let token = |letter| if letter == b'.' { 26 } else { u16::from(letter - b'a') };
    let shards = |texts: &str| -> Vec<u8> {
        texts.bytes().flat_map(|letter| token(letter).to_le_bytes()).collect()
    };
    // A shard ends with the first token of the next one.
    let two = [&[4][..], &shards("abc.dddef.")].concat();
    vec![two, [&[2][..], &shards("a.a")].concat()]
}
