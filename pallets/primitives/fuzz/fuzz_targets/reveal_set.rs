// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as a bitmap of reveals, and reports it to a count of stake.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check_reveal_set(bytes));
