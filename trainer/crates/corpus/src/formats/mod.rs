// SPDX-License-Identifier: Apache-2.0

//! Documents out of inputs of any format.
//!
//! [`Documents::open`] recognises a format by its content. Names and stated media types are only
//! hints, but for [`EXTRACTED_TEXT`](crate::EXTRACTED_TEXT). Compression and archives are taken
//! apart to a bounded depth and expansion. Memory does not grow with the input: parsers look ahead
//! as far as one piece, one row, or one page.
//!
//! ```
//! use pol_corpus::{Content, Documents, Input, Origin, ReadOptions};
//!
//! let content = Content::Bytes(b"{\"text\": \"One.\"}\n{\"text\": \"Two.\"}\n".to_vec());
//! let input = Input { origin: Origin::default(), media: None, content };
//! let texts: Vec<String> = Documents::open(input, &ReadOptions::default())?
//!     .filter_map(|item| item.ok()?.ok())
//!     .map(|document| document.text)
//!     .collect();
//! assert_eq!(texts, ["One.", "Two."]);
//! # Ok::<(), pol_corpus::CorpusError>(())
//! ```

mod compressed;
mod csv;
mod detect;
mod encoding;
mod gutenberg;
mod html;
mod html_bounds;
mod inputs;
mod json;
mod lines;
mod parquet;
mod parquet_shape;
mod random;
mod rows;
mod source;
mod tar;
mod text;
mod warc;
mod zip;

use std::{
    fmt,
    fs::File,
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use encoding_rs::UTF_8;
use pol_primitives::Hash;

use crate::{CorpusError, Document, MAX_PIECE_BYTES, Origin, Refusal, Tool, error::IoContext as _};
use detect::{Format, Hints, SNIFF, Textual};
use encoding::{Charset, Transcoder};
use lines::Units;
use random::ReaderAt;
use source::{Budget, Expanded, Fault, Metered, Source};

pub(crate) use inputs::{is_blank, is_hidden};

pub use html::{DomSmoothie, HtmlExtractor};
pub use inputs::{documents, inputs, is_pipe};
pub use random::RandomAccess;
pub use rows::TEXT_FIELDS;
pub use source::Limits;

/// Reason for which blank texts and rows are refused.
const NO_TEXT: &str = "no text in it";
/// Reason for which inputs without a byte are refused.
const EMPTY: &str = "empty";

/// Returns the length of the first piece of a text: at most [`MAX_PIECE_BYTES`], up to the end of a
/// paragraph, a line, or a word if there is one in the second half. It is zero for no text only.
#[must_use]
pub fn piece_end(text: &str) -> usize {
    Units::Bytes.cut(text.as_bytes(), MAX_PIECE_BYTES)
}

/// Raw bytes of an input.
pub enum Content {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// File or named pipe.
    File(PathBuf),
    /// Stream that is read once, such as standard input.
    Stream(Box<dyn Read + Send>),
    /// Bytes that are read at any position. Of a Parquet file only the wanted columns are.
    Random(Arc<dyn RandomAccess>),
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(formatter, "Bytes({} bytes)", bytes.len()),
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            Self::Stream(_) => formatter.write_str("Stream"),
            Self::Random(_) => formatter.write_str("Random"),
        }
    }
}

/// Input of any format.
#[derive(Debug)]
pub struct Input {
    /// Place that the input came from.
    pub origin: Origin,
    /// Media type that the source states, such as `text/html; charset=latin1`.
    pub media: Option<String>,
    /// Raw bytes.
    pub content: Content,
}

/// Options of reading.
#[derive(Clone)]
pub struct ReadOptions {
    /// Fields of tables that hold the text of a document, where dots lead into nested objects.
    /// Several are joined by blank lines. If none is named, the first of `text`, `content`, and
    /// some other usual names is taken.
    pub text_fields: Vec<String>,
    /// Number of rows at the start of a Parquet file that are left out. Row groups are skipped
    /// without being read.
    pub skip_rows: u64,
    /// Extractor of the text of web pages.
    pub html: Arc<dyn HtmlExtractor>,
    /// Limits.
    pub limits: Limits,
    /// Folder for tables and archives that come as streams but are read from their end. By default
    /// it is that of the system.
    pub temporary: Option<PathBuf>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            text_fields: Vec::new(),
            skip_rows: 0,
            html: Arc::new(DomSmoothie),
            limits: Limits::default(),
            temporary: None,
        }
    }
}

