// SPDX-License-Identifier: Apache-2.0

//! Parquet files, of which only the columns that are wanted are read, a page of each at a time.
//!
//! The file is read through [`Pages`], which sees the header of each page before its bytes are
//! decompressed and refuses sizes that would fill memory. All metadata has the shape of the format
//! before the library reads it.

use std::{io::Cursor, sync::Arc};

use bytes::Bytes;
use parquet::{
    basic::Type,
    column::reader::ColumnReaderImpl,
    data_type::{ByteArray, ByteArrayType},
    errors::ParquetError,
    file::{
        metadata::{ParquetMetaData, ParquetMetaDataReader},
        reader::{ChunkReader, Length},
        serialized_reader::SerializedPageReader,
    },
};

use super::{
    Context, Next, Parser,
    detect::PARQUET_MAGIC,
    encoding, guarded,
    parquet_shape::{FILE, PAGE, length},
    random::{RandomAccess, failed, random_access},
    rows::{Fields, Row, Value},
    source::{Budget, Fault, Source},
};

/// Rows that are read at a time.
const BATCH: usize = 128;
/// Bytes in which the header of a page is looked for, one after the other. Statistics in it hold
/// two values of the column.
const HEADERS: [u64; 3] = [1 << 8, 1 << 13, 1 << 20];
/// End of a file: length of the metadata, and the magic number again.
const FOOTER: u64 = 8;

/// Opens a file, or a stream by way of a temporary file, because the table of contents is last.
pub(super) fn open(
    context: Context,
    source: Source,
    file: Option<Arc<dyn RandomAccess>>,
) -> Result<Box<dyn Parser>, Fault> {
    let file = random_access(&context, source, file)?;
    let pages = Pages::new(&context, file)?;
    let table_of_contents = pages.table_of_contents(context.limits().row)?;
    let metadata =
        guarded(|| ParquetMetaDataReader::decode_metadata(&table_of_contents))?.map_err(fault)?;
    let mut fields = Fields::new(&context);
    let mut columns = Vec::new();
    let mut names = Vec::new();
    for (at, column) in metadata.file_metadata().schema_descr().columns().iter().enumerate() {
        // Lists are passed over, also where they state licences: run lengths of a few bytes stand
        // for any number of entries, and the library reads the entries of a row all at once.
        if column.max_rep_level() == 0 && column.physical_type() == Type::BYTE_ARRAY {
            columns.push(at);
            names.push(column.path().string());
        }
    }
    let chosen = fields.select(&names).map_err(Fault::Refused)?;
    let chosen = chosen.into_iter().filter_map(|at| columns.get(at).copied()).collect();
    let pages = Arc::new(pages);
    let (group, row, next, rows) = (0, 0, 0, 0);
    let columns = Vec::new();
    let skip = context.shared.options.skip_rows;
    let mut table =
        Table { context, pages, metadata, fields, chosen, group, columns, row, next, rows };
    guarded(|| table.skip(skip))?.map_err(fault)?;
    Ok(Box::new(table))
}

/// Tells a disk that failed from a file that is damaged.
fn fault(error: ParquetError) -> Fault {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => (*error).into(),
            Err(error) => unread(&error),
        },
        error => unread(&error),
    }
}

fn unread(error: &dyn std::fmt::Display) -> Fault {
    Fault::Refused(format!("damaged, or of a kind that is not read: {error}"))
}

/// File whose pages are looked at before they are decompressed.
struct Pages {
    file: Arc<dyn RandomAccess>,
    length: u64,
    limit: u64,
    budget: Arc<Budget>,
}

impl Pages {
    fn new(context: &Context, file: Arc<dyn RandomAccess>) -> Result<Self, Fault> {
        let length = file.size().map_err(Fault::Failed)?;
        let limit = context.limits().parquet_page;
        Ok(Self { file, length, limit, budget: context.shared.budget.clone() })
    }

    fn read(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        Ok(self.file.read_at(start, length).map_err(failed)?)
    }

    /// Returns the metadata of the file, which has at most `limit` bytes and the right shape.
    fn table_of_contents(&self, limit: usize) -> Result<Bytes, Fault> {
        let refuse = |reason: &str| Fault::Refused(format!("damaged: {reason}"));
        let end = self.length.checked_sub(FOOTER);
        let end = end.ok_or_else(|| refuse("too short for a Parquet file"))?;
        let footer = self.read(end, FOOTER as usize).map_err(fault)?;
        let size = footer.first_chunk().map_or(0, |size| u32::from_le_bytes(*size));
        if !footer.ends_with(PARQUET_MAGIC) {
            return Err(refuse("a Parquet file without its end"));
        }
        if size as usize > limit {
            return Err(Fault::Refused(format!("a table of contents of {size} bytes")));
        }
        let start = end.checked_sub(size.into());
        let start = start.ok_or_else(|| refuse("a table of contents before the file"))?;
        let bytes = self.read(start, size as usize).map_err(fault)?;
        let is_whole = length(&bytes, FILE).is_some();
        is_whole.then_some(bytes).ok_or_else(|| refuse("a table of contents of another shape"))
    }

    /// Returns the header of the page at `start`.
    fn header(&self, start: u64) -> Result<Bytes, ParquetError> {
        let left = self.length.saturating_sub(start);
        for most in HEADERS {
            let bytes = self.read(start, left.min(most) as usize)?;
            if let Some(length) = length(&bytes, PAGE) {
                return Ok(bytes.slice(..length));
            }
        }
        Err(ParquetError::General("a page without a header".into()))
    }

    fn check(&self, header: &[u8]) -> Result<(), ParquetError> {
        let (unpacked, packed) = page_sizes(header)
            .ok_or_else(|| ParquetError::General("a page without its sizes".into()))?;
        if unpacked.max(packed) > self.limit {
            let limit = self.limit;
            return Err(ParquetError::General(format!("a page of over {limit} bytes")));
        }
        Ok(())
    }
}

