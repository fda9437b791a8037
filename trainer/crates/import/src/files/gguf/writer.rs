// SPDX-License-Identifier: Apache-2.0

use super::{
    super::{Encoding, byte_length},
    MAGIC, Metadata, Value,
};

/// Alignment of tensors in files that are written here.
pub(crate) const ALIGNMENT: usize = super::DEFAULT_ALIGNMENT as usize;
/// Version of files that are written here.
const VERSION: u32 = 3;

/// Header of a file that is to be written.
#[derive(Default)]
pub(crate) struct Header {
    pub(crate) metadata: Metadata,
    /// Name, shape, and encoding of each tensor in the order of their values.
    pub(crate) tensors: Vec<(String, Vec<u64>, Encoding)>,
}

impl Header {
    /// Returns the bytes of the header up to the first tensor, and the number of bytes that follow.
    ///
    /// # Errors
    ///
    /// Fails with a reason if a tensor cannot have its encoding.
    pub(crate) fn write(&self) -> Result<(Vec<u8>, u64), String> {
        let mut bytes = [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat();
        for count in [self.tensors.len(), self.metadata.len()] {
            bytes.extend((count as u64).to_le_bytes());
        }
        for (key, value) in &self.metadata {
            text(key, &mut bytes);
            write_value(value, &mut bytes);
        }
        let mut offset = 0u64;
        for (name, shape, encoding) in &self.tensors {
            text(name, &mut bytes);
            bytes.extend((shape.len() as u32).to_le_bytes());
            // The format lists the fastest dimension first.
            bytes.extend(shape.iter().rev().flat_map(|size| size.to_le_bytes()));
            let kind = kind(*encoding).ok_or_else(|| format!("{encoding} is not written"))?;
            bytes.extend(kind.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            let length = byte_length(shape, *encoding)
                .map_err(|reason| format!("tensor {name} {reason}"))?;
            offset = offset.saturating_add(length).next_multiple_of(ALIGNMENT as u64);
        }
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        Ok((bytes, offset))
    }
}

/// Returns the number of an encoding that is written.
fn kind(encoding: Encoding) -> Option<u32> {
    Some(match encoding {
        Encoding::F32 => 0,
        Encoding::F16 => 1,
        Encoding::Q8_0 => 8,
        Encoding::Bf16 => 30,
        _ => return None,
    })
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// Appends type and value in the types that llama.cpp's converter uses: 32 bits, with a sign in
/// arrays.
fn write_value(value: &Value, bytes: &mut Vec<u8>) {
    let (kind, array): (u32, Option<usize>) = match value {
        Value::Integer(_) => (4, None),
        Value::Float(_) => (6, None),
        Value::Bool(_) => (7, None),
        Value::Text(_) => (8, None),
        Value::Integers(values) => (5, Some(values.len())),
        Value::Floats(values) => (6, Some(values.len())),
        Value::Texts(values) => (8, Some(values.len())),
    };
    if let Some(count) = array {
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend((count as u64).to_le_bytes());
    } else {
        bytes.extend(kind.to_le_bytes());
    }
    match value {
        Value::Integer(value) => bytes.extend((*value as u32).to_le_bytes()),
        Value::Float(value) => bytes.extend((*value as f32).to_le_bytes()),
        Value::Bool(value) => bytes.push(u8::from(*value)),
        Value::Text(value) => text(value, bytes),
        Value::Integers(values) => {
            bytes.extend(values.iter().flat_map(|&value| (value as i32).to_le_bytes()));
        }
        Value::Floats(values) => {
            bytes.extend(values.iter().flat_map(|&value| (value as f32).to_le_bytes()));
        }
        Value::Texts(values) => values.iter().for_each(|value| text(value, bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_back() {
        let metadata: Metadata = [
            ("a", Value::Integer(7)),
            ("b", Value::Float(0.5)),
            ("c", Value::Bool(true)),
            ("d", Value::Text("é".into())),
            ("e", Value::Texts(vec!["x".into(), String::new()])),
            ("f", Value::Integers(vec![-1, 2])),
            ("g", Value::Floats(vec![1.5])),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let tensors = [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::Q8_0]
            .map(|encoding| (encoding.to_string(), vec![3, 32], encoding));
        let header = Header { metadata, tensors: tensors.to_vec() };
        let (mut bytes, rest) = header.write().unwrap();
        bytes.resize(bytes.len() + rest as usize, 0);
        let (metadata, table) = super::super::read(Box::new(bytes)).unwrap();
        assert_eq!(metadata, header.metadata);
        for (name, shape, encoding) in &header.tensors {
            let entry = &table.entries()[name];
            assert_eq!((&entry.shape, entry.encoding), (shape, *encoding));
        }
        let odd = vec![("odd".to_owned(), vec![33], Encoding::Q8_0)];
        let refused = Header { tensors: odd, ..Header::default() }.write();
        assert!(refused.unwrap_err().contains("tensor odd has rows of 33"));
    }
}
