// SPDX-License-Identifier: Apache-2.0

//! Bodies of the calls.

mod admission;
mod manifests;
mod sources;
