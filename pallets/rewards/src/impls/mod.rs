// SPDX-License-Identifier: Apache-2.0

//! Payments from the pot, traits for other pallets, and queries of the runtime API.

mod payments;
mod payouts;
mod queries;
