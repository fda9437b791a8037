// SPDX-License-Identifier: Apache-2.0

//! Section `provider`: the account that registers the data of an acquisition, and its limits.

use super::{bounds::Mistakes, network::DEFAULT_BYTES};
use crate::options::SwarmOptions;
use pol_primitives::{Balance, POL, data::MAX_SHARDS};
use serde::Deserialize;
use std::{net::SocketAddr, path::PathBuf};

/// Registration and service of the data.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ProviderConfig {
    /// Addresses of nodes, unless the command line gives some.
    pub(super) node: Vec<String>,
    /// Key file of the account, unless the command line gives one.
    pub(super) key_file: Option<PathBuf>,
    /// Folder of the blobs that are served.
    pub(super) base_path: Option<PathBuf>,
    /// UDP address on which blobs are served.
    listen: SocketAddr,
    /// Addresses at which peers reach this machine, if they differ.
    advertise: Vec<SocketAddr>,
    /// Serve the shards. Otherwise another member has to.
    pub(super) serve: bool,
    /// Rounds whose use of text the network has to have ahead, before no more is drawn.
    pub(super) ahead_rounds: u32,
    /// Shards that it has to have ahead at least.
    pub(super) ahead_shards: u32,
    /// Most POL that deposits hold at a time.
    max_deposit: Option<u64>,
    /// Shards that a source which may grow has to fill before they are registered.
    pub(super) min_shards: u32,
    /// Shards of a manifest, after which the next one begins.
    pub(super) max_shards: u32,
    /// Register held-out manifests too.
    pub(super) held_out: bool,
    /// Go on serving shards that nobody needs any more.
    pub(super) archive: bool,
    /// Compare new data with what other providers registered.
    pub(super) compare: bool,
    /// Bytes that an update of their signatures fetches and writes.
    pub(super) compare_bytes: u64,
    /// Minutes that an update takes at most.
    pub(super) compare_minutes: u32,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            node: Vec::new(),
            key_file: None,
            base_path: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: Vec::new(),
            serve: true,
            ahead_rounds: 100,
            ahead_shards: 0,
            max_deposit: None,
            // The chain judges the effect of a manifest by as many shards at a time.
            min_shards: 256,
            max_shards: 4_096,
            held_out: true,
            archive: false,
            compare: true,
            compare_bytes: DEFAULT_BYTES,
            compare_minutes: 60,
        }
    }
}

impl ProviderConfig {
    /// Returns the paths in the section.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.key_file.iter_mut().chain(&mut self.base_path)
    }

    /// Adds what is wrong with the values.
    pub(super) fn check(&self, mistakes: &mut Mistakes) {
        let Self { ahead_rounds, ahead_shards, min_shards, max_shards, .. } = self;
        mistakes.require(*ahead_rounds > 0 || *ahead_shards > 0, || {
            "provider.ahead_rounds: with 0 and ahead_shards of 0 nothing would ever be drawn; \
             raise one of them"
                .into()
        });
        mistakes.require(self.max_deposit != Some(0), || {
            "provider.max_deposit: with 0 nothing would ever be registered; raise it, or leave it \
             out"
            .into()
        });
        for (field, value) in [
            ("compare_bytes", self.compare_bytes),
            ("compare_minutes", self.compare_minutes.into()),
        ] {
            mistakes.require(value > 0, || {
                format!(
                    "provider.{field}: with 0 nothing would ever be fetched; raise it, or set \
                     provider.compare to false"
                )
            });
        }
        mistakes.require((1..=MAX_SHARDS).contains(max_shards), || {
            format!("provider.max_shards: {max_shards} must be at least 1 and at most {MAX_SHARDS}")
        });
        mistakes.require(*max_shards == 0 || min_shards <= max_shards, || {
            format!(
                "provider.min_shards: {min_shards} is more than max_shards of {max_shards}; lower \
                 it"
            )
        });
    }

    /// Returns the addresses in the swarm.
    pub(super) fn swarm(&self) -> SwarmOptions {
        if self.serve {
            SwarmOptions { listen: self.listen, advertise: self.advertise.clone() }
        } else {
            SwarmOptions::fetch_only()
        }
    }

    /// Returns the most that deposits hold at a time.
    pub(super) fn max_deposit(&self) -> Option<Balance> {
        self.max_deposit.map(|amount| Balance::from(amount).saturating_mul(POL))
    }
}
