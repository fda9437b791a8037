// SPDX-License-Identifier: Apache-2.0

//! Recognition of formats by content. Names and stated media types only break ties, but for text
//! that was extracted before.

use memchr::memmem;

use super::{
    EMPTY,
    compressed::{GZIP_MAGIC, ZSTD_MAGIC},
    encoding::{self, Charset},
    rows, tar, zip,
};
use crate::document::EXTRACTED_TEXT;

/// Bytes that a format is recognised by.
pub(super) const SNIFF: usize = 64 << 10;
/// First bytes of a Parquet file, which are also its last ones.
pub(super) const PARQUET_MAGIC: &[u8] = b"PAR1";

/// Format of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Gzip,
    Zstd,
    Tar,
    Zip,
    Parquet,
    Warc,
    Text(Textual, Charset, usize),
}

/// Format of text, with its encoding and the length of its byte order mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Textual {
    Plain,
    Markdown,
    Html,
    /// One value a line.
    JsonLines,
    /// Values after each other, or elements of an array, over any number of lines.
    Json,
    /// Values between this separator.
    Table(u8),
}

/// Statements about a format, which may be wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// Extension of the name, in lower case.
    extension: String,
    /// Media type, in lower case and without parameters.
    media: String,
    /// Encoding that the media type names.
    pub(super) charset: Option<String>,
    /// The text was extracted before.
    is_extracted: bool,
}

impl Hints {
    pub(super) fn new(location: &str, media: Option<&str>) -> Self {
        let is_extracted = media == Some(EXTRACTED_TEXT);
        let (media, parameters) = media.and_then(|media| media.split_once(';')).map_or_else(
            || (media.unwrap_or_default(), ""),
            |(media, parameters)| (media, parameters),
        );
        let charset = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let value = value.trim().trim_matches(['"', '\'']);
            name.trim().eq_ignore_ascii_case("charset").then(|| value.to_owned())
        });
        let media = media.trim().to_ascii_lowercase();
        let mut hints = Self { extension: String::new(), media, charset, is_extracted };
        hints.name(location);
        hints
    }

    /// Takes the extension from a name, without those of compression.
    fn name(&mut self, location: &str) {
        let address = location.contains("://");
        let path = if address { location.split(['?', '#']).next() } else { Some(location) };
        let path = path.unwrap_or_default().to_ascii_lowercase();
        let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
        if let Some((_, extension)) = name.rsplit_once('.') {
            self.extension = extension.to_owned();
        }
    }

    fn any(&self, extensions: &[&str], media: &[&str]) -> bool {
        extensions.contains(&self.extension.as_str()) || media.contains(&self.media.as_str())
    }
}

/// Signatures of formats that are refused, from the file formats' own specifications and from the
/// tables of `file`.
const REFUSED: &[(usize, &[u8], &str)] = &[
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"PK\x07\x08", "a part of a zip archive; join its parts first"),
    (0, b"BZh", "compressed by bzip2; unpack it, or compress it with zstd"),
    (0, b"\xfd7zXZ\0", "compressed by xz; unpack it, or compress it with zstd"),
    (0, b"\x04\x22\x4d\x18", "compressed by LZ4; unpack it, or compress it with zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
    (0, b"filedesc://", "an ARC file of a crawler; convert it to WARC"),
    (0, b"%PDF-", "a PDF; extract its text first"),
    (0, b"%!PS", "PostScript; extract its text first"),
    (0, b"{\\rtf", "rich text (RTF); save it as plain text first"),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document; save it as plain text first"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file: run `git lfs pull`"),
    (0, b"\x89PNG", "an image (PNG)"),
    (0, b"\xff\xd8\xff", "an image (JPEG)"),
    (0, b"GIF8", "an image (GIF)"),
    (0, b"II*\0", "an image (TIFF)"),
    (0, b"MM\0*", "an image (TIFF)"),
    (0, b"RIFF", "audio, video, or an image (RIFF)"),
    (0, b"ID3", "audio (MP3)"),
    (0, b"OggS", "audio or video (Ogg)"),
    (0, b"fLaC", "audio (FLAC)"),
    (0, b"\x1a\x45\xdf\xa3", "video (Matroska)"),
    (4, b"ftyp", "video or an image (ISO base media)"),
    (0, b"\x7fELF", "an executable (ELF)"),
    (0, b"\xcf\xfa\xed\xfe", "an executable (Mach-O)"),
    (0, b"\xca\xfe\xba\xbe", "an executable (Mach-O, or a Java class)"),
    (0, b"\0asm", "an executable (WebAssembly)"),
    (0, b"SQLite format 3\0", "a database (SQLite); export its tables as CSV"),
    (0, b"\x89HDF", "an array file (HDF5)"),
    (0, b"\x93NUMPY", "an array file (NumPy)"),
    (0, b"GGUF", "a language model (GGUF)"),
    (0, b"Obj\x01", "an Avro file; convert it to Parquet or JSON lines"),
    (0, b"ARROW1", "an Arrow file; convert it to Parquet"),
    (0, b"ORC", "an ORC file; convert it to Parquet"),
    (0, b"\x1f\x9d", "compressed by compress; unpack it first"),
];

