// SPDX-License-Identifier: Apache-2.0

//! GGUF: typed metadata and a list of tensors, followed by their bytes.
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod reader;
mod value;
pub(crate) mod writer;

pub use value::{Metadata, Value};

use super::{
    Encoding, FileError, ReadAt, TensorEntry, TensorTable, byte_length, refuse_pointer_file,
};
use reader::HeaderReader;
use value::malformed;

const MAGIC: &[u8; 4] = b"GGUF";
/// Versions of the format. Counts and lengths of the first have 32 bits, and 64 since.
const VERSIONS: [u32; 3] = [1, 2, 3];
/// Default alignment of tensors in bytes.
const DEFAULT_ALIGNMENT: u64 = 32;
const ALIGNMENT_KEY: &str = "general.alignment";
/// Maximum number of bytes of metadata and tensor list together.
const MAX_HEADER_BYTES: u64 = 1 << 27;
/// Minimum number of bytes of a tensor in the list: the length of its name, number of dimensions,
/// one size, type and offset.
const MIN_TENSOR_BYTES: u64 = 24;
/// Minimum number of bytes of a metadata entry: the length of its key, a type and a byte.
const MIN_ENTRY_BYTES: u64 = 9;
/// Maximum number of dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;

/// Reads the metadata and the tensor list of `file` and checks them against the file's length.
///
/// # Errors
///
/// Fails if the file cannot be read, violates the format, or has an encoding that is not supported.
pub fn read(file: Box<dyn ReadAt>) -> Result<(Metadata, TensorTable), FileError> {
    refuse_pointer_file(&*file)?;
    let mut reader = HeaderReader::new(&*file, file.size().min(MAX_HEADER_BYTES));
    check_version(&mut reader)?;
    let tensors = reader.count("tensors", MIN_TENSOR_BYTES)?;
    let pairs = reader.count("metadata entries", MIN_ENTRY_BYTES)?;
    let metadata = read_metadata(&mut reader, pairs)?;
    let alignment = alignment(&metadata)?;
    let mut entries =
        (0..tensors).map(|_| read_tensor(&mut reader, alignment)).collect::<Result<Vec<_>, _>>()?;
    // Offsets are relative to the end of the header.
    let start = reader.position().next_multiple_of(alignment);
    for (name, entry) in &mut entries {
        let offset = entry.offset.checked_add(start);
        entry.offset = offset.ok_or_else(|| {
            malformed(format!("tensor {name} lies at {}, beyond any file", entry.offset))
        })?;
    }
    Ok((metadata, TensorTable::new(file, entries, start, false, malformed)?))
}

fn check_version(reader: &mut HeaderReader<'_>) -> Result<(), FileError> {
    if reader.take(4)? != MAGIC {
        return Err(malformed("it does not begin with the letters GGUF".into()));
    }
    let mut version = reader.u32()?;
    // Nothing else says the order of bytes.
    if VERSIONS.contains(&version.swap_bytes()) {
        version = version.swap_bytes();
        reader.read_big_endian();
    }
    if !VERSIONS.contains(&version) {
        return Err(malformed(format!(
            "it is of version {version}; versions {VERSIONS:?} can be read"
        )));
    }
    if version == 1 {
        reader.read_narrow();
    }
    Ok(())
}

fn read_metadata(reader: &mut HeaderReader<'_>, pairs: u64) -> Result<Metadata, FileError> {
    let mut metadata = Metadata::new();
    for _ in 0..pairs {
        let key = reader.text("a metadata key")?;
        let kind = reader.u32()?;
        let value = reader.value(kind, &key)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(malformed(format!("metadata entry {key} is there twice")));
        }
    }
    Ok(metadata)
}

fn alignment(metadata: &Metadata) -> Result<u64, FileError> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(&Value::Integer(value))
            if (1..=1 << 20).contains(&value) && value.count_ones() == 1 =>
        {
            Ok(value as u64)
        }
        Some(other) => Err(malformed(format!("{ALIGNMENT_KEY} is {other:?}, not a power of two"))),
    }
}

