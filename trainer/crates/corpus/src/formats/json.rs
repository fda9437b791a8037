// SPDX-License-Identifier: Apache-2.0

//! JSON: one value a line, values after each other, and arrays of values.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    Context, Event, Next, Parser, encoding,
    rows::{Fields, Licences, MAX_LISTED, Row, Value},
    source::{Fault, Source},
};

/// Bytes of a line that is too long that are skipped at a time.
const CHUNK: usize = 64 << 10;

/// Parser of one value a line.
pub(super) struct Lines {
    context: Context,
    source: Source,
    fields: Fields,
    line: u64,
}

impl Lines {
    pub(super) fn new(context: Context, source: Source) -> Self {
        let fields = Fields::new(&context);
        Self { context, source, fields, line: 0 }
    }

    /// Skips a line of any length.
    fn skip_line(&mut self) {
        loop {
            let (length, ended) = self.source.find(b'\n', CHUNK);
            self.source.skip(length);
            if ended || length == 0 {
                break;
            }
        }
    }
}

impl Parser for Lines {
    fn next(&mut self) -> Next {
        loop {
            let limit = self.context.limits().row;
            let (length, ended) = self.source.find(b'\n', limit);
            let is_last = !ended && length < limit;
            if is_last {
                self.source.end()?;
            }
            if length == 0 {
                return Ok(None);
            }
            self.line += 1;
            let place = format!("line {}", self.line);
            if !ended && !is_last {
                self.skip_line();
                return Ok(Some(self.context.refuse(vec![place], too_long(limit))));
            }
            let line = self.source.buffered()[..length].trim_ascii();
            let event = (!line.is_empty())
                .then(|| value_event(&self.context, &self.fields, place, line, "jsonl"));
            self.source.skip(length);
            if event.is_some() {
                return Ok(event);
            }
        }
    }
}

fn too_long(limit: usize) -> String {
    format!("a row of over {limit} bytes")
}

/// Parser of values over any number of lines.
pub(super) struct Values {
    context: Context,
    source: Source,
    fields: Fields,
    row: u64,
    /// The elements of an array are the rows.
    is_inside: bool,
}

impl Values {
    pub(super) fn new(context: Context, source: Source) -> Self {
        let fields = Fields::new(&context);
        Self { context, source, fields, row: 0, is_inside: false }
    }

    /// Skips what stands between values. Returns whether a value follows. Arrays may follow each
    /// other, as in exports that were joined.
    fn next_value(&mut self) -> Result<bool, Fault> {
        loop {
            let Some(first) = self.source.fill(1).first() else { return Ok(false) };
            match first {
                b'[' if !self.is_inside => self.is_inside = true,
                b']' if self.is_inside => self.is_inside = false,
                b']' => return Err(self.refused("a `]` that closes no array")),
                between if between.is_ascii_whitespace() || *between == b',' => {}
                _ => return Ok(true),
            }
            self.source.skip(1);
        }
    }

    fn refused(&self, reason: &str) -> Fault {
        Fault::Refused(format!("row {}: {reason}", self.row + 1))
    }
}

impl Parser for Values {
    fn next(&mut self) -> Next {
        if !self.next_value()? {
            self.source.end()?;
            if self.is_inside {
                return Err(self.refused("ends within an array"));
            }
            return Ok(None);
        }
        self.row += 1;
        let place = format!("row {}", self.row);
        let limit = self.context.limits().row;
        let mut scan = Scan::default();
        let length = loop {
            let known = scan.at;
            let bytes = self.source.fill(known + 1);
            if let Some(end) = scan.end(bytes) {
                break end;
            }
            if bytes.len() > limit {
                return Err(Fault::Refused(format!("{place}: {}", too_long(limit))));
            }
            if bytes.len() <= known {
                self.source.end()?;
                return Err(Fault::Refused(format!("{place}: ends within a value")));
            }
        };
        let value = &self.source.buffered()[..length];
        let event = value_event(&self.context, &self.fields, place, value, "json");
        self.source.skip(length);
        Ok(Some(event))
    }
}

/// Search for the end of a value, over bytes that arrive in parts.
#[derive(Default)]
struct Scan {
    at: usize,
    depth: usize,
    string: bool,
    escaped: bool,
}

