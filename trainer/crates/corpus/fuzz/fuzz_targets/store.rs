// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as a segment of a raw store.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::read_store(bytes));
