// SPDX-License-Identifier: Apache-2.0

//! Shape of the metadata of Parquet files, which is checked before the library reads it.
//!
//! The library passes over fields that it does not know. It does so with a list of booleans by
//! counting its elements, without a byte for each, so that twenty bytes take it seconds. It also
//! does not compare the type that a field states with the one that it reads. Here fields have the
//! types of the format, and collections have no more elements than bytes are left, so that the
//! library reads what was checked, in a time that the length bounds.
//!
//! Sources: *Thrift compact protocol encoding*, and `parquet.thrift` of the Parquet format 2.12.

/// Most structs and lists within each other.
const MAX_DEPTH: usize = 32;

/// Type of a field.
pub(super) enum Type {
    Bool,
    I8,
    I16,
    I32,
    I64,
    Double,
    Binary,
    Struct(Fields),
    List(&'static Type),
}

use Type::{Binary, Bool, Double, I8, I16, I32, I64, List, Struct};

/// Types of the fields of a struct or union, by their numbers. Others are passed over.
pub(super) type Fields = &'static [(i16, Type)];

/// Metadata of a file.
pub(super) const FILE: Fields = &[
    (1, I32),
    (2, List(&Struct(SCHEMA_ELEMENT))),
    (3, I64),
    (4, List(&Struct(ROW_GROUP))),
    (5, List(&Struct(KEY_VALUE))),
    (6, Binary),
    (7, List(&Struct(&[(1, Struct(&[])), (2, Struct(&[]))]))),
    (9, Binary),
];
/// Header of a page.
pub(super) const PAGE: Fields = &[
    (1, I32),
    (2, I32),
    (3, I32),
    (4, I32),
    (5, Struct(&[(1, I32), (2, I32), (3, I32), (4, I32), (5, Struct(STATISTICS))])),
    (6, Struct(&[])),
    (7, Struct(&[(1, I32), (2, I32), (3, Bool)])),
    (
        8,
        Struct(&[
            (1, I32),
            (2, I32),
            (3, I32),
            (4, I32),
            (5, I32),
            (6, I32),
            (7, Bool),
            (8, Struct(STATISTICS)),
        ]),
    ),
];
const SCHEMA_ELEMENT: Fields = &[
    (1, I32),
    (2, I32),
    (3, I32),
    (4, Binary),
    (5, I32),
    (6, I32),
    (7, I32),
    (8, I32),
    (9, I32),
    (10, Struct(LOGICAL_TYPE)),
];
const LOGICAL_TYPE: Fields = &[
    (1, Struct(&[])),
    (2, Struct(&[])),
    (3, Struct(&[])),
    (4, Struct(&[])),
    (5, Struct(&[(1, I32), (2, I32)])),
    (6, Struct(&[])),
    (7, Struct(TIME)),
    (8, Struct(TIME)),
    (10, Struct(&[(1, I8), (2, Bool)])),
    (11, Struct(&[])),
    (12, Struct(&[])),
    (13, Struct(&[])),
    (14, Struct(&[])),
    (15, Struct(&[])),
    (16, Struct(&[(1, I8)])),
    (17, Struct(&[(1, Binary)])),
    (18, Struct(&[(1, Binary), (2, I32)])),
];
const TIME: Fields =
    &[(1, Bool), (2, Struct(&[(1, Struct(&[])), (2, Struct(&[])), (3, Struct(&[]))]))];
const ROW_GROUP: Fields = &[
    (1, List(&Struct(COLUMN_CHUNK))),
    (2, I64),
    (3, I64),
    (4, List(&Struct(&[(1, I32), (2, Bool), (3, Bool)]))),
    (5, I64),
    (6, I64),
    (7, I16),
];
const COLUMN_CHUNK: Fields = &[
    (1, Binary),
    (2, I64),
    (3, Struct(COLUMN)),
    (4, I64),
    (5, I32),
    (6, I64),
    (7, I32),
    (9, Binary),
];
const COLUMN: Fields = &[
    (1, I32),
    (2, List(&I32)),
    (3, List(&Binary)),
    (4, I32),
    (5, I64),
    (6, I64),
    (7, I64),
    (8, List(&Struct(KEY_VALUE))),
    (9, I64),
    (10, I64),
    (11, I64),
    (12, Struct(STATISTICS)),
    (13, List(&Struct(&[(1, I32), (2, I32), (3, I32)]))),
    (14, I64),
    (15, I32),
    (16, Struct(&[(1, I64), (2, List(&I64)), (3, List(&I64))])),
    (17, Struct(&[(1, Struct(BOX)), (2, List(&I32))])),
];
const STATISTICS: Fields = &[
    (1, Binary),
    (2, Binary),
    (3, I64),
    (4, I64),
    (5, Binary),
    (6, Binary),
    (7, Bool),
    (8, Bool),
    (9, I64),
];
const BOX: Fields = &[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
];
const KEY_VALUE: Fields = &[(1, Binary), (2, Binary)];

impl Type {
    /// Returns `true` if the number of a type in the protocol stands for this type.
    fn is(&self, number: u8) -> bool {
        match self {
            Bool => matches!(number, 1 | 2),
            I8 => number == 3,
            I16 => number == 4,
            I32 => number == 5,
            I64 => number == 6,
            Double => number == 7,
            Binary => number == 8,
            List(_) => number == 9,
            Struct(_) => number == 12,
        }
    }
}

/// Returns the length of the struct that `bytes` start with, or `None` if there is none of this
/// shape.
pub(super) fn length(bytes: &[u8], fields: Fields) -> Option<usize> {
    let mut walk = Walk(bytes);
    walk.fields(fields, 0)?;
    Some(bytes.len() - walk.0.len())
}

/// Bytes that are left.
struct Walk<'a>(&'a [u8]);

