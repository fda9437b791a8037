// SPDX-License-Identifier: Apache-2.0

use super::{
    super::{FileError, ReadAt},
    value::{Value, malformed},
};

/// Number of bytes read from the file at a time.
const WINDOW_BYTES: usize = 1 << 16;

/// Sequential reader of the header through a window of bounded size.
pub(super) struct HeaderReader<'a> {
    file: &'a dyn ReadAt,
    /// End of the file, or of the longest header.
    limit: u64,
    window: Vec<u8>,
    /// Offset of the window in the file.
    start: u64,
    /// Number of bytes of the window that are consumed.
    at: usize,
    /// Set if counts and lengths have 32 bits.
    is_narrow: bool,
    /// Set if numbers begin with the highest byte.
    is_big_endian: bool,
}

impl<'a> HeaderReader<'a> {
    pub(super) fn new(file: &'a dyn ReadAt, limit: u64) -> Self {
        Self {
            file,
            limit,
            window: Vec::new(),
            start: 0,
            at: 0,
            is_narrow: false,
            is_big_endian: false,
        }
    }

    /// Reads counts and lengths of 32 bits from here on, as the first version has them.
    pub(super) fn read_narrow(&mut self) {
        self.is_narrow = true;
    }

    /// Reads numbers from the highest byte on, from here on.
    pub(super) fn read_big_endian(&mut self) {
        self.is_big_endian = true;
    }

    pub(super) fn is_big_endian(&self) -> bool {
        self.is_big_endian
    }

    pub(super) fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    fn remaining(&self) -> u64 {
        self.limit - self.position()
    }

    /// Returns the next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Result<&[u8], FileError> {
        if length as u64 > self.remaining() {
            return Err(malformed(format!(
                "it ends in its header, at byte {}, where {length} more bytes should be; \
                 it was cut short or its lengths are wrong",
                self.limit
            )));
        }
        if self.window.len() - self.at < length {
            let position = self.position();
            let size = (self.remaining() as usize).min(length.max(WINDOW_BYTES));
            self.window.resize(size, 0);
            self.file.read_at(position, &mut self.window)?;
            (self.start, self.at) = (position, 0);
        }
        let taken = &self.window[self.at..self.at + length];
        self.at += length;
        Ok(taken)
    }

    /// Returns the bytes of a number, the lowest first.
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        if self.is_big_endian {
            bytes.reverse();
        }
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FileError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, FileError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads a count, a length, or a size.
    pub(super) fn length(&mut self) -> Result<u64, FileError> {
        if self.is_narrow { self.u32().map(u64::from) } else { self.u64() }
    }

    /// Reads a count of `items` of at least `min_bytes` each, which must fit in the remaining
    /// bytes.
    pub(super) fn count(&mut self, items: &str, min_bytes: u64) -> Result<u64, FileError> {
        let count = self.length()?;
        if count > self.remaining() / min_bytes {
            return Err(malformed(format!(
                "it claims {count} {items}, more than the {} bytes left of it can hold",
                self.remaining()
            )));
        }
        Ok(count)
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, FileError> {
        let length = self.count("characters", 1)?;
        let bytes = self.take(length as usize)?.to_vec();
        String::from_utf8(bytes).map_err(|_| malformed(format!("{name} is not UTF-8")))
    }

    fn bool(&mut self) -> Result<bool, FileError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(malformed(format!("a truth value is {other}"))),
        }
    }

    /// Reads an integer of the type `kind`; returns `None` if it is another kind of type.
    fn integer(&mut self, kind: u32) -> Result<Option<i128>, FileError> {
        Ok(Some(match kind {
            0 => u8::from_le_bytes(self.array()?).into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => u32::from_le_bytes(self.array()?).into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            7 => self.bool()?.into(),
            10 => u64::from_le_bytes(self.array()?).into(),
            11 => i64::from_le_bytes(self.array()?).into(),
            _ => return Ok(None),
        }))
    }

    fn float(&mut self, kind: u32) -> Result<Option<f64>, FileError> {
        Ok(Some(match kind {
            6 => f32::from_le_bytes(self.array()?).into(),
            12 => f64::from_le_bytes(self.array()?),
            _ => return Ok(None),
        }))
    }

    pub(super) fn value(&mut self, kind: u32, key: &str) -> Result<Value, FileError> {
        Ok(match kind {
            7 => Value::Bool(self.bool()?),
            8 => Value::Text(self.text(key)?),
            9 => self.values(key)?,
            _ => match self.integer(kind)? {
                Some(value) => Value::Integer(value),
                None => Value::Float(self.float(kind)?.ok_or_else(|| unknown_type(key, kind))?),
            },
        })
    }

    fn values(&mut self, key: &str) -> Result<Value, FileError> {
        let kind = self.u32()?;
        let min_bytes = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 if self.is_narrow => 4,
            8 | 10..=12 => 8,
            9 => return Err(malformed(format!("metadata entry {key} is an array of arrays"))),
            _ => return Err(unknown_type(key, kind)),
        };
        let count = self.count("values", min_bytes)?;
        Ok(match kind {
            8 => Value::Texts((0..count).map(|_| self.text(key)).collect::<Result<_, _>>()?),
            6 | 12 => {
                let values = (0..count).map(|_| self.float(kind).map(Option::unwrap_or_default));
                Value::Floats(values.collect::<Result<_, _>>()?)
            }
            _ => {
                let too_large =
                    |_| malformed(format!("a value of metadata entry {key} is beyond 2^63"));
                let values = (0..count).map(|_| {
                    i64::try_from(self.integer(kind)?.unwrap_or_default()).map_err(too_large)
                });
                Value::Integers(values.collect::<Result<_, _>>()?)
            }
        })
    }
}

fn unknown_type(key: &str, kind: u32) -> FileError {
    malformed(format!("metadata entry {key} is of type {kind}, which is not known"))
}
