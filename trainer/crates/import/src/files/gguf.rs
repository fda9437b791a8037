//! GGUF: typed metadata, a list of tensors, and their bytes.
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use super::{Bytes, Encoding, Entry, FileError, Table, byte_length};
use std::collections::BTreeMap;

const MAGIC: &[u8; 4] = b"GGUF";
/// Versions whose counts and lengths have 64 bits.
const VERSIONS: [u32; 2] = [2, 3];
/// Where tensors start when the file does not say: at multiples of this many bytes.
const ALIGNMENT: u64 = 32;
const ALIGNMENT_KEY: &str = "general.alignment";
/// Most bytes of metadata and tensor list together.
const MAX_HEADER: u64 = 1 << 27;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;
/// Bytes read from the file at a time.
const WINDOW: usize = 1 << 16;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any whole number.
    Integer(i128),
    /// Any floating-point number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string.
    Text(String),
    /// An array of strings.
    Texts(Vec<String>),
    /// An array of whole numbers or truth values.
    Integers(Vec<i64>),
    /// An array of floating-point numbers.
    Floats(Vec<f64>),
}

/// What a file says beside its tensors.
pub type Metadata = BTreeMap<String, Value>;

fn malformed(reason: String) -> FileError {
    FileError::Malformed { format: "GGUF", reason }
}

/// Reads the metadata and the tensor list of `file`, and checks them against the file's length.
pub fn read(file: Box<dyn Bytes>) -> Result<(Metadata, Table), FileError> {
    let mut cursor = Cursor {
        file: &*file,
        limit: file.size().min(MAX_HEADER),
        window: Vec::new(),
        start: 0,
        at: 0,
    };
    if cursor.take(4)? != MAGIC {
        return Err(malformed("it does not begin with the letters GGUF".into()));
    }
    let version = cursor.u32()?;
    if VERSIONS.iter().any(|known| known.swap_bytes() == version) {
        return Err(malformed("it is big-endian; convert it to little-endian".into()));
    }
    if !VERSIONS.contains(&version) {
        return Err(malformed(format!(
            "it is of version {version}; versions {VERSIONS:?} can be read"
        )));
    }
    // A name's length, dimensions, one size, type and offset; a key's length, a type and a byte.
    let tensors = cursor.count("tensors", 32)?;
    let pairs = cursor.count("metadata entries", 13)?;
    let mut metadata = Metadata::new();
    for _ in 0..pairs {
        let key = cursor.text("a metadata key")?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind, &key)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(malformed(format!("metadata entry {key} is there twice")));
        }
    }
    let alignment = match metadata.get(ALIGNMENT_KEY) {
        None => ALIGNMENT,
        Some(&Value::Integer(value))
            if (1..=1 << 20).contains(&value) && value.count_ones() == 1 =>
        {
            value as u64
        }
        Some(other) => {
            return Err(malformed(format!("{ALIGNMENT_KEY} is {other:?}, not a power of two")));
        }
    };
    let mut entries = Vec::new();
    for _ in 0..tensors {
        let name = cursor.text("a tensor's name")?;
        let refuse = |reason: String| malformed(format!("tensor {name} {reason}"));
        let dimensions = cursor.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(refuse(format!("has {dimensions} dimensions, more than {MAX_DIMENSIONS}")));
        }
        let mut shape = (0..dimensions).map(|_| cursor.u64()).collect::<Result<Vec<_>, _>>()?;
        // The format lists the fastest dimension first.
        shape.reverse();
        let kind = cursor.u32()?;
        let encoding = encoding(kind).map_err(|kind| {
            FileError::Unsupported(format!(
                "tensor {name} is of type {kind}, which is not supported; take the file in F16, Q8_0, Q6_K, Q5_K, Q4_K, Q5_0, Q5_1, Q4_0 or Q4_1"
            ))
        })?;
        let bytes = byte_length(&shape, encoding).map_err(refuse)?;
        let offset = cursor.u64()?;
        if !offset.is_multiple_of(alignment) {
            return Err(refuse(format!("lies at {offset}, not at a multiple of {alignment}")));
        }
        entries.push((name, Entry { shape, encoding, offset, bytes, file: 0 }));
    }
    let start = cursor.position().next_multiple_of(alignment);
    for (name, entry) in &mut entries {
        let offset = entry.offset.checked_add(start);
        entry.offset = offset.ok_or_else(|| {
            malformed(format!("tensor {name} lies at {}, beyond any file", entry.offset))
        })?;
    }
    Ok((metadata, Table::new(file, entries, start, false, malformed)?))
}

