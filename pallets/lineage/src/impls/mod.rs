// SPDX-License-Identifier: Apache-2.0

//! Deposits, changes of shards, traits for other pallets, and queries of the runtime API.

mod deposits;
mod expiry;
mod queries;
mod shard_pool;
mod shards;

#[cfg(test)]
pub(crate) use expiry::MAX_CHUNKS;
