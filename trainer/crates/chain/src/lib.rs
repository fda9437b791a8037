//! The chain as seen from outside: typed reads, signed extrinsics, new blocks.
//!
//! [`Chain`] reads through the runtime API `PolApi` and writes through the calls in [`Call`].
//! Arguments and answers are the SCALE types of `pol-primitives`, so nothing is generated from a
//! node's metadata; metadata only gives calls their indices and errors their names. [`Signer`]
//! holds the key an account signs with.
//!
//! A node may restart at any time. Reads wait for it and go on; [`Chain::blocks`] resubscribes;
//! [`Chain::submit`] never lets one call take effect twice.
#![deny(missing_docs)]

mod account;
mod call;
mod client;
mod error;
mod signer;

pub use account::{AccountId, InvalidAccount, format_account, parse_account};
pub use call::Call;
pub use client::{BlockInfo, Chain, Submitted};
pub use error::ChainError;
pub use signer::{KeyError, Signer};
