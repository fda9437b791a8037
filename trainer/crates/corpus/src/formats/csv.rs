// SPDX-License-Identifier: Apache-2.0

//! Tables of values between separators (RFC 4180 and its relatives), with a header.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::{
    Context, Next, Parser, encoding,
    rows::{Fields, Row, Value},
    source::{Fault, Source},
};

/// Most columns of a table.
const MAX_COLUMNS: usize = 4096;
/// Bytes that are parsed at a time.
const CHUNK: usize = 64 << 10;

/// End of the last line, which may lack one. Only a reader that is between two quotes takes it as a
/// part of a value.
const END_OF_LINE: &[u8] = b"\n";

/// Parser of a table.
pub(super) struct Table {
    context: Context,
    source: Source,
    reader: Reader,
    fields: Fields,
    columns: Vec<String>,
    /// Columns of the table for each field.
    chosen: Vec<usize>,
    row: u64,
    record: Record,
    /// The last line was ended.
    ended: bool,
}

/// Values of a row, after each other.
#[derive(Default)]
struct Record {
    bytes: Vec<u8>,
    length: usize,
    ends: Vec<usize>,
    number: usize,
}

impl Record {
    fn value(&self, column: usize) -> Option<&[u8]> {
        let ends = &self.ends[..self.number];
        let start = column.checked_sub(1).map_or(Some(0), |before| ends.get(before).copied())?;
        self.bytes.get(start..*ends.get(column)?)
    }
}

impl Table {
    pub(super) fn new(context: Context, source: Source, separator: u8) -> Self {
        let fields = Fields::new(&context);
        let reader = ReaderBuilder::new().delimiter(separator).build();
        Self {
            context,
            source,
            reader,
            fields,
            columns: Vec::new(),
            chosen: Vec::new(),
            row: 0,
            record: Record::default(),
            ended: false,
        }
    }

    /// Reads a row. Returns whether there is one.
    fn read_record(&mut self) -> Result<bool, Fault> {
        let record = &mut self.record;
        (record.length, record.number) = (0, 0);
        record.ends.resize(MAX_COLUMNS, 0);
        let limit = self.context.limits().row;
        let line = self.reader.line();
        loop {
            if record.bytes.len() < record.length + CHUNK {
                record.bytes.resize(record.length + 2 * CHUNK, 0);
            }
            let is_last = self.source.fill(1).is_empty();
            if is_last {
                // A row that damage cut off looks like a whole one.
                self.source.end()?;
            }
            let ends_line = is_last && !std::mem::replace(&mut self.ended, true);
            let input = if ends_line { END_OF_LINE } else { self.source.buffered() };
            let input = &input[..input.len().min(CHUNK)];
            let (result, read, written, ends) = self.reader.read_record(
                input,
                &mut record.bytes[record.length..],
                &mut record.ends[record.number..],
            );
            record.length += written;
            record.number += ends;
            if !ends_line {
                self.source.skip(read);
            } else if written > 0 {
                return Err(self.refuse(format!(
                    "a quote in it, from line {line} on, is not closed, so that it holds the rest \
                     of the file; add the quote that is missing"
                )));
            }
            match result {
                ReadRecordResult::Record => return Ok(true),
                ReadRecordResult::End => return Ok(false),
                ReadRecordResult::OutputEndsFull => {
                    return Err(self.refuse(format!("over {MAX_COLUMNS} columns")));
                }
                ReadRecordResult::InputEmpty | ReadRecordResult::OutputFull => {}
            }
            if record.length > limit {
                let reason = format!("over {limit} bytes; a quote may be missing");
                return Err(self.refuse(reason));
            }
        }
    }

    fn refuse(&self, reason: String) -> Fault {
        Fault::Refused(format!("row {}: {reason}", self.row + 1))
    }

    fn read_header(&mut self) -> Result<(), Fault> {
        if !self.read_record()? {
            return Ok(());
        }
        self.columns = (0..self.record.number)
            .filter_map(|column| self.record.value(column))
            .map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned())
            .collect();
        self.chosen = self.fields.select(&self.columns).map_err(Fault::Refused)?;
        Ok(())
    }
}

impl Parser for Table {
    fn next(&mut self) -> Next {
        if self.columns.is_empty() {
            self.read_header()?;
        }
        if !self.read_record()? {
            return Ok(None);
        }
        self.row += 1;
        let place = format!("row {}", self.row);
        if self.record.number != self.columns.len() {
            let reason = format!(
                "{} values in a table of {} columns",
                self.record.number,
                self.columns.len()
            );
            return Ok(Some(self.context.refuse(vec![place], reason)));
        }
        let mut row = Row::new(&self.fields);
        for (value, column) in row.values.iter_mut().zip(&self.chosen) {
            let bytes = self.record.value(*column).unwrap_or_default();
            let (text, invalid) = encoding::decode(encoding::Charset::Undecided, bytes);
            row.invalid += invalid;
            *value = Some(Value::Text(text));
        }
        let columns = || self.columns.clone();
        Ok(Some(self.fields.document(&self.context, "csv", place, row, columns)))
    }
}