impl Walk<'_> {
    fn skip(&mut self, count: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.0.first()?;
        self.skip(1)?;
        Some(byte)
    }

    /// Reads a number in LEB128.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn fields(&mut self, known: Fields, depth: usize) -> Option<()> {
        let mut last = 0i16;
        loop {
            let header = self.byte()?;
            let kind = header & 0xf;
            if kind == 0 {
                return Some(());
            }
            last = match header >> 4 {
                0 => {
                    let zigzag = self.number()?;
                    i16::try_from((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)).ok()?
                }
                delta => last.checked_add(delta.into())?,
            };
            let known = known.iter().find(|(number, _)| *number == last).map(|(_, kind)| kind);
            if known.is_some_and(|known| !known.is(kind)) {
                return None;
            }
            // The value of a boolean is in its header.
            if !Bool.is(kind) {
                self.value(kind, known, depth)?;
            }
        }
    }

    fn value(&mut self, kind: u8, known: Option<&Type>, depth: usize) -> Option<()> {
        if depth >= MAX_DEPTH {
            return None;
        }
        match kind {
            3 => self.skip(1),
            4..=6 => self.number().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            9 | 10 => self.list(known, depth),
            12 => {
                let known = if let Some(Struct(fields)) = known { fields } else { &[][..] };
                self.fields(known, depth + 1)
            }
            13 => self.skip(16),
            // Nothing in the metadata is a map.
            _ => None,
        }
    }

    fn list(&mut self, known: Option<&Type>, depth: usize) -> Option<()> {
        let header = self.byte()?;
        let (kind, count) = (header & 0xf, header >> 4);
        let count = if count == 15 { self.number()? } else { count.into() };
        if count == 0 {
            return Some(());
        }
        let known = if let Some(List(element)) = known { Some(*element) } else { None };
        // All elements but booleans have a byte at least.
        let fits = count <= self.0.len() as u64 && !Bool.is(kind);
        if !fits || known.is_some_and(|known| !known.is(kind)) {
            return None;
        }
        (0..count).try_for_each(|_| self.value(kind, known, depth + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Number of two billion elements, in LEB128.
    const BILLIONS: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 7];

    #[test]
    fn structs_end_where_they_end() {
        // The version, an unknown boolean, an unknown list of two bytes, the stop, and a rest.
        let bytes = [0x15, 2, 0xf1, 0x19, 0x23, 7, 7, 0, 9];
        assert_eq!(length(&bytes, FILE), Some(8));
        assert!((0..8).all(|end| length(&bytes[..end], FILE).is_none()));
    }

    #[test]
    fn lists_that_claim_more_than_is_there_are_refused() {
        for kind in [0xf1, 0xf2, 0xf3, 0xf5, 0xf8, 0xf9, 0xfc] {
            for field in [0xf9, 0xfa, 0x29] {
                let bytes = [&[field, kind][..], &BILLIONS, &[0; 20]].concat();
                assert_eq!(length(&bytes, FILE), None, "{kind:x} {field:x}");
            }
        }
        let map = [&[0xfb][..], &BILLIONS, &[0x11, 0]].concat();
        assert_eq!(length(&map, FILE), None);
    }

    #[test]
    fn fields_of_another_type_are_refused() {
        // The library would read the version from the length of a text, and then from the text.
        assert_eq!(length(&[0x18, 1, 0, 0], FILE), None);
        assert_eq!(length(&[0x29, 0x15, 0, 0], FILE), None);
        assert_eq!(length(&[0x55, 2, 0], PAGE), None);
        let deep = [0xfc; 100];
        assert_eq!(length(&deep, FILE), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            for fields in [FILE, PAGE] {
                prop_assert!(length(&bytes, fields).is_none_or(|length| length <= bytes.len()));
            }
        }
    }
}
