// SPDX-License-Identifier: Apache-2.0

//! Keys and values of sequences.

use super::halves::{Stored, round_to_halves};
use crate::{Error, language_model::SequenceCache};
use half::f16;
use pol_primitives::model::ModelSpec;
use std::{ops::Range, sync::Arc};

/// Tokens of a block.
const BLOCK_TOKENS: usize = 16;

/// Keys and values of a sequence, in blocks of tokens.
///
/// Memory is taken when the first token of a block is processed. A fork, or the copy of a prefix,
/// shares the blocks of the tokens that it has in common with its origin. Whichever of them writes
/// to a shared block, the last one of those tokens, copies it first.
#[derive(Clone)]
pub struct NativeCache {
    blocks: Vec<CacheBlock>,
    /// Set if keys and values are kept as float16.
    is_half: bool,
    heads: usize,
    head_size: usize,
    /// Values of a block.
    block_len: usize,
    len: usize,
    capacity: usize,
}

/// Keys and values of [`BLOCK_TOKENS`] tokens.
#[derive(Clone)]
enum CacheBlock {
    F32(Arc<[f32]>),
    F16(Arc<[f16]>),
}

impl CacheBlock {
    /// Creates a block of `len` values.
    fn new(len: usize, is_half: bool) -> Self {
        if is_half {
            Self::F16(std::iter::repeat_n(f16::ZERO, len).collect())
        } else {
            Self::F32(std::iter::repeat_n(0.0, len).collect())
        }
    }

    /// Returns the values at `range`.
    fn values(&self, range: Range<usize>) -> Stored<'_> {
        match self {
            Self::F32(values) => Stored::F32(&values[range]),
            Self::F16(values) => Stored::F16(&values[range]),
        }
    }
}

impl NativeCache {
    /// Creates an empty cache for `capacity` tokens, whose keys and values are float16 if `is_half`
    /// is set, and else float32.
    pub(super) fn new(spec: &ModelSpec, capacity: usize, is_half: bool) -> Self {
        let [layers, heads, head_size] =
            [spec.layers, spec.key_value_heads, spec.head_size].map(usize::from);
        let block_len = 2 * layers * heads * head_size * BLOCK_TOKENS;
        Self { blocks: Vec::new(), is_half, heads, head_size, block_len, len: 0, capacity }
    }

    /// Takes memory for `tokens` more tokens.
    pub(super) fn reserve(&mut self, tokens: usize) {
        let blocks = (self.len + tokens).div_ceil(BLOCK_TOKENS);
        let (len, is_half) = (self.block_len, self.is_half);
        let new = || CacheBlock::new(len, is_half);
        self.blocks.resize_with(blocks.max(self.blocks.len()), new);
    }

    /// Stores keys and values of a token in a layer, each head after another. There must be memory
    /// for the token.
    pub(super) fn write(&mut self, layer: usize, place: usize, keys: &[f32], values: &[f32]) {
        let (size, starts) = (self.head_size, self.starts(layer, 0));
        let row = place % BLOCK_TOKENS * size;
        let heads = starts.into_iter().zip([keys, values]).flat_map(|(start, parts)| {
            let starts = (start + row..).step_by(BLOCK_TOKENS * size);
            starts.zip(parts.chunks_exact(size))
        });
        match &mut self.blocks[place / BLOCK_TOKENS] {
            CacheBlock::F32(block) => {
                let block = Arc::make_mut(block);
                heads.for_each(|(start, part)| block[start..][..size].copy_from_slice(part));
            }
            CacheBlock::F16(block) => {
                let block = Arc::make_mut(block);
                heads.for_each(|(start, part)| round_to_halves(part, &mut block[start..][..size]));
            }
        }
    }

    /// Returns keys and values of a head of the tokens at `places`, block by block.
    pub(super) fn read(
        &self,
        layer: usize,
        head: usize,
        places: Range<usize>,
    ) -> impl Iterator<Item = (Stored<'_>, Stored<'_>)> + Clone {
        let (size, starts) = (self.head_size, self.starts(layer, head));
        let first = places.start / BLOCK_TOKENS;
        let blocks = self.blocks.iter().enumerate().skip(first);
        blocks.take_while(move |(index, _)| index * BLOCK_TOKENS < places.end).map(
            move |(index, block)| {
                let from = places.start.saturating_sub(index * BLOCK_TOKENS);
                let to = (places.end - index * BLOCK_TOKENS).min(BLOCK_TOKENS);
                let [keys, values] =
                    starts.map(|start| block.values(start + from * size..start + to * size));
                (keys, values)
            },
        )
    }

