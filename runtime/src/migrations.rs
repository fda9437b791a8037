//! Changes of the layout of storage, run once in the first block of an upgraded runtime.
//!
//! A migration is a versioned module of its pallet. It is listed in [`Unreleased`] until a release
//! contains it, and removed one release later. [`Permanent`] holds what runs at every upgrade.

/// Migrations of the next release.
pub type Unreleased = ();
/// What runs at every upgrade.
pub type Permanent = ();
/// In the order in which they run.
pub type SingleBlockMigrations = (Unreleased, Permanent);
