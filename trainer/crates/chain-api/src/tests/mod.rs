// SPDX-License-Identifier: Apache-2.0

//! Tests of the endpoints over a socket, with an index of made blocks and without a node.

mod any_text;
mod client;
mod events;
mod faults;
mod learning;
mod made;
mod money;
mod network;
mod pages;
