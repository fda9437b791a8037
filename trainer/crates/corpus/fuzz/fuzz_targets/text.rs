// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as an input of a format that is not known.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::read("a", b"", bytes));
