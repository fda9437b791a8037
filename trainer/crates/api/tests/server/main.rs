// SPDX-License-Identifier: Apache-2.0

//! The server over real sockets, with tiny models.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access;
mod any_bytes;
mod any_json;
mod client;
mod connections;
mod experts;
mod faults;
mod forms;
mod functions;
mod generating;
mod load;
mod memory;
mod models;
mod older;
mod openai;
mod receipts;
mod spans;
