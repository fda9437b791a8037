// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as a model of quality with a true digest.

#![no_main]

use pol_corpus::quality::QualityModel;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut sealed = [&b"pol-qual\x01"[..], bytes].concat();
    let digest = blake3::hash(&sealed);
    sealed.extend(digest.as_bytes());
    if let Ok(model) = QualityModel::read(&sealed) {
        assert_eq!(model.to_bytes(), sealed);
        model.score("A text of a few words.");
    }
});
