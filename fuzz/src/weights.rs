// SPDX-License-Identifier: Apache-2.0

//! Files of weights: GGUF and safetensors. All values of a file that is accepted are decoded.

use crate::Target;
use files::{TensorTable, gguf, safetensors};
use std::{fs, path::Path};

// The crate around it would bring libtorch.
#[allow(dead_code, unreachable_pub, reason = "a module of another crate")]
#[path = "../../trainer/crates/import/src/files/mod.rs"]
mod files;

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "gguf", run: read_gguf, seeds: || fixtures("gguf") },
    Target { name: "safetensors", run: read_safetensors, seeds: || fixtures("safetensors") },
];

fn read_gguf(bytes: &[u8]) -> bool {
    gguf::read(Box::new(bytes.to_vec())).is_ok_and(|(_, table)| decode(&table, bytes))
}

fn read_safetensors(bytes: &[u8]) -> bool {
    safetensors::read(Box::new(bytes.to_vec())).is_ok_and(|table| decode(&table, bytes))
}

/// Decodes all values. At most 128 take 18 bytes of the file.
fn decode(table: &TensorTable, bytes: &[u8]) -> bool {
    let mut values = 0;
    for entry in table.entries().values() {
        values += table.decode(entry).map_or(0, |decoded| decoded.len());
    }
    assert!(values <= 8 * bytes.len(), "{values} values");
    true
}

/// Returns the small files with an ending among the fixtures of the readers.
fn fixtures(ending: &str) -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../trainer/crates/import/tests/fixtures");
    let mut paths: Vec<_> = fs::read_dir(Path::new(folder))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}
