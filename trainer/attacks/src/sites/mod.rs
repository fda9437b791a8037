// SPDX-License-Identifier: Apache-2.0

//! A network of several sites on this machine, which can be parted and joined again.

mod clock;
mod disk;
mod links;
mod network;
mod relay;
mod wires;

pub(crate) use clock::can_shift_clocks;
pub(crate) use disk::Disk;
pub(crate) use links::enter_private_network;
pub(crate) use network::{AUTHORITIES, DOUBLED_SITE, SitesNetwork, VALIDATORS, members, strangers};
pub(crate) use relay::relay_slowly;
pub(crate) use wires::Quality;
