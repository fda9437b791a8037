// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as records of a crawler.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::read("a.warc", b"WARC/1.0\r\n", bytes));
