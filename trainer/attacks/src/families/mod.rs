// SPDX-License-Identifier: Apache-2.0

//! All families of attacks. Each has a page of its name in `docs/attacks`.

mod altered_recipe;
pub(crate) mod collusion;
mod copying;
mod equivocation;
mod false_accusation;
pub(crate) mod false_claims;
mod floods;
mod forks;
mod free_rider;
mod grinding;
pub(crate) mod honest_fleet;
mod inclusion;
mod interpolation;
mod invented_state;
mod lazy_validators;
mod low_precision;
mod malformed_bytes;
mod outages;
pub(crate) mod pay;
mod poisoning;
mod skipped_segments;
mod small_segments;
mod stale_state;
mod sybils;
mod timing;
mod tolerance_drift;
mod unwanted_data;
mod wrong_data;

use crate::scenario::Family;

/// All families, in the order of the index of `docs/attacks`.
pub(crate) static FAMILIES: [&Family; 28] = [
    &free_rider::FAMILY,
    &copying::FAMILY,
    &stale_state::FAMILY,
    &interpolation::FAMILY,
    &small_segments::FAMILY,
    &skipped_segments::FAMILY,
    &altered_recipe::FAMILY,
    &wrong_data::FAMILY,
    &invented_state::FAMILY,
    &poisoning::FAMILY,
    &tolerance_drift::FAMILY,
    &low_precision::FAMILY,
    &collusion::FAMILY,
    &lazy_validators::FAMILY,
    &sybils::FAMILY,
    &grinding::FAMILY,
    &timing::FAMILY,
    &false_claims::FAMILY,
    &false_accusation::FAMILY,
    &honest_fleet::FAMILY,
    &malformed_bytes::FAMILY,
    &floods::FAMILY,
    &forks::FAMILY,
    &inclusion::FAMILY,
    &unwanted_data::FAMILY,
    &outages::FAMILY,
    &pay::FAMILY,
    &equivocation::FAMILY,
];

/// Requirement for cheats that every audit finds.
const ALWAYS_INVALID: &str = "Every update is found invalid and costs 900 POL.";
/// Requirement for trainers that hide what an audit asks for.
const ALWAYS_WITHHELD: &str = "Every update counts as withheld and costs 200 POL.";
