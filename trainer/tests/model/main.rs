// SPDX-License-Identifier: Apache-2.0

//! `pol-trainer model`, `generate`, and `data ingest` with a model's tokenizer, as users run them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod adapting;
mod common;
mod generating;
mod importing;
mod ingesting;