impl fmt::Debug for ReadOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReadOptions")
            .field("text_fields", &self.text_fields)
            .field("skip_rows", &self.skip_rows)
            .field("html", &self.html.tool())
            .field("limits", &self.limits)
            .field("temporary", &self.temporary)
            .finish()
    }
}

/// Options and the meter of an input, which all its parsers share.
struct Shared {
    options: ReadOptions,
    budget: Arc<Budget>,
}

/// Surroundings of a parser.
#[derive(Clone)]
struct Context {
    origin: Origin,
    hints: Hints,
    shared: Arc<Shared>,
}

impl Context {
    /// Returns the origin of a part of this input.
    fn origin(&self, parts: Vec<String>) -> Origin {
        let mut origin = self.origin.clone();
        origin.part.extend(parts);
        origin
    }

    fn document(
        &self,
        parts: Vec<String>,
        tool: &str,
        raw: Hash,
        invalid: u64,
        text: String,
    ) -> Document {
        let extractor = Tool {
            name: ["pol-corpus/", tool].concat(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Document { origin: self.origin(parts), raw, piece: 0, extractor, invalid, text }
    }

    /// Returns a member of an archive, or its refusal if its name is hidden.
    fn member(&self, name: String, reader: Box<dyn Read + Send>) -> Event {
        if let Some(reason) = name.split('/').find_map(inputs::hidden) {
            return self.refuse(vec![name], reason);
        }
        Event::Member(Member { origin: self.origin(vec![name.clone()]), name, media: None, reader })
    }

    fn refuse(&self, parts: Vec<String>, reason: impl Into<String>) -> Event {
        Event::Refusal(Refusal { origin: self.origin(parts), reason: reason.into() })
    }

    fn limits(&self) -> &Limits {
        &self.shared.options.limits
    }
}

/// Input within an input.
struct Member {
    origin: Origin,
    /// Name or address that hints at a format.
    name: String,
    media: Option<String>,
    reader: Box<dyn Read + Send>,
}

/// Thing that a parser found.
enum Event {
    Document(Document),
    Refusal(Refusal),
    Member(Member),
}

/// Next thing, or the end.
type Next = Result<Option<Event>, Fault>;

/// Parser of one format.
trait Parser: Send {
    /// Returns the next thing. After an error or the end it is not called again.
    fn next(&mut self) -> Next;
}

/// Member that is being parsed, with the layers of archives and compression around it.
struct Level {
    origin: Origin,
    depth: usize,
    /// Number of documents before it.
    before: u64,
    parser: Box<dyn Parser>,
}

/// Documents of an input, in order.
///
/// The outer error of an item says that the disk or pipe failed, which ends the input. A refusal
/// says that something in the input is no text, and reading goes on behind it.
pub struct Documents {
    shared: Arc<Shared>,
    /// Parsers of members within members, outermost first.
    levels: Vec<Level>,
    /// Number of documents so far, where those that are cut into pieces later count as one.
    count: u64,
    /// Long document, and the start of its next piece.
    rest: Option<(Document, usize)>,
    /// Refusal of the whole input.
    refusal: Option<Refusal>,
}

impl Documents {
    /// Opens an input.
    ///
    /// # Errors
    ///
    /// Returns an error if the input cannot be read. An input that is no text gives a refusal as
    /// its only item.
    pub fn open(input: Input, options: &ReadOptions) -> Result<Self, CorpusError> {
        let budget = Arc::new(Budget::new(&options.limits));
        let shared = Arc::new(Shared { options: options.clone(), budget: budget.clone() });
        let mut file: Option<Arc<dyn RandomAccess>> = None;
        let reader: Box<dyn Read + Send> = match input.content {
            Content::Bytes(bytes) => Box::new(Metered { reader: Cursor::new(bytes), budget }),
            Content::Stream(reader) => Box::new(Metered { reader, budget }),
            Content::File(path) => {
                let reader = open_file(&path)?;
                if regular(&reader) {
                    // A file that is opened twice has two positions.
                    file = Some(Arc::new(open_file(&path)?));
                }
                Box::new(Metered { reader, budget })
            }
            Content::Random(random) => {
                let path = Path::new(&input.origin.location);
                let reader = ReaderAt::new(random.clone(), 0).io_context("read", path)?;
                file = Some(random);
                Box::new(Metered { reader, budget })
            }
        };
        let (levels, count) = (Vec::new(), 0);
        let mut documents = Self { shared, levels, count, rest: None, refusal: None };
        let name = input.origin.location.clone();
        let member = Member { origin: input.origin.clone(), name, media: input.media, reader };
        match documents.level(member, 0, file) {
            Ok(level) => documents.levels.push(level),
            Err(fault) => {
                documents.refusal = Some(refusal_or_error(input.origin, fault)?);
            }
        }
        Ok(documents)
    }

    /// Returns the number of bytes that were read of the input so far. Those of Parquet files and
    /// zip archives, which are read at any position, are not counted.
    pub fn bytes_read(&self) -> u64 {
        self.shared.budget.bytes_read()
    }

    /// Recognises the format of a member at a depth. Compression is taken off.
    fn level(
        &self,
        member: Member,
        mut depth: usize,
        file: Option<Arc<dyn RandomAccess>>,
    ) -> Result<Level, Fault> {
        let Self { shared, .. } = self;
        let hints = Hints::new(&member.name, member.media.as_deref());
        let fields = rows::text_fields(&shared.options.text_fields);
        let mut source = Source::new(member.reader);
        loop {
            if depth > shared.options.limits.depth {
                return Err(Fault::Refused(format!(
                    "over {} layers of archives and compression; unpack it first",
                    shared.options.limits.depth
                )));
            }
            let head = source.fill(SNIFF);
            let head = &head[..head.len().min(SNIFF)];
            let format = match detect::detect(head, &hints, &fields) {
                Ok(format) => format,
                Err(reason) => {
                    source.end()?;
                    return Err(Fault::Refused(reason));
                }
            };
            let budget = shared.budget.clone();
            source = match format {
                Format::Gzip => {
                    let members = compressed::GzipMembers::new(source);
                    Source::recovering(Box::new(Expanded::new(members, budget)))
                }
                Format::Zstd => {
                    let frames = compressed::zstd(source)?;
                    Source::new(Box::new(Expanded::new(frames, budget)))
                }
                format => {
                    let (origin, shared) = (member.origin, shared.clone());
                    let context = Context { origin: origin.clone(), hints, shared };
                    let file = file.filter(|_| depth == 0);
                    let parser = plain_parser(context, format, source, file)?;
                    return Ok(Level { origin, depth, before: self.count, parser });
                }
            };
            depth += 1;
        }
    }

    /// Hands out the next piece of a long document.
    fn piece(&mut self, document: Document, start: usize) -> Document {
        let rest = &document.text[start..];
        let cut = Units::Bytes.cut(rest.as_bytes(), MAX_PIECE_BYTES);
        if start == 0 && cut == rest.len() {
            return document;
        }
        let piece = Document {
            text: rest[..cut].to_owned(),
            invalid: if start == 0 { document.invalid } else { 0 },
            origin: document.origin.clone(),
            extractor: document.extractor.clone(),
            ..document
        };
        if cut < rest.len() {
            let number = document.piece.saturating_add(1);
            self.rest = Some((Document { piece: number, ..document }, start + cut));
        }
        piece
    }
}

impl Iterator for Documents {
    type Item = Result<Result<Document, Refusal>, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((document, start)) = self.rest.take() {
            return Some(Ok(Ok(self.piece(document, start))));
        }
        if let Some(refusal) = self.refusal.take() {
            return Some(Ok(Err(refusal)));
        }
        loop {
            let level = self.levels.last_mut()?;
            let (origin, fault) = match level.parser.next() {
                Ok(Some(Event::Document(document))) => {
                    self.count += 1;
                    return Some(Ok(Ok(self.piece(document, 0))));
                }
                Ok(Some(Event::Refusal(refusal))) => return Some(Ok(Err(refusal))),
                Ok(Some(Event::Member(member))) => {
                    let (origin, depth) = (member.origin.clone(), level.depth + 1);
                    match self.level(member, depth, None) {
                        Ok(level) => {
                            self.levels.push(level);
                            continue;
                        }
                        Err(fault) => (origin, fault),
                    }
                }
                Ok(None) => {
                    self.levels.pop();
                    continue;
                }
                Err(fault) => {
                    let origin = std::mem::take(&mut level.origin);
                    let kept = self.count - level.before;
                    self.levels.pop();
                    (origin, fault.after(kept))
                }
            };
            let refusal = refusal_or_error(origin, fault);
            if refusal.is_err() {
                self.levels.clear();
            }
            return Some(refusal.map(Err));
        }
    }
}

/// Tells bytes that are no text from a disk or pipe that failed.
fn refusal_or_error(origin: Origin, fault: Fault) -> Result<Refusal, CorpusError> {
    match fault {
        Fault::Refused(reason) | Fault::Between(reason) => Ok(Refusal { origin, reason }),
        Fault::Failed(source) => {
            Err(CorpusError::Io { action: "read", path: PathBuf::from(origin.location), source })
        }
    }
}

fn open_file(path: &Path) -> Result<File, CorpusError> {
    let file = File::open(path).io_context("open", path)?;
    if file.metadata().io_context("read", path)?.is_dir() {
        let source = io::Error::from(io::ErrorKind::IsADirectory);
        return Err(CorpusError::Io { action: "read", path: path.to_owned(), source });
    }
    Ok(file)
}

/// Returns whether a file can be read from its end.
fn regular(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// Returns the parser of a format that is not compressed.
fn plain_parser(
    context: Context,
    format: Format,
    source: Source,
    file: Option<Arc<dyn RandomAccess>>,
) -> Result<Box<dyn Parser>, Fault> {
    let (textual, charset, mark) = match format {
        Format::Parquet => return parquet::open(context, source, file),
        Format::Tar => return Ok(Box::new(tar::Tar::new(context, source))),
        Format::Zip => return zip::open(context, source, file),
        Format::Warc => return Ok(Box::new(warc::Warc::new(context, source))),
        Format::Text(textual, charset, mark) => (textual, charset, mark),
        // Compression was taken off.
        Format::Gzip | Format::Zstd => return Err(Fault::Refused("compressed".into())),
    };
    Ok(match textual {
        Textual::Plain => Box::new(text::Text::new(context, source, charset, mark, "text")),
        Textual::Markdown => Box::new(text::Text::new(context, source, charset, mark, "markdown")),
        Textual::Html => Box::new(html::Page::new(context, source, charset, mark)),
        Textual::JsonLines => Box::new(json::Lines::new(context, utf_8(source, charset, mark))),
        Textual::Json => Box::new(json::Values::new(context, utf_8(source, charset, mark))),
        Textual::Table(separator) => {
            Box::new(csv::Table::new(context, utf_8(source, charset, mark), separator))
        }
    })
}

/// Returns a source whose bytes are UTF-8, or should be.
fn utf_8(mut source: Source, charset: Charset, mark: usize) -> Source {
    source.skip(mark);
    match charset {
        Charset::Known(encoding) if encoding != UTF_8 => {
            Source::new(Box::new(Transcoder::new(source, encoding)))
        }
        _ => source,
    }
}

/// Calls a library on bytes that nobody vouches for, and survives a panic of it.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Fault> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call))
        .map_err(|_| Fault::Refused("malformed in a way that its reader cannot bear".into()))
}

#[cfg(test)]
mod tests;
