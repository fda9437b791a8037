// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as a Parquet file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::read(
    "a.parquet",
    b"PAR1",
    &[bytes, b"PAR1"].concat()
));
