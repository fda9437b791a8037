// SPDX-License-Identifier: Apache-2.0

//! Certificates are checked without harm, and one that holds proves its own text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pol_synthesis::Certificate;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(certificate) = serde_json::from_slice::<Certificate>(bytes)
        && let Ok(text) = certificate.proved_text()
    {
        assert_eq!(certificate.verify(text.as_bytes()), Ok(()));
    }
});
