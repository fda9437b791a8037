// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as openings of commitments, and verifies their proofs.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check_openings(bytes));
