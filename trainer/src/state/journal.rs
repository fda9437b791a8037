// SPDX-License-Identifier: Apache-2.0

use super::key::LeaseKey;
use pol_primitives::{Hash, RoundNumber, submission::Reveal};
use serde::{Deserialize, Serialize};

/// Progress of a lease, and everything needed to answer the audit of its update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// The lease.
    pub lease: LeaseKey,
    /// Round that the update is for.
    pub round: RoundNumber,
    /// Digest of the [contents](crate::data::contents) that the lease was trained on.
    #[serde(with = "pol_primitives::hex_hash")]
    pub contents: Hash,
    /// Hashes of the states at the segment boundaries so far, the start first.
    #[serde(with = "hashes")]
    pub leaves: Vec<Hash>,
    /// Mean loss of each segment so far, in nats per token.
    pub losses: Vec<f64>,
    /// Tokens per second of the training so far.
    pub speed: f64,
    /// Reveal of the update, present once it is packed. From then on the lease is never trained
    /// again.
    #[serde(with = "reveal")]
    pub reveal: Option<Reveal>,
}

impl Journal {
    /// Creates the journal of `lease`, due in `round`, which is trained on `contents` from a state
    /// with the leaf `start`.
    pub fn new(lease: LeaseKey, round: RoundNumber, contents: Hash, start: Hash) -> Self {
        let (leaves, losses) = (vec![start], Vec::new());
        Self { lease, round, contents, leaves, losses, speed: 0.0, reveal: None }
    }

    /// Returns the number of trained segments, which is also the number of the newest leaf.
    pub fn segments(&self) -> u16 {
        u16::try_from(self.losses.len()).unwrap_or(u16::MAX)
    }
}

/// Hashes as hexadecimal texts.
mod hashes {
    use pol_primitives::Hash;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        hashes: &[Hash],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hashes.iter().map(hex::encode))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Hash>, D::Error> {
        let parse = |text: &String| {
            pol_primitives::hex_hash::parse(text).ok_or_else(|| D::Error::custom("not a hash"))
        };
        Vec::<String>::deserialize(deserializer)?.iter().map(parse).collect()
    }
}

/// A reveal as the hexadecimal text of its SCALE encoding.
mod reveal {
    use codec::{Decode, Encode};
    use pol_primitives::submission::Reveal;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        reveal: &Option<Reveal>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        reveal.as_ref().map(|reveal| hex::encode(reveal.encode())).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Reveal>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let bytes = hex::decode(text).map_err(D::Error::custom)?;
        Reveal::decode(&mut &bytes[..]).map(Some).map_err(D::Error::custom)
    }
}
