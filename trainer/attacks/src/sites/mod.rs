// SPDX-License-Identifier: Apache-2.0

//! A network of several sites on this machine, which can be parted and joined again.

mod links;
mod network;

pub(crate) use links::enter_private_network;
pub(crate) use network::{SitesNetwork, members};
