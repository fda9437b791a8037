// SPDX-License-Identifier: Apache-2.0

//! Updates of a round, whose payloads need not be in memory.

use crate::EngineError;
use pol_primitives::{
    Hash,
    payload::{CHUNK_SIZE, Chunk, InvalidPayload, Payload, encoded_size},
};
use std::io::{self, Read};

/// Parameters whose chunks are decoded at a time.
const PIECE: u64 = 256 * CHUNK_SIZE as u64;

/// An update of a round, as aggregation takes it.
pub trait Update {
    /// Returns the number of rounds by which the update is late.
    fn staleness(&self) -> u8;

    /// Returns the number of tokens that the chain credits to the update: its work.
    fn tokens(&self) -> u64;

    /// Calls `visit` with all chunks of the payload, in order. Every call visits the same.
    ///
    /// # Errors
    ///
    /// Fails if the payload is not of a model of `values` parameters and a recipe that keeps
    /// `top_k` values of each chunk, or if it cannot be read.
    fn for_each_chunk(
        &self,
        top_k: u16,
        values: u64,
        visit: impl FnMut(&Chunk),
    ) -> Result<(), EngineError>;
}

/// An update in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundUpdate {
    /// Change of the parameters.
    pub payload: Payload,
    /// Number of rounds by which the update is late.
    pub staleness: u8,
    /// Number of tokens that the chain credits to the update: its work.
    pub tokens: u64,
}

impl Update for RoundUpdate {
    fn staleness(&self) -> u8 {
        self.staleness
    }

    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn for_each_chunk(
        &self,
        top_k: u16,
        values: u64,
        visit: impl FnMut(&Chunk),
    ) -> Result<(), EngineError> {
        check_payload(&self.payload, top_k, values)?;
        self.payload.chunks.iter().for_each(visit);
        Ok(())
    }
}

/// Fails for a payload of another model or recipe.
pub(crate) fn check_payload(payload: &Payload, top_k: u16, values: u64) -> Result<(), EngineError> {
    let chunks = payload.chunks.len() as u64;
    let fits = payload.values == values && chunks == values.div_ceil(CHUNK_SIZE as u64);
    if fits && payload.top_k == top_k {
        Ok(())
    } else {
        Err(EngineError::WrongModel { expected: values, found: payload.values })
    }
}

/// Calls `visit` with all chunks of the encoded payload `hash` that `reader` reads, in order. A
/// part of it is in memory at a time.
///
/// # Errors
///
/// Fails with [`EngineError::BlobRead`] if the bytes cannot be read, and with
/// [`EngineError::Payload`] if they are not a payload of a model of `values` parameters and a
/// recipe that keeps `top_k` values of each chunk.
pub fn read_payload(
    hash: &Hash,
    mut reader: impl Read,
    top_k: u16,
    values: u64,
    mut visit: impl FnMut(&Chunk),
) -> Result<(), EngineError> {
    let invalid = |reason| EngineError::Payload { hash: *hash, reason };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof => invalid(InvalidPayload::Length),
        _ => EngineError::BlobRead { hash: *hash, source },
    };
    // A payload without chunks is the header of one with them.
    let header = |values| Payload { top_k, values, chunks: Vec::new() }.encode();
    let mut bytes = vec![0; header(values).len()];
    reader.read_exact(&mut bytes).map_err(failed)?;
    if bytes != header(values) {
        return Err(invalid(InvalidPayload::Shape));
    }
    let mut left = values;
    while left > 0 {
        // So some chunks with a header of their own are a payload of fewer parameters.
        let part = left.min(PIECE);
        bytes = header(part);
        let start = bytes.len();
        bytes.resize(encoded_size(top_k, part) as usize, 0);
        reader.read_exact(&mut bytes[start..]).map_err(failed)?;
        let payload = Payload::decode(&bytes, top_k, part).map_err(invalid)?;
        payload.chunks.iter().for_each(&mut visit);
        left -= part;
    }
    match reader.read(&mut [0]).map_err(failed)? {
        0 => Ok(()),
        _ => Err(invalid(InvalidPayload::Length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{payload::ChunkEntry, prf::Prf};

    const TOP_K: u16 = 3;
    /// More parameters than are decoded at a time, and a chunk that is short.
    const VALUES: u64 = 2 * PIECE + 5_000;

    fn payload() -> Payload {
        let mut prf = Prf::new("update", &[4; 32], &[]);
        let chunk = |index: u64| {
            let len = (VALUES - index * CHUNK_SIZE as u64).min(CHUNK_SIZE as u64) as u32;
            let (first, step) = (prf.below(len / 4), 1 + prf.below(len / 4));
            let entry = |place: u32| ChunkEntry {
                index: (first + place * step) as u16,
                negative: place == 1,
                high: place == 2,
            };
            Chunk { low: 5, high: 9, entries: (0..TOP_K.into()).map(entry).collect() }
        };
        let chunks = (0..VALUES.div_ceil(CHUNK_SIZE as u64)).map(chunk).collect();
        Payload { top_k: TOP_K, values: VALUES, chunks }
    }

    fn read(bytes: &[u8]) -> Result<Vec<Chunk>, EngineError> {
        let mut chunks = Vec::new();
        read_payload(&[7; 32], bytes, TOP_K, VALUES, |chunk| chunks.push(chunk.clone()))?;
        Ok(chunks)
    }

    /// Something that cannot be read.
    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::TimedOut.into())
        }
    }

    #[test]
    fn a_payload_is_read_in_parts() {
        let payload = payload();
        assert_eq!(read(&payload.encode()).unwrap(), payload.chunks);
        let update = RoundUpdate { payload: payload.clone(), staleness: 0, tokens: 1 };
        let mut chunks = Vec::new();
        update.for_each_chunk(TOP_K, VALUES, |chunk| chunks.push(chunk.clone())).unwrap();
        assert_eq!(chunks, payload.chunks);
        assert!(matches!(
            update.for_each_chunk(TOP_K, VALUES + 1, |_| {}),
            Err(EngineError::WrongModel { .. })
        ));
    }

    #[test]
    fn bytes_are_refused_as_a_whole_payload_is() {
        let bytes = payload().encode();
        // A letter, the recipe, the size, a magnitude, an index, and the last bits.
        for at in [0, 5, 7, 16, 19, 900_000 % bytes.len(), bytes.len() - 1] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xc0;
            let whole = Payload::decode(&bytes, TOP_K, VALUES).map(|payload| payload.chunks);
            match (read(&bytes), whole) {
                (Ok(found), Ok(whole)) => assert_eq!(found, whole, "byte {at}"),
                (Err(EngineError::Payload { hash, .. }), Err(_)) => assert_eq!(hash, [7; 32]),
                (found, whole) => panic!("byte {at}: {found:?}, {whole:?}"),
            }
        }
        for other in [&bytes[..bytes.len() - 1], &bytes[..9], &[&bytes[..], &[0]].concat()] {
            let reason = InvalidPayload::Length;
            assert!(matches!(read(other), Err(EngineError::Payload { reason: found, .. })
                if found == reason));
        }
        let silent = Payload { chunks: Vec::new(), ..payload() }.encode();
        let broken = silent.as_slice().chain(io::repeat(0).take(9)).chain(Broken);
        let error = read_payload(&[7; 32], broken, TOP_K, VALUES, |_| {}).unwrap_err();
        assert!(matches!(error, EngineError::BlobRead { .. }), "{error}");
    }
}
