// SPDX-License-Identifier: Apache-2.0

//! The HTTP interface of a process: endpoints of its model, of the chain and its past, of its
//! machine and its work, and the dashboard, as far as the process has them.

#[cfg(test)]
mod any_train;
mod chain;
mod document_summary;
mod documents;
mod epoch;
mod local;
mod machine;
mod metrics;
mod options;
mod parts;
mod server;
#[cfg(test)]
mod tests;
mod train;

pub(crate) use chain::IndexedChain;
pub(crate) use documents::check_data;
pub(crate) use options::{ApiOptions, ApiPartOptions};
pub(crate) use server::{ApiParts, ApiServer, RunningApi};
