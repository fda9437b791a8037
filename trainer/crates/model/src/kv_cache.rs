// SPDX-License-Identifier: Apache-2.0

use crate::{Error, mind::RowCache};
use pol_primitives::model::ModelSpec;
use tch::{Device, Kind, Tensor};

/// Keys and values of the tokens processed so far.
///
/// A cache belongs to one model and a fixed number of rows; every row holds the same number of
/// tokens. Memory for `capacity` tokens is allocated at once: `2 · layers · key/value width ·
/// capacity` float32 values per row.
#[derive(Debug)]
pub struct KvCache {
    blocks: Vec<BlockCache>,
    /// Rows of the second pass.
    pub(crate) second_pass: RowCache,
    rows: i64,
    len: i64,
    capacity: i64,
}

/// Cache of a block. Keys and values are `[rows, key/value heads, capacity, head size]`.
#[derive(Debug)]
pub(crate) struct BlockCache {
    keys: Tensor,
    values: Tensor,
    /// Rows of the block's superposition.
    pub(crate) superposition: RowCache,
}

impl BlockCache {
    /// Writes `keys` and `values` `[rows, key/value heads, length, head size]` after the first
    /// `past` tokens and returns those of all tokens.
    pub(crate) fn extend(
        &mut self,
        past: i64,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor), Error> {
        let length = keys.size()[2];
        let write = |store: &Tensor, new: &Tensor| -> Result<Tensor, Error> {
            store.f_narrow(2, past, length)?.f_copy_(&new.f_detach()?)?;
            Ok(store.f_narrow(2, 0, past + length)?)
        };
        Ok((write(&self.keys, keys)?, write(&self.values, values)?))
    }
}

impl KvCache {
    /// Creates an empty cache on `device` for `rows` sequences of up to `capacity` tokens.
    ///
    /// # Errors
    ///
    /// Fails if `spec` is invalid, if `rows` or `capacity` is below 1, if `capacity` exceeds the
    /// model's context, or if libtorch cannot allocate the memory.
    pub fn new(spec: &ModelSpec, rows: i64, capacity: i64, device: Device) -> Result<Self, Error> {
        spec.validate()?;
        if rows < 1 || capacity < 1 || capacity > i64::from(spec.context) {
            return Err(Error::CacheCapacity {
                needed: capacity.max(1),
                capacity: spec.context.into(),
                rows,
            });
        }
        let shape = [rows, spec.key_value_heads.into(), capacity, spec.head_size.into()];
        let zeros = || Tensor::f_zeros(shape, (Kind::Float, device));
        let blocks = (0..spec.layers).map(|_| {
            Ok(BlockCache { keys: zeros()?, values: zeros()?, superposition: RowCache::default() })
        });
        Ok(Self {
            blocks: blocks.collect::<Result<_, Error>>()?,
            second_pass: RowCache::default(),
            rows,
            len: 0,
            capacity,
        })
    }

    /// Returns the number of tokens held in each row.
    pub fn len(&self) -> i64 {
        self.len
    }

    /// Returns `true` if no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of sequences.
    pub fn rows(&self) -> i64 {
        self.rows
    }

    /// Returns the number of tokens that fit in each row.
    pub fn capacity(&self) -> i64 {
        self.capacity
    }

    /// Drops all tokens of every row but the first `len`.
    pub fn truncate(&mut self, len: i64) {
        self.len = self.len.min(len.max(0));
    }

    /// Creates a cache whose row `i` is row `rows[i]` of this one. Rows may be omitted and
    /// repeated.
    ///
    /// # Errors
    ///
    /// Fails if `rows` is empty or names a row that does not exist, or if libtorch fails.
    pub fn select(&self, rows: &[i64]) -> Result<Self, Error> {
        if rows.is_empty() || rows.iter().any(|row| !(0..self.rows).contains(row)) {
            return Err(Error::CacheCapacity {
                needed: self.len,
                capacity: self.capacity,
                rows: rows.len() as i64,
            });
        }
        let count = rows.len() as i64;
        let copy = |old: &Tensor, rows: &Tensor| -> Result<Tensor, Error> {
            let mut shape = old.size();
            shape[0] = count;
            let new = Tensor::f_zeros(shape, (old.kind(), old.device()))?;
            new.f_narrow(2, 0, self.len)?
                .f_copy_(&old.f_narrow(2, 0, self.len)?.f_index_select(0, rows)?)?;
            Ok(new)
        };
        let rows = Tensor::f_from_slice(rows)?.f_to(self.device())?;
        let blocks = self.blocks.iter().map(|block| {
            Ok(BlockCache {
                keys: copy(&block.keys, &rows)?,
                values: copy(&block.values, &rows)?,
                superposition: block.superposition.select(&rows)?,
            })
        });
        let blocks = blocks.collect::<Result<_, Error>>()?;
        Ok(Self { blocks, second_pass: self.second_pass.select(&rows)?, rows: count, ..*self })
    }

    /// Takes over the tokens of `other`, a cache of the same model, rows, and capacity, without
    /// memory for a third one.
    ///
    /// # Errors
    ///
    /// Fails if the caches have other shapes, or if libtorch fails.
    pub fn copy_from(&mut self, other: &Self) -> Result<(), Error> {
        if (self.rows, self.blocks.len()) != (other.rows, other.blocks.len())
            || self.capacity < other.len
        {
            return Err(Error::CacheCapacity {
                needed: other.len,
                capacity: self.capacity,
                rows: other.rows,
            });
        }
        let rows: Vec<i64> = (0..other.rows).collect();
        let rows = Tensor::f_from_slice(&rows)?.f_to(self.device())?;
        for (own, block) in self.blocks.iter_mut().zip(&other.blocks) {
            for (own, values) in [(&own.keys, &block.keys), (&own.values, &block.values)] {
                own.f_narrow(2, 0, other.len)?.f_copy_(&values.f_narrow(2, 0, other.len)?)?;
            }
            own.superposition = block.superposition.select(&rows)?;
        }
        self.second_pass = other.second_pass.select(&rows)?;
        self.len = other.len;
        Ok(())
    }

    fn device(&self) -> Device {
        self.blocks.first().map_or(Device::Cpu, |block| block.keys.device())
    }

    /// Prepares for `length` more tokens of `batch` rows in each of `blocks` blocks.
    ///
    /// # Errors
    ///
    /// Fails if the tokens do not fit or the cache belongs to a model of another size.
    pub(crate) fn prepare(&mut self, blocks: usize, batch: i64, length: i64) -> Result<(), Error> {
        if blocks != self.blocks.len() || batch != self.rows || length > self.capacity - self.len {
            return Err(Error::CacheCapacity {
                needed: self.len + length,
                capacity: self.capacity,
                rows: batch,
            });
        }
        // `truncate` leaves the row caches as they are.
        let row_caches = self.blocks.iter_mut().map(|block| &mut block.superposition);
        row_caches.chain([&mut self.second_pass]).try_for_each(|cache| cache.truncate(self.len))
    }

    /// Returns the cache of block `index`.
    pub(crate) fn block(&mut self, index: usize) -> Option<&mut BlockCache> {
        self.blocks.get_mut(index)
    }

    /// Counts `length` tokens that every block has added.
    pub(crate) fn advance(&mut self, length: i64) {
        self.len += length;
    }
}