    /// Counts tokens that every layer has stored.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// Returns the places of the keys and of the values of a head in a block.
    fn starts(&self, layer: usize, head: usize) -> [usize; 2] {
        [0, 1].map(|part| ((2 * layer + part) * self.heads + head) * BLOCK_TOKENS * self.head_size)
    }
}

impl SequenceCache for NativeCache {
    fn len(&self) -> usize {
        self.len
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }

    fn prefix(&self, tokens: usize, capacity: usize) -> Option<Self> {
        // Blocks behind the tokens would stay in memory that nobody counts.
        let blocks = self.blocks.iter().take(tokens.div_ceil(BLOCK_TOKENS));
        (tokens <= self.len).then(|| Self {
            blocks: blocks.cloned().collect(),
            len: tokens,
            capacity,
            ..*self
        })
    }

    fn set_len(&mut self, len: usize) -> bool {
        let fits = len <= self.blocks.len() * BLOCK_TOKENS;
        if fits {
            self.len = len;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ModelSpec {
        ModelSpec::gpt2(37, 24, 2, 3, 40, 150)
    }

    /// Stores tokens whose keys are numbered from `seed`, and their negatives as values.
    fn store(cache: &mut NativeCache, tokens: usize, seed: usize) {
        cache.reserve(tokens);
        for place in cache.len..cache.len + tokens {
            for layer in 0..2 {
                let keys: Vec<f32> =
                    (0..24).map(|i| (seed + 1_000 * place + 100 * layer + i) as f32).collect();
                let values: Vec<f32> = keys.iter().map(|key| -key).collect();
                cache.write(layer, place, &keys, &values);
            }
        }
        cache.advance(tokens);
    }

    /// Returns the keys of a head at `places`, after a comparison with the values.
    fn keys(cache: &NativeCache, layer: usize, head: usize, places: Range<usize>) -> Vec<f32> {
        let (mut keys, mut values, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for (of_keys, of_values) in cache.read(layer, head, places) {
            keys.extend_from_slice(of_keys.widened(&mut memory));
            values.extend(of_values.widened(&mut memory).iter().map(|value| -value));
        }
        assert_eq!(keys, values);
        keys
    }

    #[test]
    fn tokens_are_taken_back() {
        let mut cache = NativeCache::new(&spec(), 100, false);
        store(&mut cache, 20, 0);
        let fork = cache.fork().unwrap();
        assert!(cache.set_len(15) && cache.set_len(18) && !cache.set_len(33));
        assert_eq!((cache.len(), keys(&cache, 1, 1, 0..18)), (18, keys(&fork, 1, 1, 0..18)));
        store(&mut cache, 2, 7);
        assert_eq!((cache.len(), keys(&fork, 1, 1, 0..18)), (20, keys(&cache, 1, 1, 0..18)));
        assert_ne!(keys(&cache, 1, 1, 18..20), keys(&fork, 1, 1, 18..20));
    }

    #[test]
    fn tokens_are_read_as_they_were_stored() {
        let mut cache = NativeCache::new(&spec(), 100, false);
        assert!(cache.is_empty() && cache.blocks.is_empty());
        for tokens in [1, 40, 3, 16] {
            store(&mut cache, tokens, 0);
        }
        assert_eq!((cache.len(), cache.blocks.len()), (60, 4));
        for places in [0..60, 0..1, 15..17, 16..32, 31..32, 47..60, 20..20] {
            for (layer, head) in [(0, 0), (1, 2)] {
                let expected = places.clone().flat_map(|place| {
                    (8 * head..8 * head + 8).map(move |i| (1_000 * place + 100 * layer + i) as f32)
                });
                let expected: Vec<f32> = expected.collect();
                assert_eq!(keys(&cache, layer, head, places.clone()), expected, "{places:?}");
            }
        }
    }

    /// Returns for each block of both caches whether they share it.
    fn shared(a: &NativeCache, b: &NativeCache) -> Vec<bool> {
        let is_shared = |(a, b): (&CacheBlock, &CacheBlock)| match (a, b) {
            (CacheBlock::F32(a), CacheBlock::F32(b)) => Arc::ptr_eq(a, b),
            (CacheBlock::F16(a), CacheBlock::F16(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        a.blocks.iter().zip(&b.blocks).map(is_shared).collect()
    }

    #[test]
    fn float16_takes_half_the_bytes_and_rounds() {
        let [mut full, mut half] =
            [false, true].map(|is_half| NativeCache::new(&spec(), 50, is_half));
        let bytes = |cache: &NativeCache| match &cache.blocks[0] {
            CacheBlock::F32(block) => size_of_val(&block[..]),
            CacheBlock::F16(block) => size_of_val(&block[..]),
        };
        store(&mut full, 40, 3);
        store(&mut half, 40, 3);
        assert_eq!((bytes(&full), 2 * bytes(&half)), (2 * 2 * 24 * 16 * 4, bytes(&full)));
        let (exact, rounded) = (keys(&full, 1, 2, 0..40), keys(&half, 1, 2, 0..40));
        assert_ne!(exact, rounded);
        for (exact, rounded) in exact.iter().zip(&rounded) {
            assert!((exact - rounded).abs() <= exact.abs() / 2_048.0, "{exact} {rounded}");
        }
        // Forks and prefixes keep the precision, and copy what they write to.
        let mut prefix = half.prefix(20, 70).unwrap();
        store(&mut prefix, 20, 7);
        assert_eq!(shared(&half, &prefix), [true, false, false]);
        assert_eq!(keys(&half, 1, 2, 0..40), rounded);
        assert_eq!(keys(&prefix, 1, 2, 0..20), rounded[..160]);
    }

    #[test]
    fn prefixes_share_their_blocks_and_hold_no_others() {
        let mut cache = NativeCache::new(&spec(), 50, false);
        store(&mut cache, 50, 0);
        let whole = keys(&cache, 1, 1, 0..50);
        for tokens in [0, 1, 16, 20, 32, 50] {
            let mut prefix = cache.prefix(tokens, 70).unwrap();
            assert_eq!((prefix.len(), prefix.capacity()), (tokens, 70));
            assert_eq!(shared(&cache, &prefix), vec![true; tokens.div_ceil(16)]);
            store(&mut prefix, 20, 7);
            let copied = prefix.blocks.len().min(4) - tokens / 16;
            let expected = [vec![true; tokens / 16], vec![false; copied]].concat();
            assert_eq!(shared(&cache, &prefix), expected, "{tokens}");
            assert_eq!(keys(&prefix, 1, 1, 0..tokens), keys(&cache, 1, 1, 0..tokens));
            assert_eq!(keys(&cache, 1, 1, 0..50), whole);
        }
        assert!(cache.prefix(51, 70).is_none());
        // The origin may write on, or be dropped.
        let prefix = cache.prefix(50, 70).unwrap();
        store(&mut cache, 1, 7);
        assert_eq!(shared(&cache, &prefix), [true, true, true, false]);
        drop(cache);
        assert_eq!(keys(&prefix, 1, 1, 0..50), whole);
    }

    #[test]
    fn forks_share_all_blocks_but_the_last() {
        let mut cache = NativeCache::new(&spec(), 100, false);
        store(&mut cache, 40, 0);
        let before = keys(&cache, 1, 1, 0..40);
        let mut fork = cache.fork().unwrap();
        assert_eq!(shared(&cache, &fork), [true; 3]);
        store(&mut fork, 20, 7);
        assert_eq!(shared(&cache, &fork), [true, true, false]);
        store(&mut cache, 2, 0);
        assert_eq!((cache.len(), fork.len()), (42, 60));
        for cache in [&cache, &fork] {
            assert_eq!(keys(cache, 1, 1, 0..40), before);
        }
        assert_ne!(keys(&cache, 1, 1, 40..42), keys(&fork, 1, 1, 40..42));
    }
}
