// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as lines and as an array of JSON.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    checks::read("a.jsonl", b"{\"text\": \"x\"}\n", bytes);
    checks::read("a.json", b"[{", bytes);
});
