// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as a frame of Zstandard.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::read("a.zst", b"\x28\xb5\x2f\xfd", bytes));
