// SPDX-License-Identifier: Apache-2.0

//! Columns of tables, and the types of Rust that are stored in them.
//!
//! Only three types of SQL are used, since both databases have them: integers of 64 bits, texts,
//! and bytes.

use codec::{DecodeAll, Encode};
use pol_primitives::{
    Balance, POL,
    data::{ShardId, SourceKind},
    lineage::Activity,
    member::{Endpoint, Role},
    recipe::Tier,
    round::Phase,
    submission::Outcome,
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{
    Any, Row,
    any::{AnyArguments, AnyRow},
    query::Query,
};

/// Value of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// Integer.
    Integer(Option<i64>),
    /// Text.
    Text(Option<String>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
}

/// Type of a field, which has one column or several.
pub trait Field: Sized {
    /// Number of columns.
    const WIDTH: usize = 1;

    /// Returns the names of the columns of a field called `name`.
    fn columns(name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }

    /// Adds the values of the columns, or nulls without a field.
    fn write(field: Option<&Self>, values: &mut Vec<Value>);

    /// Reads the field.
    ///
    /// # Errors
    ///
    /// Fails if the columns hold something else.
    fn read(row: &mut Reader<'_>) -> Result<Self, sqlx::Error>;
}

/// Reader of the columns of a row, one after the other.
pub struct Reader<'a> {
    row: &'a AnyRow,
    next: usize,
}

impl<'a> Reader<'a> {
    /// Creates a reader that begins with the first column.
    pub(crate) fn new(row: &'a AnyRow) -> Self {
        Self { row, next: 0 }
    }

    /// Reads a column.
    fn take<T>(&mut self) -> Result<T, sqlx::Error>
    where
        T: sqlx::Decode<'a, Any> + sqlx::Type<Any>,
    {
        self.next += 1;
        self.row.try_get(self.next - 1)
    }

    /// Reads a field, or nothing if its columns are null.
    pub(crate) fn optional<T: Field>(&mut self) -> Result<Option<T>, sqlx::Error> {
        if self.is_null()? {
            self.next += T::WIDTH;
            return Ok(None);
        }
        T::read(self).map(Some)
    }

    /// Returns `true` if the next column is null.
    pub(crate) fn is_null(&self) -> Result<bool, sqlx::Error> {
        Ok(sqlx::ValueRef::is_null(&self.row.try_get_raw(self.next)?))
    }

    /// Leaves out columns.
    pub(crate) fn skip(&mut self, columns: usize) {
        self.next += columns;
    }
}

/// Binds a value to the next parameter of a statement.
pub(crate) fn bind(
    query: Query<'_, Any, AnyArguments>,
    value: Value,
) -> Query<'_, Any, AnyArguments> {
    match value {
        Value::Integer(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
    }
}

/// Returns the error of a column with another content than this program writes.
fn unexpected(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("a column does not hold {what}").into())
}

impl<T: Field> Field for Option<T> {
    const WIDTH: usize = T::WIDTH;

    fn columns(name: &str) -> Vec<String> {
        T::columns(name)
    }

    fn write(field: Option<&Self>, values: &mut Vec<Value>) {
        T::write(field.and_then(Option::as_ref), values);
    }

    fn read(row: &mut Reader<'_>) -> Result<Self, sqlx::Error> {
        row.optional()
    }
}

/// Implements [`Field`] for integers. Larger ones than the column holds are stored as its largest.
macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn write(field: Option<&Self>, values: &mut Vec<Value>) {
                let stored = field.map(|number| i64::try_from(*number).unwrap_or(i64::MAX));
                values.push(Value::Integer(stored));
            }

            fn read(row: &mut Reader<'_>) -> Result<Self, sqlx::Error> {
                let stored: i64 = row.take()?;
                stored.try_into().map_err(|_| unexpected(stringify!($type)))
            }
        }
    )*};
}

integers!(u8, u32, u64, i32, i64);

impl Field for bool {
    fn write(field: Option<&Self>, values: &mut Vec<Value>) {
        values.push(Value::Integer(field.map(|flag| i64::from(*flag))));
    }

    fn read(row: &mut Reader<'_>) -> Result<Self, sqlx::Error> {
        Ok(row.take::<i64>()? != 0)
    }
}

impl Field for String {
    fn write(field: Option<&Self>, values: &mut Vec<Value>) {
        // PostgreSQL has no texts with zero bytes.
        values.push(Value::Text(field.map(|text| text.replace('\0', "\u{fffd}"))));
    }

    fn read(row: &mut Reader<'_>) -> Result<Self, sqlx::Error> {
        row.take()
    }
}

impl Field for [u8; 32] {
    fn write(field: Option<&Self>, values: &mut Vec<Value>) {
        values.push(Value::Bytes(field.map(|bytes| bytes.to_vec())));
    }

    fn read(row: &mut Reader<'_>) -> Result<Self, sqlx::Error> {
        let bytes: Vec<u8> = row.take()?;
        bytes.try_into().map_err(|_| unexpected("32 bytes"))
    }
}

/// An amount has two columns, of whole POL and of the rest in the smallest unit, so that sums of
/// millions of rows stay exact in integers of 64 bits.
impl Field for Balance {
    const WIDTH: usize = 2;

    fn columns(name: &str) -> Vec<String> {
        vec![format!("{name}_pol"), format!("{name}_units")]
    }

    fn write(field: Option<&Self>, values: &mut Vec<Value>) {
        let part = |part: Balance| i64::try_from(part).unwrap_or(i64::MAX);
        values.push(Value::Integer(field.map(|amount| part(amount / POL))));
        values.push(Value::Integer(field.map(|amount| part(amount % POL))));
    }

    fn read(row: &mut Reader<'_>) -> Result<Self, sqlx::Error> {
        let (whole, rest): (i64, i64) = (row.take()?, row.take()?);
        let part = |part: i64| Balance::try_from(part).map_err(|_| unexpected("an amount"));
        // A sum of rests may exceed a POL.
        Ok(part(whole)?.saturating_mul(POL).saturating_add(part(rest)?))
    }
}

/// Implements [`Field`] for enumerations whose variants serde names in words.
macro_rules! names {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn write(field: Option<&Self>, values: &mut Vec<Value>) {
                values.push(Value::Text(field.and_then($crate::value::name)));
            }

            fn read(row: &mut Reader<'_>) -> Result<Self, sqlx::Error> {
                $crate::value::named(String::read(row)?)
            }
        }
    )*};
}
pub(crate) use names;

names!(Activity, Outcome, Phase, Role, SourceKind, Tier);

/// Returns the name of a variant.
pub(crate) fn name<T: Serialize>(variant: &T) -> Option<String> {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(name)) => Some(name),
        _ => None,
    }
}

/// Returns the variant with a name.
pub(crate) fn named<T: DeserializeOwned>(name: String) -> Result<T, sqlx::Error> {
    let unknown = format!("a known word, but {name}");
    serde_json::from_value(serde_json::Value::String(name)).map_err(|_| unexpected(&unknown))
}

/// Implements [`Field`] for types that are stored in their SCALE encoding.
macro_rules! encodings {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn write(field: Option<&Self>, values: &mut Vec<Value>) {
                values.push(Value::Bytes(field.map(Encode::encode)));
            }

            fn read(row: &mut Reader<'_>) -> Result<Self, sqlx::Error> {
                let bytes: Vec<u8> = row.take()?;
                Self::decode_all(&mut &bytes[..]).map_err(|_| unexpected(stringify!($type)))
            }
        }
    )*};
}

encodings!(Endpoint, Vec<ShardId>);
