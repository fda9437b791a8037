// SPDX-License-Identifier: Apache-2.0

//! Records of a described source.

use super::terms::{invalid, is_term, items, text, texts};
use crate::DataError;
use serde_json::{Map, Value};

/// Place of a field in its file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldPlace {
    /// Column of a table, or field of an object, where dots lead into nested objects.
    Column(String),
    /// Whole file.
    Content,
}

/// Field of records that stands in a file as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedField {
    /// Name.
    pub name: String,
    /// `true` if it holds text.
    pub is_text: bool,
    /// Name of the file or the set of files.
    pub file: String,
    /// Place in it.
    pub place: FieldPlace,
}

/// Set of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedRecords {
    /// Name.
    pub name: String,
    /// Fields. Those that are listed in the description itself, or that follow from others, are
    /// left out.
    pub fields: Vec<DescribedField>,
}

/// Reads a set of records.
pub(super) fn records(value: &Value) -> Result<DescribedRecords, DataError> {
    let Value::Object(object) = value else {
        return Err(invalid("a set of its records is no object".into()));
    };
    let name = name_of(object, "a set of its records")?;
    let fields = items(object, "field")?
        .map(|value| {
            let Value::Object(object) = value else {
                return Err(invalid(format!("a field of {name} is no object")));
            };
            field(object, &name)
        })
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?;
    Ok(DescribedRecords { name, fields })
}

/// Returns the name of an object, or its identifier if it has none.
fn name_of(object: &Map<String, Value>, what: &str) -> Result<String, DataError> {
    let name = text(object, "name", "@value")?.or(text(object, "@id", "@id")?);
    name.ok_or_else(|| invalid(format!("{what} has neither a name nor an @id")))
}

/// Reads a field, if it stands in a file as it is.
fn field(object: &Map<String, Value>, records: &str) -> Result<Option<DescribedField>, DataError> {
    let name = name_of(object, &format!("a field of {records}"))?;
    let Some(source) = items(object, "source")?.next().and_then(Value::as_object) else {
        return Ok(None);
    };
    let file = text(source, "fileObject", "@id")?.or(text(source, "fileSet", "@id")?);
    let extract = items(source, "extract")?.next().and_then(Value::as_object);
    let is_changed = items(source, "transform")?.next().is_some();
    let place = match extract {
        Some(extract) => place_of(extract)?,
        None => None,
    };
    let (Some(file), Some(place), false) = (file, place, is_changed) else { return Ok(None) };
    let types = texts(object, "dataType", "@id")?;
    let is_text = types.iter().any(|kind| is_term(kind, "Text"));
    Ok(Some(DescribedField { name, is_text, file, place }))
}

/// Returns the place that an extraction names, if this program can follow it.
fn place_of(extract: &Map<String, Value>) -> Result<Option<FieldPlace>, DataError> {
    if let Some(column) = text(extract, "column", "@value")? {
        return Ok(Some(FieldPlace::Column(column)));
    }
    if let Some(path) = text(extract, "jsonPath", "@value")? {
        let names = ["$[*].", "$."].iter().find_map(|start| path.strip_prefix(start));
        let is_plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        let names = names.filter(|names| !names.is_empty() && names.chars().all(is_plain));
        return Ok(names.map(|names| FieldPlace::Column(names.to_owned())));
    }
    let property = text(extract, "fileProperty", "@value")?;
    Ok(property.filter(|property| property == "content").map(|_| FieldPlace::Content))
}
