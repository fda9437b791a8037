// SPDX-License-Identifier: Apache-2.0

//! Payments from the pot and expiry, traits for other pallets, and queries of the runtime API.

mod expiry;
mod explanation;
mod payments;
mod payouts;
mod queries;
