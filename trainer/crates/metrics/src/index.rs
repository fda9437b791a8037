// SPDX-License-Identifier: Apache-2.0

//! The follower of an index of the past.

use crate::{Counter, Gauge, family::metrics};

metrics! {
    /// Follower of the chain that writes an index of its past.
    IndexFacts index "pol_index" {
        /// Height of the last block of the index.
        block_height: Gauge,
        /// Number of blocks that the node has and the index lacks.
        behind_blocks: Gauge,
        /// Time at which blocks were last added, in seconds since 1970; at first the start of the
        /// process.
        last_block_timestamp_seconds: Gauge,
        /// Blocks added to the index.
        blocks_total: Counter,
        /// Facts added to the index.
        facts_total: Counter,
        /// Blocks of other forks that were taken back from the index.
        retracted_blocks_total: Counter,
    }
}
