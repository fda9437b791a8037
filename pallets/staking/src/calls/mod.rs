// SPDX-License-Identifier: Apache-2.0

//! Bodies of the calls.

mod attesting;
mod authorities;
mod bonding;