impl Scan {
    /// Returns the length of the value that `bytes` start with, once it is there as a whole.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(byte) = bytes.get(self.at) {
            if self.string && !self.escaped {
                // Strings are most of the bytes.
                let rest = &bytes[self.at..];
                let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                if plain > 0 {
                    self.at += plain;
                    continue;
                }
            }
            self.at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.string => self.escaped = true,
                b'"' => self.string = !self.string,
                _ if self.string => {}
                b'{' | b'[' => self.depth += 1,
                // So does one that is the last of an array.
                b'}' | b']' if self.depth == 0 && self.at > 1 => return Some(self.at - 1),
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ if self.depth > 0 => continue,
                // A number or word ends before what follows it.
                b',' | b' ' | b'\n' | b'\r' | b'\t' if self.at > 1 => return Some(self.at - 1),
                _ => continue,
            }
            if self.depth == 0 && !self.string {
                return Some(self.at);
            }
        }
        None
    }
}

/// Returns the document that a value is, or its refusal.
fn value_event(
    context: &Context,
    fields: &Fields,
    place: String,
    bytes: &[u8],
    tool: &str,
) -> Event {
    let (text, invalid) = match std::str::from_utf8(bytes) {
        Ok(text) => (text.into(), 0),
        Err(_) => {
            let (text, invalid) = encoding::decode(encoding::Charset::Undecided, bytes);
            (std::borrow::Cow::Owned(text), invalid)
        }
    };
    let mut row = Row::new(fields);
    row.invalid = invalid;
    match read(&text, Level { fields, row: &mut row, prefix: "" }) {
        Ok(()) => fields.document(context, tool, place, row, || keys(&text)),
        Err(error) => context.refuse(vec![place], format!("no row in JSON: {error}")),
    }
}

fn read<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> serde_json::Result<S::Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

/// Returns the names of an object's fields, for a refusal.
fn keys(text: &str) -> Vec<String> {
    read(text, Keys).unwrap_or_default()
}

struct Keys;

impl<'de> DeserializeSeed<'de> for Keys {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Keys {
    type Value = Vec<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
        let mut keys = Vec::new();
        while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
            if keys.len() < MAX_LISTED {
                keys.push(key.chars().take(80).collect());
            }
        }
        Ok(keys)
    }
}

/// Object at some depth of a row. Only fields that are wanted are kept.
struct Level<'a> {
    fields: &'a Fields,
    row: &'a mut Row,
    /// Names of the objects around, each with a dot behind it.
    prefix: &'a str,
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with the fields of a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { fields, row, prefix } = self;
        while let Some(key) = map.next_key_seed(Key { fields, prefix })? {
            match key {
                Wanted::Field(at) => {
                    let cell = Cell { inside: None, is_licence: fields.is_licence(at) };
                    row.values[at] = Some(map.next_value_seed(cell)?);
                }
                Wanted::Inside(prefix) => {
                    let inside = Some(Level { fields, row, prefix: &prefix });
                    map.next_value_seed(Cell { inside, is_licence: false })?;
                }
                Wanted::Nothing => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Interest in a field.
enum Wanted {
    /// Field at this position of [`Fields::names`].
    Field(usize),
    /// Object with wanted fields, whose names start with this.
    Inside(String),
    Nothing,
}

struct Key<'a> {
    fields: &'a Fields,
    prefix: &'a str,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Wanted;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Wanted, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Wanted;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_str<E>(self, key: &str) -> Result<Wanted, E> {
        let first = (self.prefix.len(), key.as_bytes().first());
        for (at, name) in self.fields.names.iter().enumerate() {
            // Most names differ in their first letter.
            if name.as_bytes().get(first.0) != first.1 {
                continue;
            }
            let rest = name.strip_prefix(self.prefix).and_then(|name| name.strip_prefix(key));
            match rest {
                Some("") => return Ok(Wanted::Field(at)),
                Some(inside) if inside.starts_with('.') => {
                    return Ok(Wanted::Inside(format!("{}{key}.", self.prefix)));
                }
                _ => {}
            }
        }
        Ok(Wanted::Nothing)
    }
}

/// Value of a field, which may be an object with wanted fields.
#[derive(Default)]
struct Cell<'a> {
    inside: Option<Level<'a>>,
    /// The field tells the licence, which may be a list.
    is_licence: bool,
}

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        if !self.is_licence {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Nested);
        }
        let mut licences = Licences::default();
        while let Some(entry) = seq.next_element_seed(Cell::default())? {
            licences.add(entry);
        }
        Ok(licences.value())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        match self.inside {
            Some(level) => level.visit_map(map)?,
            None => while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {},
        }
        Ok(Value::Nested)
    }
}
