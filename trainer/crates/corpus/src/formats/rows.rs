// SPDX-License-Identifier: Apache-2.0

//! Rows of tables: fields that hold text, and those that tell its origin.

use std::borrow::Cow;

use super::{Context, Event, NO_TEXT, encoding};

/// Fields that hold the text in published datasets, in order of preference.
pub const TEXT_FIELDS: &[&str] =
    &["text", "content", "body", "document", "article", "story", "raw_content", "markdown"];
const LICENCE_FIELDS: &[&str] = &[
    "license",
    "licence",
    "metadata.license",
    "meta.license",
    "licenses",
    "detected_licenses",
    "max_stars_repo_licenses",
    "license_type",
];
const URL_FIELDS: &[&str] =
    &["url", "uri", "metadata.url", "meta.url", "source_url", "func_code_url"];
const ID_FIELDS: &[&str] = &["id", "_id", "doc_id", "uuid"];
/// Longest value that tells an origin, in bytes. Longer ones are something else.
const MAX_LABEL_BYTES: usize = 2 << 10;
/// Most licences of a list. A longer one is something else.
const MAX_LICENCES: usize = 64;
/// Most names of fields that a refusal lists.
pub(super) const MAX_LISTED: usize = 20;

/// Returns the fields that hold text: those that the options name, or the usual ones.
pub(super) fn text_fields(named: &[String]) -> Vec<String> {
    if named.is_empty() {
        TEXT_FIELDS.iter().map(|field| (*field).to_owned()).collect()
    } else {
        named.to_vec()
    }
}

/// Value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// Number or truth value, as written.
    Scalar(String),
    Null,
    /// List or object.
    Nested,
}

/// Licences of a row that states them as a list.
///
/// All of them apply: those that were found in a repository, as The Stack lists them, are no choice
/// of the reader. So they are joined by `AND`, as an SPDX expression has it, and not by `OR`.
#[derive(Debug, Default)]
pub(super) struct Licences {
    all: Vec<String>,
    /// An entry is no licence, or there are too many.
    is_other: bool,
}

impl Licences {
    /// Adds an entry of the list. Blank and repeated ones state nothing.
    pub(super) fn add(&mut self, entry: Value) {
        match entry {
            Value::Null => {}
            Value::Text(text) => {
                let text = text.trim();
                if text.is_empty() || self.all.iter().any(|known| known == text) {
                    return;
                }
                if self.all.len() < MAX_LICENCES {
                    self.all.push(text.to_owned());
                } else {
                    self.is_other = true;
                }
            }
            Value::Scalar(_) | Value::Nested => self.is_other = true,
        }
    }

    /// Returns the expression of all licences, if it is one.
    pub(super) fn value(self) -> Value {
        if self.is_other {
            return Value::Nested;
        }
        match self.all.as_slice() {
            [] => Value::Nested,
            [only] => Value::Text(only.clone()),
            all => {
                let terms: Vec<_> = all.iter().map(|licence| operand(licence)).collect();
                Value::Text(terms.join(" AND "))
            }
        }
    }
}

/// Returns a licence as an operand of `AND`, which binds more tightly than `OR`.
fn operand(licence: &str) -> Cow<'_, str> {
    if licence.split_whitespace().any(|word| word.eq_ignore_ascii_case("or")) {
        Cow::Owned(format!("({licence})"))
    } else {
        Cow::Borrowed(licence)
    }
}

/// Fields that are taken from each row.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    /// Names, with dots between those of nested objects.
    pub(super) names: Vec<String>,
    /// Number of names that hold text.
    text: usize,
    /// All of the text fields make a document, not the first that is there.
    all: bool,
    /// Positions of the names that tell the licence, the address, and the number of a row.
    labels: [Vec<usize>; 3],
}

impl Fields {
    pub(super) fn new(context: &Context) -> Self {
        let named = &context.shared.options.text_fields;
        let mut names = text_fields(named);
        let text = names.len();
        let labels = [LICENCE_FIELDS, URL_FIELDS, ID_FIELDS].into_iter().flatten();
        names.extend(labels.map(|name| (*name).to_owned()));
        let mut fields = Self { names, text, all: !named.is_empty(), labels: Default::default() };
        fields.find_labels();
        fields
    }

