// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as rows of a table.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::read("a.csv", b"id,text\n", bytes));
