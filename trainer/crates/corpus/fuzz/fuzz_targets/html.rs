// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as a web page.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::read("a.html", b"<html>", bytes));
