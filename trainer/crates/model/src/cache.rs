use crate::{Error, mind::Memory};
use pol_primitives::model::ModelSpec;
use tch::{Device, Kind, Tensor};

/// Keys and values of the tokens read so far, so that what follows them costs only itself.
///
/// A cache belongs to one model and a fixed number of rows; every row holds the same number of
/// tokens. Memory for `capacity` tokens is taken at once: `2 · layers · key/value width · capacity`
/// float32 values a row.
#[derive(Debug)]
pub struct Cache {
    layers: Vec<Layer>,
    /// What the second pass remembers.
    pub(crate) thoughts: Memory,
    rows: i64,
    len: i64,
    capacity: i64,
}

/// What a block keeps: keys and values, both `[rows, key/value heads, capacity, head size]`, and
/// what its superposition remembers.
#[derive(Debug)]
pub(crate) struct Layer {
    keys: Tensor,
    values: Tensor,
    pub(crate) memory: Memory,
}

impl Layer {
    /// Puts `keys` and `values` `[rows, key/value heads, length, head size]` after the first
    /// `past`; gives those of all tokens.
    pub(crate) fn extend(
        &mut self,
        past: i64,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor), Error> {
        let length = keys.size()[2];
        let put = |store: &Tensor, new: &Tensor| -> Result<Tensor, Error> {
            store.f_narrow(2, past, length)?.f_copy_(&new.f_detach()?)?;
            Ok(store.f_narrow(2, 0, past + length)?)
        };
        Ok((put(&self.keys, keys)?, put(&self.values, values)?))
    }
}

impl Cache {
    /// An empty cache for `rows` sequences of up to `capacity` tokens, on `device`; the model's
    /// context is its upper bound.
    pub fn new(spec: &ModelSpec, rows: i64, capacity: i64, device: Device) -> Result<Self, Error> {
        spec.validate()?;
        if rows < 1 || capacity < 1 || capacity > i64::from(spec.context) {
            return Err(Error::Cache {
                needed: capacity.max(1),
                capacity: spec.context.into(),
                rows,
            });
        }
        let shape = [rows, spec.key_value_heads.into(), capacity, spec.head_size.into()];
        let zeros = || Tensor::f_zeros(shape, (Kind::Float, device));
        let layers = (0..spec.layers)
            .map(|_| Ok(Layer { keys: zeros()?, values: zeros()?, memory: Memory::default() }));
        Ok(Self {
            layers: layers.collect::<Result<_, Error>>()?,
            thoughts: Memory::default(),
            rows,
            len: 0,
            capacity,
        })
    }

    /// Tokens held in each row.
    pub fn len(&self) -> i64 {
        self.len
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sequences held.
    pub fn rows(&self) -> i64 {
        self.rows
    }

    /// Tokens that fit in each row.
    pub fn capacity(&self) -> i64 {
        self.capacity
    }

    /// Forgets all tokens of every row but the first `len`.
    pub fn truncate(&mut self, len: i64) {
        self.len = self.len.min(len.max(0));
    }

    /// A cache whose row `i` is row `rows[i]` of this one; rows may be left out and repeated.
    pub fn select(&self, rows: &[i64]) -> Result<Self, Error> {
        if rows.is_empty() || rows.iter().any(|row| !(0..self.rows).contains(row)) {
            return Err(Error::Cache {
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
        let layers = self.layers.iter().map(|Layer { keys, values, memory }| {
            Ok(Layer {
                keys: copy(keys, &rows)?,
                values: copy(values, &rows)?,
                memory: memory.select(&rows)?,
            })
        });
        let layers = layers.collect::<Result<_, Error>>()?;
        Ok(Self { layers, thoughts: self.thoughts.select(&rows)?, rows: count, ..*self })
    }

    /// Puts row `rows[i]` in the place of row `i`, as [`select`](Self::select) does.
    pub fn reorder(&mut self, rows: &[i64]) -> Result<(), Error> {
        *self = self.select(rows)?;
        Ok(())
    }

    fn device(&self) -> Device {
        self.layers.first().map_or(Device::Cpu, |layer| layer.keys.device())
    }

    /// Makes ready for `length` more tokens of `batch` rows in each of `layers` blocks, or fails
    /// where they do not fit.
    pub(crate) fn prepare(&mut self, layers: usize, batch: i64, length: i64) -> Result<(), Error> {
        if layers != self.layers.len() || batch != self.rows || length > self.capacity - self.len {
            return Err(Error::Cache {
                needed: self.len + length,
                capacity: self.capacity,
                rows: batch,
            });
        }
        // What was truncated is still in the memories.
        let memories = self.layers.iter_mut().map(|layer| &mut layer.memory);
        memories.chain([&mut self.thoughts]).try_for_each(|memory| memory.truncate(self.len))
    }

    /// What block `index` has kept.
    pub(crate) fn layer(&mut self, index: usize) -> Option<&mut Layer> {
        self.layers.get_mut(index)
    }

    /// Counts `length` tokens that every block has taken in.
    pub(crate) fn advance(&mut self, length: i64) {
        self.len += length;
    }
}
