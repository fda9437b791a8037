//! What only this pallet stores.

use codec::{Decode, Encode, MaxEncodedLen};
use pol_primitives::{Balance, Hash, audit::Finding, sketch::Binding, submission::Included};
use scale_info::TypeInfo;

/// What a seat revealed: what it found, and where the recipe is native, what it says of the opened
/// ends.
pub type Found = (Finding, Option<Binding>);

/// A validator's attestation of the next head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Attested {
    /// Root of the head it computed.
    pub root: Hash,
    /// The updates it was computed from.
    pub included: Included,
    /// Stake that counts for it, as it was then.
    pub stake: Balance,
}

impl Attested {
    /// Names what was attested: attestations of the same head from the same updates share a digest.
    pub fn digest(&self) -> Hash {
        pol_primitives::digest(b"pol/attest/1", &(self.root, &self.included))
    }
}