    fn find_labels(&mut self) {
        self.labels = [LICENCE_FIELDS, URL_FIELDS, ID_FIELDS].map(|labels| {
            let position = |label: &&str| {
                let at = self.names.iter().skip(self.text).position(|name| name == label)?;
                Some(self.text + at)
            };
            labels.iter().filter_map(position).collect()
        });
    }

    /// Returns `true` if the field at a position tells the licence.
    pub(super) fn is_licence(&self, at: usize) -> bool {
        let [licences, ..] = &self.labels;
        licences.contains(&at)
    }

    /// Restricts the fields to those that a table has. Returns their positions in it, or an error
    /// in words if it lacks the text.
    pub(super) fn select(&mut self, columns: &[String]) -> Result<Vec<usize>, String> {
        let found: Vec<Option<usize>> = self
            .names
            .iter()
            .map(|name| {
                let exact = columns.iter().position(|column| column == name);
                exact
                    .or_else(|| columns.iter().position(|column| column.eq_ignore_ascii_case(name)))
            })
            .collect();
        let texts = &found[..self.text];
        let enough = if self.all {
            texts.iter().all(Option::is_some)
        } else {
            texts.iter().any(Option::is_some)
        };
        if !enough {
            return Err(self.missing(columns.iter().map(String::as_str)));
        }
        // Of the usual names, one is enough.
        let first = texts.iter().position(Option::is_some).unwrap_or(0);
        let keep = |at: usize| self.all || at >= self.text || at == first;
        let kept: Vec<usize> =
            (0..found.len()).filter(|at| keep(*at) && found[*at].is_some()).collect();
        self.text = kept.iter().filter(|at| **at < self.text).count();
        self.names = kept.iter().map(|at| self.names[*at].clone()).collect();
        self.find_labels();
        Ok(kept.into_iter().filter_map(|at| found[at]).collect())
    }

    /// Returns the reason for which a row or table without the text is refused.
    fn missing<'a>(&self, present: impl Iterator<Item = &'a str>) -> String {
        let wanted = self.names[..self.text].join("`, `");
        let wanted = if self.all { format!("`{wanted}`") } else { format!("one of `{wanted}`") };
        let present: Vec<&str> = present.take(MAX_LISTED).collect();
        format!(
            "has no text in {wanted}; name the field that holds it (fields: {})",
            present.join(", ")
        )
    }

    /// Returns the document that a row is, or its refusal. `present` lists the names of its
    /// fields, if rows have different ones.
    pub(super) fn document(
        &self,
        context: &Context,
        tool: &str,
        place: String,
        mut row: Row,
        present: impl FnOnce() -> Vec<String>,
    ) -> Event {
        let text = match self.text(&mut row) {
            Some(text) if text.trim_ascii().is_empty() => {
                return context.refuse(vec![place], NO_TEXT);
            }
            Some(text) => text,
            None => {
                let present = present();
                let reason = match present.as_slice() {
                    [] => NO_TEXT.to_owned(),
                    names => self.missing(names.iter().map(String::as_str)),
                };
                return context.refuse(vec![place], reason);
            }
        };
        let raw = blake3::hash(text.as_bytes()).into();
        let text = encoding::normalise_line_ends(text);
        let [licences, addresses, numbers] = &self.labels;
        let mut parts = vec![place];
        let number = || Some(format!("id {}", row.label(numbers)?));
        parts.extend(row.label(addresses).map(str::to_owned).or_else(number));
        let mut document = context.document(parts, tool, raw, row.invalid, text);
        if let Some(licence) = row.label(licences) {
            document.origin.licence = Some(licence.to_owned());
        }
        Event::Document(document)
    }

    /// Takes the text out of a row: the first text there is, or all of them.
    fn text(&self, row: &mut Row) -> Option<String> {
        let mut texts = row.values[..self.text].iter_mut().map(|value| match value.take() {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        });
        if !self.all {
            return texts.flatten().next();
        }
        let first = texts.next()??;
        texts.try_fold(first, |joined, text| Some(joined + "\n\n" + &text?))
    }
}

