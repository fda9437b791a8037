// SPDX-License-Identifier: Apache-2.0

//! `pol-trainer model`, `generate`, and `data`, as users run them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod acquiring;
mod adapting;
mod common;
mod drawing;
#[cfg(target_os = "linux")]
mod full_disk;
mod gathering;
mod generating;
mod importing;
mod ingesting;
mod prose;
mod receipts;
mod reproducing;
mod serving;
mod whole_tokenizer;
