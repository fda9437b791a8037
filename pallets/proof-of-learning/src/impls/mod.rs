// SPDX-License-Identifier: Apache-2.0

//! Work of the hooks, interfaces to other pallets and queries of the runtime API, by topic.

mod admission;
mod audits;
mod clock;
mod excisions;
mod expiry;
mod heads;
mod leases;
mod metrics;
mod places;
mod queries;
mod recipes;
mod rounds;
mod traits;
mod work;