/// The encoding of a type number, or what that type is called.
fn encoding(kind: u32) -> Result<Encoding, String> {
    let other = |name, bytes| Encoding::Other { name, bytes };
    Ok(match kind {
        0 => Encoding::F32,
        1 => Encoding::F16,
        2 => Encoding::Q4_0,
        3 => Encoding::Q4_1,
        6 => Encoding::Q5_0,
        7 => Encoding::Q5_1,
        8 => Encoding::Q8_0,
        12 => Encoding::Q4K,
        13 => Encoding::Q5K,
        14 => Encoding::Q6K,
        24 => other("I8", 1),
        25 => other("I16", 2),
        26 => other("I32", 4),
        27 => other("I64", 8),
        28 => Encoding::F64,
        30 => Encoding::Bf16,
        9 => return Err("Q8_1".into()),
        10 => return Err("Q2_K".into()),
        11 => return Err("Q3_K".into()),
        15 => return Err("Q8_K".into()),
        16..=23 | 29 => return Err(format!("IQ ({kind})")),
        34 | 35 => return Err("TQ".into()),
        39 => return Err("MXFP4".into()),
        _ => return Err(format!("{kind}, not known")),
    })
}

/// Reads one after the other what the header consists of.
struct Cursor<'a> {
    file: &'a dyn Bytes,
    /// Nothing at or beyond this byte is header.
    limit: u64,
    window: Vec<u8>,
    /// Byte of the file that the window begins with.
    start: u64,
    /// What of the window is consumed.
    at: usize,
}

impl Cursor<'_> {
    fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    fn left(&self) -> u64 {
        self.limit - self.position()
    }

    fn take(&mut self, length: usize) -> Result<&[u8], FileError> {
        if length as u64 > self.left() {
            return Err(malformed(format!(
                "it ends in its header, at byte {}, where {length} more bytes should be; it was cut short or its lengths are wrong",
                self.limit
            )));
        }
        if self.window.len() - self.at < length {
            let position = self.position();
            let size = (self.left() as usize).min(length.max(WINDOW));
            self.window.resize(size, 0);
            self.file.read_at(position, &mut self.window)?;
            (self.start, self.at) = (position, 0);
        }
        let taken = &self.window[self.at..self.at + length];
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, FileError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, FileError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A count of things of at least `least` bytes each, which must fit in what is left.
    fn count(&mut self, what: &str, least: u64) -> Result<u64, FileError> {
        let count = self.u64()?;
        if count > self.left() / least {
            return Err(malformed(format!(
                "it claims {count} {what}, more than the {} bytes left of it can hold",
                self.left()
            )));
        }
        Ok(count)
    }

    fn text(&mut self, what: &str) -> Result<String, FileError> {
        let length = self.count("characters", 1)?;
        let bytes = self.take(length as usize)?.to_vec();
        String::from_utf8(bytes).map_err(|_| malformed(format!("{what} is not UTF-8")))
    }

    fn bool(&mut self) -> Result<bool, FileError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(malformed(format!("a truth value is {other}"))),
        }
    }

    /// A whole number of the type `kind`; none when the type is of something else.
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

    fn value(&mut self, kind: u32, key: &str) -> Result<Value, FileError> {
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
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return Err(malformed(format!("metadata entry {key} is an array of arrays"))),
            _ => return Err(unknown_type(key, kind)),
        };
        let count = self.count("values", least)?;
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
