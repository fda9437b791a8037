// SPDX-License-Identifier: Apache-2.0

//! The real node and real trainers as separate processes, over several rounds: about eight minutes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod api;
mod configuration;
mod dashboard;
mod deceivers;
mod explaining;
mod faults;
mod forks;
mod governing;
mod harness;
mod index;
mod lineage;
mod mistakes;
mod monitoring;
mod process;
mod receipts;
mod rewrite;
mod sources;
mod survival;
mod top;
mod training;
mod verifying;

/// Text of the log of a trainer whose update is part of the model.
const INCLUDED: &str = "the update is part of the model";