/// Row of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// Values in the order of [`Fields::names`].
    pub(super) values: Vec<Option<Value>>,
    /// Number of byte sequences that could not be decoded.
    pub(super) invalid: u64,
}

impl Row {
    pub(super) fn new(fields: &Fields) -> Self {
        Self { values: vec![None; fields.names.len()], ..Self::default() }
    }

    /// Returns the first value at these positions that tells an origin.
    fn label(&self, positions: &[usize]) -> Option<&str> {
        positions.iter().find_map(|at| match self.values.get(*at)?.as_ref()? {
            Value::Text(text) | Value::Scalar(text) => Some(text.as_str())
                .filter(|text| !text.trim().is_empty() && text.len() <= MAX_LABEL_BYTES),
            Value::Null | Value::Nested => None,
        })
    }
}

/// Returns the separator of a table, if a text is one. A file that is called a table has to have a
/// header. Others are tables if their header names a text field, and their second row fits.
pub(super) fn separator(text: &str, whole: bool, named: bool, fields: &[String]) -> Option<u8> {
    let mut lines = text.split('\n').filter(|line| !line.trim().is_empty());
    let header = lines.next()?;
    let count = |separator: u8| memchr::memchr_iter(separator, header.as_bytes()).count();
    let best = [b'\t', b',', b';', b'|'].into_iter().max_by_key(|separator| {
        // The first of equals is meant.
        (count(*separator), std::cmp::Reverse(*separator))
    })?;
    if named {
        return Some(if count(best) == 0 { b',' } else { best });
    }
    let names: Vec<&str> =
        header.split(char::from(best)).map(|name| name.trim().trim_matches('"')).collect();
    let known = names.len() > 1
        && names.iter().all(|name| !name.is_empty() && name.len() < 64)
        && fields.iter().any(|field| names.contains(&field.as_str()));
    let fits = lines
        .next()
        .is_some_and(|row| row.split(char::from(best)).count() >= names.len() || row.contains('"'));
    (known && fits && (whole || header.len() < text.len())).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_licences_all_apply() {
        let text = |text: &str| Value::Text(text.to_owned());
        let value = |entries: Vec<Value>| {
            let mut licences = Licences::default();
            entries.into_iter().for_each(|entry| licences.add(entry));
            licences.value()
        };
        assert_eq!(value(vec![text("MIT")]), text("MIT"));
        assert_eq!(value(vec![text("MIT OR ISC"), text(" ")]), text("MIT OR ISC"));
        let several = vec![text("MIT"), Value::Null, text("Zlib OR ISC"), text(" MIT ")];
        assert_eq!(value(several), text("MIT AND (Zlib OR ISC)"));
        assert_eq!(value(Vec::new()), Value::Nested);
        assert_eq!(value(vec![text("MIT"), Value::Nested]), Value::Nested);
        assert_eq!(value(vec![Value::Scalar("1".into()), text("MIT")]), Value::Nested);
        let many = |count: usize| (0..count).map(|number| text(&number.to_string())).collect();
        assert!(matches!(value(many(MAX_LICENCES)), Value::Text(_)));
        assert_eq!(value(many(MAX_LICENCES + 1)), Value::Nested);
    }

    #[test]
    fn tables_are_told_from_prose() {
        let fields = text_fields(&[]);
        let found = |text: &str, named| separator(text, true, named, &fields);
        assert_eq!(found("id,text\n1,One.\n", false), Some(b','));
        assert_eq!(found("text\tid\nOne.\t1\n", false), Some(b'\t'));
        assert_eq!(found("id;\"text\"\n1;\"One\n", false), Some(b';'));
        assert_eq!(found("In the text, he said,\nthere is more, and so on.\n", false), None);
        assert_eq!(found("id,text\n", false), None);
        assert_eq!(found("word\nother\n", true), Some(b','));
    }
}
