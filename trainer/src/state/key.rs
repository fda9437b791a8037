// SPDX-License-Identifier: Apache-2.0

//! Names of leases and audits in the state folder.
//!
//! A fork of the chain can give another lease the same nonce, or another audit the same identifier.
//! So names bind the contents, and work for one is never taken for that of the other.

use pol_chain::AccountId;
use pol_primitives::{
    Hash,
    audit::{Audit, AuditId},
    hex_hash,
    lease::Lease,
};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// Name of a lease: its nonce, and the digest of the whole lease.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct LeaseKey {
    /// Nonce of the lease.
    pub nonce: u32,
    digest: Hash,
}

impl LeaseKey {
    /// Returns the name of `lease`.
    pub fn of(lease: &Lease) -> Self {
        Self { nonce: lease.nonce, digest: lease.hash() }
    }

    /// Returns the digest of the whole lease.
    pub fn digest(&self) -> &Hash {
        &self.digest
    }
}

/// Name of an audit: its identifier, and the digest of its draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditKey {
    /// Identifier of the audit.
    pub id: AuditId,
    digest: Hash,
}

impl AuditKey {
    /// Returns the name of `audit`, which has the identifier `id`. It stays the same from stage to
    /// stage.
    pub fn of(id: AuditId, audit: &Audit<AccountId>) -> Self {
        let cases: Vec<_> = audit
            .cases
            .iter()
            .map(|case| (case.trainer, case.index, &case.segments, &case.seats))
            .collect();
        let draw = (audit.round, audit.draw, audit.seed, &audit.probe, cases);
        Self { id, digest: pol_primitives::digest(b"pol/trainer/audit/1", &draw) }
    }

    /// Returns `true` if the audit is over at a block where the audits `open` are: it is not among
    /// them, and a later one is, or another one with its number.
    ///
    /// That it is not open says too little: a node that lags does not know it yet.
    pub fn is_over(&self, open: &BTreeSet<Self>) -> bool {
        !open.contains(self) && open.last().is_some_and(|newest| newest.id >= self.id)
    }
}

/// Error of a text that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a number and a digest")]
pub struct InvalidKey;

fn parse(text: &str) -> Result<(u32, Hash), InvalidKey> {
    let (number, digest) = text.split_once('-').ok_or(InvalidKey)?;
    let digest = hex_hash::parse(digest).filter(|hash| hex::encode(hash) == digest);
    Ok((number.parse().map_err(|_| InvalidKey)?, digest.ok_or(InvalidKey)?))
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.nonce, hex::encode(self.digest))
    }
}

impl FromStr for LeaseKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        parse(text).map(|(nonce, digest)| Self { nonce, digest })
    }
}

impl From<LeaseKey> for String {
    fn from(key: LeaseKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for LeaseKey {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        text.parse()
    }
}

impl fmt::Display for AuditKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.id, hex::encode(self.digest))
    }
}

impl FromStr for AuditKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        parse(text).map(|(id, digest)| Self { id, digest })
    }
}
