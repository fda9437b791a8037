// SPDX-License-Identifier: Apache-2.0

//! The commands of `pol-trainer`, each with its options.

mod acquire;
pub(crate) mod adapt;
mod admission;
mod balances;
pub(crate) mod beacon;
pub(crate) mod bench;
pub(crate) mod calibrate;
mod consumption;
pub(crate) mod data;
mod data_report;
mod decoder;
mod describe;
mod drawing;
mod earnings;
pub(crate) mod generate;
pub(crate) mod governance;
mod ingest;
pub(crate) mod keys;
mod membership;
pub(crate) mod model;
mod model_report;
pub(crate) mod observe;
mod picture;
mod preset;
mod progress;
pub(crate) mod propose;
mod prove;
pub(crate) mod recipe;
mod redraw;
mod registration;
pub mod run;
pub(crate) mod status;
mod text_model;
mod trace;
mod train_quality;
pub(crate) mod verify_head;