/// Recognises a format by its first bytes. `fields` are the names that hold text in tables.
/// Returns an error in words if the input is refused.
pub(super) fn detect(bytes: &[u8], hints: &Hints, fields: &[String]) -> Result<Format, String> {
    if bytes.is_empty() {
        return Err(EMPTY.into());
    }
    if hints.is_extracted {
        let head = encoding::head(bytes, hints.charset.as_deref())?;
        return Ok(Format::Text(Textual::Plain, head.charset, head.mark));
    }
    if bytes.starts_with(GZIP_MAGIC) {
        return Ok(Format::Gzip);
    }
    if bytes.starts_with(ZSTD_MAGIC) {
        return Ok(Format::Zstd);
    }
    if bytes.starts_with(PARQUET_MAGIC) {
        return Ok(Format::Parquet);
    }
    if bytes.starts_with(zip::MAGIC) {
        return zip::office_document(bytes).map_or(Ok(Format::Zip), |name| Err(name.into()));
    }
    if bytes.starts_with(b"WARC/") {
        return Ok(Format::Warc);
    }
    if tar::is_header(bytes) {
        return Ok(Format::Tar);
    }
    if let Some((.., name)) = REFUSED
        .iter()
        .find(|(at, magic, _)| bytes.get(*at..).is_some_and(|bytes| bytes.starts_with(magic)))
        .filter(|(_, magic, _)| !magic.is_ascii() || !looks_like_prose(bytes, magic))
    {
        return Err((*name).into());
    }
    if bytes.starts_with(b"MZ") && memchr::memchr(0, bytes).is_some() {
        return Err("an executable (Windows)".into());
    }
    let head = encoding::head(bytes, hints.charset.as_deref())?;
    let textual = detect_text(&head.text, bytes.len() < SNIFF, hints, fields)?;
    Ok(Format::Text(textual, head.charset, head.mark))
}

/// Returns whether a signature of capital letters is the start of a word, as in "ORCHARDS".
fn looks_like_prose(bytes: &[u8], magic: &[u8]) -> bool {
    magic.iter().all(u8::is_ascii_alphanumeric) && !encoding::is_binary(bytes)
}

fn detect_text(
    text: &str,
    whole: bool,
    hints: &Hints,
    fields: &[String],
) -> Result<Textual, String> {
    let start = text.trim_start();
    if is_html(start, hints) {
        return Ok(Textual::Html);
    }
    if starts_with(start, "<?xml") || starts_with(start, "<svg") {
        return Err("XML that is no web page; extract its text first".into());
    }
    if let Some(json) = detect_json(start, whole, hints) {
        return Ok(json);
    }
    if let Some(separator) = rows::separator(start, whole, is_table(hints), fields) {
        return Ok(Textual::Table(separator));
    }
    if hints.any(&["md", "markdown", "mdx"], &["text/markdown", "text/x-markdown"]) {
        return Ok(Textual::Markdown);
    }
    Ok(Textual::Plain)
}

fn is_table(hints: &Hints) -> bool {
    let media = ["text/csv", "text/tab-separated-values", "application/csv"];
    hints.any(&["csv", "tsv"], &media)
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn is_html(start: &str, hints: &Hints) -> bool {
    if !start.starts_with('<') {
        // A page may begin with text, but then somebody has to call it a page.
        let named = hints.any(&["html", "htm", "xhtml"], &["text/html", "application/xhtml+xml"]);
        return named && start.contains('<');
    }
    let declared = ["<!doctype html", "<html", "<head", "<body"]
        .iter()
        .any(|prefix| starts_with(start, prefix));
    let nested = (starts_with(start, "<?xml") || start.starts_with("<!--"))
        && memmem::find(start.to_ascii_lowercase().as_bytes(), b"<html").is_some();
    let xml = starts_with(start, "<?xml") || starts_with(start, "<svg");
    let named = hints.any(&["html", "htm", "xhtml"], &["text/html", "application/xhtml+xml"]);
    declared || nested || (named && !xml)
}

fn detect_json(start: &str, whole: bool, hints: &Hints) -> Option<Textual> {
    let named = hints.any(
        &["json", "jsonl", "ndjson"],
        &[
            "application/json",
            "application/x-ndjson",
            "application/jsonl",
            "application/x-jsonlines",
        ],
    );
    let next = start.get(1..)?.trim_start().chars().next();
    match (start.as_bytes().first()?, next) {
        (b'[', Some('{')) => Some(Textual::Json),
        (b'[', Some('"' | ']')) if named => Some(Textual::Json),
        (b'{', Some('"' | '}')) => match start.split_once('\n') {
            Some((line, _)) if serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok() => {
                Some(Textual::JsonLines)
            }
            // The first row is longer than the sample, or a line is all there is.
            None if !whole || hints.any(&["jsonl", "ndjson"], &[]) => Some(Textual::JsonLines),
            _ if hints.any(&["jsonl", "ndjson"], &[]) => Some(Textual::JsonLines),
            _ if named || start[1..].contains("\":") || start[1..].contains("\" :") => {
                Some(Textual::Json)
            }
            _ => None,
        },
        _ => None,
    }
}
