// SPDX-License-Identifier: Apache-2.0

//! Services of the Web and hubs of data sets, as local servers that answer in their shapes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod connectors;
mod hub;
mod hub_errors;
mod sink;
mod web;
