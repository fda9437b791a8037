// SPDX-License-Identifier: Apache-2.0

//! Parsers of strangers' bytes, as functions of any bytes.
//!
//! Each [`Target`] reads bytes by one parser, as a peer, a site, or a disk may hand them over, and
//! checks what holds of all bytes: nothing panics, what is read again is the same, sizes are
//! bounded, an accepted proof is about what is there. `scripts/fuzz.sh` runs them under libFuzzer.
//! The tests of this crate run them on their seeds and on damaged ones.

mod answers;
mod chain;
mod config;
mod formats;
mod keys;
mod network;
mod options;
mod receipts;
mod records;
mod synthesis;
mod web;
mod weights;

/// Parser, with inputs that it accepts.
pub struct Target {
    /// Name.
    pub name: &'static str,
    /// Reads bytes, and panics if a check fails. Returns `true` if they are valid.
    pub run: fn(&[u8]) -> bool,
    /// Returns valid inputs, from which others are made.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Returns all targets.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    [
        chain::TARGETS,
        config::TARGETS,
        formats::TARGETS,
        keys::TARGETS,
        network::TARGETS,
        options::TARGETS,
        receipts::TARGETS,
        records::TARGETS,
        synthesis::TARGETS,
        web::TARGETS,
        weights::TARGETS,
    ]
    .into_iter()
    .flatten()
}
