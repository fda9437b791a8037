// SPDX-License-Identifier: Apache-2.0

use rawzip::{CompressionMethod, ZipArchiveWriter, path::EntryPath};

use super::*;

/// Writes an archive of files, compressed by deflate.
pub(super) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipArchiveWriter::new(Vec::new());
    for (name, content) in members {
        let name = EntryPath::verbatim(name.as_bytes());
        let file = writer.new_file(name).compression_method(CompressionMethod::DEFLATE);
        let (mut entry, config) = file.start().unwrap();
        let packed = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
        let mut packed = config.wrap(packed);
        packed.write_all(content).unwrap();
        let (packed, descriptor) = packed.finish().unwrap();
        packed.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    writer.finish().unwrap()
}

/// Returns the positions of a signature.
fn find(bytes: &[u8], signature: &[u8]) -> Vec<usize> {
    memchr::memmem::find_iter(bytes, signature).collect()
}

#[test]
fn members_are_documents() {
    let table = b"{\"text\": \"Two.\"}\n{\"text\": \"Three.\"}\n";
    let inner = zip(&[("b.jsonl", table), ("c.txt.gz", &gzip(b"Four."))]);
    let archive = zip(&[
        ("./a.txt", b"One."),
        ("__MACOSX/._a.txt", b"macOS"),
        ("inner.zip", &inner),
        ("d\\e.txt", b"Five."),
        ("../../etc/f.txt", b"Six."),
        ("g.tar.gz", &gzip(&archives::tar(&[("h.txt", b"Seven.")]))),
        ("empty", b""),
    ]);
    let items = read("a.zip", archive.clone());
    assert_eq!(
        places(&items),
        [
            "a.txt",
            "!__MACOSX/._a.txt",
            "inner.zip > b.jsonl > line 1",
            "inner.zip > b.jsonl > line 2",
            "inner.zip > c.txt.gz",
            "d/e.txt",
            "../../etc/f.txt",
            "g.tar.gz > h.txt",
            "!empty",
        ]
    );
    assert_eq!(items[0].as_ref().unwrap().raw, hash(b"One."));
    // From a file, from a stream, and within other formats, it is the same.
    let expected = shown(items);
    assert_eq!(expected[4], "Four.");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&archive).unwrap();
    let from_file = Input { content: Content::File(file.path().into()), ..input("a.zip", "") };
    assert_eq!(shown(read_with(from_file, &ReadOptions::default())), expected);
    assert_eq!(texts("a.tar", archives::tar(&[("a.zip", &archive)])), expected);
    assert_eq!(texts("a.zip.gz", gzip(&archive)), expected);
}

#[test]
fn members_that_cannot_be_read_are_refused_by_name() {
    let archive = zip(&[("a.txt", b"One."), ("b.txt", b"Two.")]);
    let entry = find(&archive, b"PK\x01\x02")[1];
    let changed = |at: usize, value: u8| {
        let mut bytes = archive.clone();
        bytes[entry + at] = value;
        texts("a.zip", bytes)
    };
    let encrypted = changed(8, 9);
    assert_eq!(encrypted[0], "One.");
    assert!(encrypted[1].contains("!encrypted; unpack it"), "{encrypted:?}");
    assert!(changed(10, 12)[1].contains("method 12 (BZIP2); unpack the archive"));
    // Another checksum, another length, and another place than the contents have.
    for (at, reason) in [(16, "other bytes"), (24, "longer than"), (42, "!damaged")] {
        let items = changed(at, archive[entry + at].wrapping_sub(1));
        assert_eq!(items[0], "One.", "{at}");
        assert!(items[1].starts_with('!') && items[1].contains(reason), "{at}: {items:?}");
        assert_eq!(items.len(), 2);
    }
    let longer = changed(24, archive[entry + 24] + 1);
    assert!(longer[1].contains("other bytes"), "{longer:?}");
}

#[test]
fn archives_that_are_cut_or_damaged_are_told() {
    let archive = zip(&[("a.txt", b"One."), ("b.txt", b"Two.")]);
    for end in [40, archive.len() / 2, archive.len() - 1] {
        let reason = reason("a.zip", &archive[..end]);
        assert!(reason.contains("without its end"), "{end}: {reason}");
    }
    let mut fewer = archive.clone();
    let end = find(&archive, b"PK\x05\x06")[0];
    fewer[end + 10] = 1;
    let items = texts("a.zip", fewer);
    assert_eq!(items[..2], ["One.", "Two."]);
    assert_eq!(
        items[2],
        "!damaged: 2 members of 1 that it states (documents before it, which are kept: 2)"
    );
    let mut damaged = archive;
    let second = find(&damaged, b"PK\x01\x02")[1];
    damaged[second] = b'x';
    assert!(texts("a.zip", damaged).last().unwrap().starts_with("!damaged: "));
}

#[test]
fn documents_of_office_programs_and_parts_are_refused_by_name() {
    for first in ["[Content_Types].xml", "_rels/.rels", "docProps/app.xml"] {
        assert!(reason("a.docx", zip(&[(first, b"<xml/>")])).contains("an Office document"));
    }
    let media = b"application/vnd.oasis.opendocument.text";
    let mut header = b"PK\x03\x04".to_vec();
    header.resize(30, 0);
    let open = [&header[..], b"mimetype", media].concat();
    assert!(reason("a.odt", open).contains("an Office document"));
    assert!(reason("a.zip", zip(&[])).contains("an empty zip archive"));
    assert!(reason("a.z01", b"PK\x07\x08PK\x03\x04".to_vec()).contains("join its parts"));
}

#[test]
fn bombs_are_refused_by_name() {
    let text = b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n".repeat(100_000);
    let limits = Limits { free: 1 << 20, expansion: 16, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let read = |bytes: Vec<u8>| read_with(input("a.zip", bytes), &options);
    let bomb = zip(&[("a", &text), ("b", &text), ("c", &text)]);
    let items = read(bomb.clone());
    let length: usize = items.iter().flatten().map(|document| document.text.len()).sum();
    assert!(length <= (1 << 20) + 16 * bomb.len(), "{length}");
    let last = items.last().unwrap().as_ref().unwrap_err();
    assert!(last.reason.contains("made to do harm"), "{last:?}");
    // Members that lie over each other: the table names one of them many times.
    let one = zip(&[("a", b"A small text that is not compressed much.")]);
    let (table, end) = (find(&one, b"PK\x01\x02")[0], find(&one, b"PK\x05\x06")[0]);
    let (entry, times) = (one[table..end].to_vec(), 60_000u32);
    let mut many = one[..table].to_vec();
    many.extend(entry.repeat(times as usize));
    let start = many.len();
    many.extend(&one[end..]);
    many[start + 10..start + 12].copy_from_slice(&(times as u16).to_le_bytes());
    many[start + 12..start + 16].copy_from_slice(&(entry.len() as u32 * times).to_le_bytes());
    let limits = Limits { free: 1 << 10, expansion: 0, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let documents = read_with(input("a.zip", many), &options);
    let read = documents.iter().filter(|item| item.is_ok()).count();
    assert!((10..100).contains(&read) && documents.len() == times as usize, "{read}");
}

#[test]
fn nesting_is_bounded() {
    let mut bytes = b"Text.".to_vec();
    for _ in 0..7 {
        bytes = zip(&[("a", &bytes)]);
    }
    assert!(reason("a.zip", bytes).contains("over 6 layers"));
}
