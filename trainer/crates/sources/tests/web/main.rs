// SPDX-License-Identifier: Apache-2.0

//! The client, the crawler and the feeds against local servers that behave as badly as they can.
#![allow(clippy::unwrap_used)]

mod crawl;
mod crawl_traps;
mod download;
mod feeds;
mod files;
mod fill;
mod hostile;
mod http;
mod server;
