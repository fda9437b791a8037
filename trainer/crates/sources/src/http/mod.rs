// SPDX-License-Identifier: Apache-2.0

//! HTTP for reading the public web: guarded, polite, and within limits.
//!
//! - Only addresses on the public internet are connected to, after each redirect and each answer
//!   of a name server.
//! - Headers and bodies are limited in size, time, and rate, compressed ones after unpacking too.
//! - Requests to a host are kept apart in time. A server that is busy is left alone for as long as
//!   it asks.
//! - The client says who runs it.

mod body;
mod client;
mod download;
mod guard;
mod message;
mod pace;

pub(crate) use body::gunzip_start;
pub use body::{Body, MinRate, gunzip};
#[doc(hidden)]
pub use client::Answers;
pub use client::{AGENT, HttpClient, HttpOptions};
pub use download::{DownloadError, Downloaded, Stated};
pub use guard::{Lookup, SystemLookup, is_public};
pub(crate) use message::unix_seconds;
pub use message::{FetchError, Request, Response, Validators};
