// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as GGUF: metadata, names and all values.

#![no_main]

#[allow(dead_code, reason = "a target uses one of the two readers")]
#[path = "../../src/files/mod.rs"]
mod files;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((_, table)) = files::gguf::read(Box::new(bytes.to_vec())) {
        for entry in table.entries().values() {
            let _ = table.decode(entry);
        }
    }
});