/// Returns the sizes in the header of a page, decompressed and compressed. They are the second and
/// the third field, after the type, in Thrift's compact protocol.
fn page_sizes(header: &[u8]) -> Option<(u64, u64)> {
    /// Header of a field: an `i32` whose number is one above that of the field before.
    const NEXT_I32: u8 = 0x15;
    let mut bytes = header.iter().copied();
    let mut field = || {
        if bytes.next()? != NEXT_I32 {
            return None;
        }
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = bytes.next()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // Even numbers stand for those that are not negative.
                return value.is_multiple_of(2).then_some(value / 2);
            }
        }
        None
    };
    let _kind = field()?;
    Some((field()?, field()?))
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Pages {
    type T = Cursor<Bytes>;

    /// The library reads headers of pages so, and all else by their lengths.
    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let header = self.header(start)?;
        self.check(&header)?;
        Ok(Cursor::new(header))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<bytes::Bytes> {
        let there = start.checked_add(length as u64).is_some_and(|end| end <= self.length);
        if !there || length as u64 > self.limit {
            return Err(ParquetError::General("a page that ends behind the file".into()));
        }
        self.budget.read(length);
        self.read(start, length)
    }
}

/// Column of a row group, with the values of some rows.
struct Column {
    reader: ColumnReaderImpl<ByteArrayType>,
    defined: i16,
    levels: Vec<i16>,
    values: std::vec::IntoIter<ByteArray>,
}

impl Column {
    fn open(
        pages: &Arc<Pages>,
        metadata: &ParquetMetaData,
        group: usize,
        column: usize,
    ) -> Result<Self, ParquetError> {
        let group = metadata.row_group(group);
        let chunk = group.column(column);
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        if start < 0 || chunk.compressed_size() < 0 {
            return Err(ParquetError::General("a column before the start of the file".into()));
        }
        let rows = usize::try_from(group.num_rows())
            .map_err(|_| ParquetError::General("a negative number of rows".into()))?;
        let reader = SerializedPageReader::new(pages.clone(), chunk, rows, None)?;
        let descriptor = chunk.column_descr_ptr();
        Ok(Self {
            defined: descriptor.max_def_level(),
            reader: ColumnReaderImpl::new(descriptor, Box::new(reader)),
            levels: Vec::new(),
            values: Vec::new().into_iter(),
        })
    }

    /// Reads the values of the next rows. Returns the number of rows.
    fn read(&mut self) -> Result<usize, ParquetError> {
        self.levels.clear();
        let mut values = Vec::new();
        let levels = (self.defined > 0).then_some(&mut self.levels);
        let (rows, ..) = self.reader.read_records(BATCH, levels, None, &mut values)?;
        self.values = values.into_iter();
        Ok(rows)
    }

    /// Takes the value of the row at a position, in order.
    fn value(&mut self, at: usize) -> Option<ByteArray> {
        let there = self.levels.get(at).is_none_or(|level| *level == self.defined);
        if there { self.values.next() } else { None }
    }
}

/// Parser of a file.
struct Table {
    context: Context,
    pages: Arc<Pages>,
    metadata: ParquetMetaData,
    fields: Fields,
    /// Columns of the file for each field.
    chosen: Vec<usize>,
    /// Next row group.
    group: usize,
    columns: Vec<Column>,
    row: u64,
    /// Next of the rows that were read, and their number.
    next: usize,
    rows: usize,
}

impl Table {
    /// Leaves out rows at the start, without reading the row groups before the first that is kept.
    fn skip(&mut self, rows: u64) -> Result<(), ParquetError> {
        while self.row < rows && self.group < self.metadata.num_row_groups() {
            let length = u64::try_from(self.metadata.row_group(self.group).num_rows())
                .map_err(|_| ParquetError::General("a negative number of rows".into()))?;
            if rows - self.row < length {
                break;
            }
            self.row += length;
            self.group += 1;
        }
        while self.row < rows && self.read()? {
            for column in &mut self.columns {
                column.value(self.next);
            }
            self.next += 1;
            self.row += 1;
        }
        Ok(())
    }

    /// Reads rows until there are some. Returns whether there are.
    fn read(&mut self) -> Result<bool, ParquetError> {
        while self.next == self.rows {
            (self.next, self.rows) = (0, 0);
            for column in &mut self.columns {
                let rows = column.read()?;
                self.rows = self.rows.max(rows);
            }
            if self.rows > 0 {
                break;
            }
            if self.group == self.metadata.num_row_groups() {
                return Ok(false);
            }
            self.columns = self
                .chosen
                .iter()
                .map(|column| Column::open(&self.pages, &self.metadata, self.group, *column))
                .collect::<Result<_, _>>()?;
            self.group += 1;
        }
        Ok(true)
    }
}

impl Parser for Table {
    fn next(&mut self) -> Next {
        if !guarded(|| self.read())?.map_err(fault)? {
            return Ok(None);
        }
        let at = self.next;
        self.next += 1;
        self.row += 1;
        // A few bytes stand for any number of rows without a value.
        self.pages.budget.expand(1)?;
        let mut row = Row::new(&self.fields);
        for (value, column) in row.values.iter_mut().zip(&mut self.columns) {
            if let Some(bytes) = column.value(at) {
                self.pages.budget.expand(bytes.len())?;
                let (text, invalid) = encoding::decode(encoding::Charset::Undecided, bytes.data());
                row.invalid += invalid;
                *value = Some(Value::Text(text));
            }
        }
        let place = format!("row {}", self.row);
        let event = self.fields.document(&self.context, "parquet", place, row, Vec::new);
        Ok(Some(event))
    }
}
