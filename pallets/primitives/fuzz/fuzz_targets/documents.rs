// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as documents and as proofs about them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check_documents(bytes));
