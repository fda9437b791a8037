// SPDX-License-Identifier: Apache-2.0

//! Encodings that keep the names of values when types get further fields.

use alloc::vec::Vec;
use scale_info::{Field, MetaType, TypeInfo, Variant};

/// Implements the SCALE encoding of a struct that can get further fields.
///
/// An encoding is the number of a version, followed by the fields of that version and of those
/// before. A value is encoded in the lowest version that holds it: all fields of later versions
/// have their default values. So a further field changes no encoding that exists, and no hash that
/// names one; what was encoded before has the default of that field. Decoding refuses unknown
/// versions, and versions that are not the lowest ones, so that a value has one encoding.
///
/// Fields are never moved, removed or changed. The types of fields keep their encodings likewise:
/// they are versioned too, or enums that get further variants only.
macro_rules! versioned {
    (
        $name:ident,
        1: { $($field:ident: $type:ty),+ $(,)? }
        $(, $version:literal: { $($later:ident: $later_type:ty),+ $(,)? })*
        $(,)?
    ) => {
        impl $name {
            /// Returns the lowest version of the encoding that holds this value.
            fn encoding_version(&self) -> u8 {
                let version = 1;
                $(
                    let is_later = $(self.$later != <$later_type>::default())||+;
                    let version = if is_later { $version } else { version };
                )*
                version
            }
        }

        impl codec::Encode for $name {
            fn size_hint(&self) -> usize {
                <Self as codec::MaxEncodedLen>::max_encoded_len()
            }

            fn encode_to<O: codec::Output + ?Sized>(&self, output: &mut O) {
                let version = self.encoding_version();
                output.push_byte(version);
                $(self.$field.encode_to(output);)+
                $(if version >= $version {
                    $(self.$later.encode_to(output);)+
                })*
            }
        }

        impl codec::EncodeLike for $name {}

        impl codec::Decode for $name {
            fn decode<I: codec::Input>(input: &mut I) -> Result<Self, codec::Error> {
                let version = input.read_byte()?;
                if ![1 $(, $version)*].contains(&version) {
                    return Err("unknown version of an encoding".into());
                }
                $(let $field = codec::Decode::decode(input)?;)+
                $($(
                    let $later = if version >= $version {
                        codec::Decode::decode(input)?
                    } else {
                        <$later_type>::default()
                    };
                )+)*
                let value = Self { $($field,)+ $($($later,)+)* };
                if version == value.encoding_version() {
                    Ok(value)
                } else {
                    Err("a lower version holds the value".into())
                }
            }
        }

        impl codec::DecodeWithMemTracking for $name {}

        impl codec::MaxEncodedLen for $name {
            fn max_encoded_len() -> usize {
                1usize
                    $(.saturating_add(<$type as codec::MaxEncodedLen>::max_encoded_len()))+
                    $($(
                        .saturating_add(<$later_type as codec::MaxEncodedLen>::max_encoded_len())
                    )+)*
            }
        }

        impl scale_info::TypeInfo for $name {
            type Identity = Self;

            fn type_info() -> scale_info::Type {
                use $crate::versioned::{field, variant};
                let mut fields = alloc::vec::Vec::new();
                let mut versions = alloc::vec::Vec::new();
                $(fields.push(field::<$type>(stringify!($field), stringify!($type)));)+
                versions.push(variant("V1", 1, &fields));
                $(
                    $(fields.push(field::<$later_type>(
                        stringify!($later),
                        stringify!($later_type),
                    ));)+
                    versions.push(variant(concat!("V", $version), $version, &fields));
                )*
                scale_info::Type::new(
                    scale_info::Path::new(stringify!($name), module_path!()),
                    [],
                    scale_info::TypeDefVariant::new(versions),
                    alloc::vec::Vec::new(),
                )
            }
        }
    };
}
pub(crate) use versioned;

/// Returns the description of a field of type `T`.
pub(crate) fn field<T: TypeInfo + 'static>(name: &'static str, type_name: &'static str) -> Field {
    Field::new(Some(name), MetaType::new::<T>(), Some(type_name), Vec::new())
}

/// Returns the description of a version with `fields`.
pub(crate) fn variant(name: &'static str, version: u8, fields: &[Field]) -> Variant {
    Variant::new(name, fields.to_vec(), version, Vec::new())
}

#[cfg(test)]
mod tests {
    use codec::{Decode, Encode, MaxEncodedLen};
    use proptest::prelude::*;
    use scale_info::{TypeDef, TypeInfo};

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Old {
        size: u32,
        name: u8,
    }
    versioned!(Old, 1: { size: u32, name: u8 });

    /// The same type in two later releases.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct New {
        size: u32,
        seed: Option<u16>,
        name: u8,
        fast: bool,
        deep: u8,
    }
    versioned!(
        New,
        1: { size: u32, name: u8 },
        2: { seed: Option<u16> },
        3: { fast: bool, deep: u8 },
    );

    const NEW: New = New { size: 7, seed: None, name: 9, fast: false, deep: 0 };

    #[test]
    fn further_fields_change_no_encoding_that_exists() {
        let old = Old { size: 7, name: 9 }.encode();
        assert_eq!(old, [1, 7, 0, 0, 0, 9]);
        assert_eq!(New::decode(&mut &old[..]), Ok(NEW));
        assert_eq!(NEW.encode(), old);
        let seeded = New { seed: Some(3), ..NEW };
        assert_eq!(seeded.encode(), [2, 7, 0, 0, 0, 9, 1, 3, 0]);
        let deep = New { deep: 1, ..NEW };
        assert_eq!(deep.encode(), [3, 7, 0, 0, 0, 9, 0, 0, 1]);
        // A program of the release before does not take it for something else.
        assert!(Old::decode(&mut &seeded.encode()[..]).is_err());
    }

    #[test]
    fn metadata_describes_each_version() {
        let TypeDef::Variant(versions) = New::type_info().type_def else { panic!("not an enum") };
        let shape = |at: usize| {
            let version: &scale_info::Variant = &versions.variants[at];
            let fields: Vec<_> = version.fields.iter().filter_map(|field| field.name).collect();
            (version.name, version.index, fields)
        };
        assert_eq!(shape(0), ("V1", 1, vec!["size", "name"]));
        assert_eq!(shape(2), ("V3", 3, vec!["size", "name", "seed", "fast", "deep"]));
    }

    proptest! {
        #[test]
        fn a_value_has_one_encoding(
            size: u32,
            seed: Option<u16>,
            name: u8,
            fast: bool,
            deep: u8,
        ) {
            let value = New { size, seed, name, fast, deep };
            prop_assert!(value.encoded_size() <= New::max_encoded_len());
            prop_assert_eq!(New::decode(&mut &value.encode()[..]), Ok(value));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            if let Ok(value) = New::decode(&mut rest) {
                let used = bytes.len() - rest.len();
                prop_assert_eq!(value.encode(), &bytes[..used]);
            }
        }
    }
}
