// SPDX-License-Identifier: Apache-2.0

//! Changes of ledgers, traits for other pallets, and queries of the runtime API.

mod bonds;
mod election;
mod ledgers;
mod places;
mod queries;
