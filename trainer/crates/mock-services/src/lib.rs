// SPDX-License-Identifier: Apache-2.0

#![doc = include_str!("../README.md")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corpus;
mod hub;
mod library;
mod server;
mod services;
mod site;

pub use corpus::{Work, read_works};
pub use hub::{COMMIT, CONVERTED, HubData, gzip, parquet};
pub use library::{DATASET, Library};
pub use server::{Request, Response, Server};
pub use services::{arxiv_feed, stack_post};
