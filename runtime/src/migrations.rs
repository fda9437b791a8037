// SPDX-License-Identifier: Apache-2.0

//! Migrations of storage, which run in the first block of an upgraded runtime.
//!
//! A migration is a versioned module of its pallet. It is listed in [`Unreleased`] until a release
//! contains it, and removed one release later. [`Permanent`] holds those that run at every upgrade.

#![warn(missing_docs)]

/// Migrations of the next release.
pub type Unreleased = ();
/// Migrations that run at every upgrade.
pub type Permanent = ();
/// All migrations, in the order in which they run.
pub type SingleBlockMigrations = (Unreleased, Permanent);
