// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as members of gzip.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::read("a.gz", b"\x1f\x8b\x08", bytes));