/// Reads a tensor of the list. Its offset is relative to the end of the header.
fn read_tensor(
    reader: &mut HeaderReader<'_>,
    alignment: u64,
) -> Result<(String, TensorEntry), FileError> {
    let name = reader.text("a tensor's name")?;
    let refuse = |reason: String| malformed(format!("tensor {name} {reason}"));
    let dimensions = reader.u32()?;
    if dimensions > MAX_DIMENSIONS {
        return Err(refuse(format!("has {dimensions} dimensions, more than {MAX_DIMENSIONS}")));
    }
    let mut shape = (0..dimensions).map(|_| reader.length()).collect::<Result<Vec<_>, _>>()?;
    // The format lists the fastest dimension first.
    shape.reverse();
    let encoding = encoding(reader.u32()?).map_err(|kind| {
        FileError::Unsupported(format!(
            "tensor {name} is of type {kind}; take the file in F16, BF16, Q8_0, or another type \
             that docs/import.md lists"
        ))
    })?;
    let is_big_endian = reader.is_big_endian();
    if is_big_endian && encoding.numbers().is_none() {
        return Err(FileError::Unsupported(format!(
            "tensor {name} is of type {encoding} in a big-endian file, which llama.cpp itself \
             misreads; take the little-endian file"
        )));
    }
    let bytes = byte_length(&shape, encoding).map_err(refuse)?;
    let offset = reader.u64()?;
    if !offset.is_multiple_of(alignment) {
        return Err(refuse(format!("lies at {offset}, not at a multiple of {alignment}")));
    }
    Ok((name, TensorEntry { shape, encoding, offset, bytes, file: 0, is_big_endian }))
}

/// Returns the encoding of a type number.
///
/// # Errors
///
/// Fails with the name of the type if it is not supported.
fn encoding(kind: u32) -> Result<Encoding, String> {
    let other = |name, bytes| Encoding::Other { name, bytes };
    let removed = |name| Err(format!("{name}, which llama.cpp has removed"));
    Ok(match kind {
        0 => Encoding::F32,
        1 => Encoding::F16,
        2 => Encoding::Q4_0,
        3 => Encoding::Q4_1,
        4 => return removed("Q4_2"),
        5 => return removed("Q4_3"),
        6 => Encoding::Q5_0,
        7 => Encoding::Q5_1,
        8 => Encoding::Q8_0,
        9 => return Err("Q8_1, which only holds operands of products".into()),
        10 => Encoding::Q2K,
        11 => Encoding::Q3K,
        12 => Encoding::Q4K,
        13 => Encoding::Q5K,
        14 => Encoding::Q6K,
        15 => Encoding::Q8K,
        16 => Encoding::Iq2Xxs,
        17 => Encoding::Iq2Xs,
        18 => Encoding::Iq3Xxs,
        19 => Encoding::Iq1S,
        20 => Encoding::Iq4Nl,
        21 => Encoding::Iq3S,
        22 => Encoding::Iq2S,
        23 => Encoding::Iq4Xs,
        24 => other("I8", 1),
        25 => other("I16", 2),
        26 => other("I32", 4),
        27 => other("I64", 8),
        28 => Encoding::F64,
        29 => Encoding::Iq1M,
        30 => Encoding::Bf16,
        31 => return removed("Q4_0_4_4"),
        32 => return removed("Q4_0_4_8"),
        33 => return removed("Q4_0_8_8"),
        34 => Encoding::Tq1_0,
        35 => Encoding::Tq2_0,
        36 => return removed("IQ4_NL_4_4"),
        37 => return removed("IQ4_NL_4_8"),
        38 => return removed("IQ4_NL_8_8"),
        39 => Encoding::Mxfp4,
        40 => Encoding::Nvfp4,
        41 => Encoding::Q1_0,
        42 => Encoding::Q2_0,
        _ => return Err(format!("{kind}, which is not known")),
    })
}
