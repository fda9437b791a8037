// SPDX-License-Identifier: Apache-2.0

use ::parquet::{
    basic::{Compression, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

use super::*;

fn with_fields(location: &str, bytes: impl Into<Vec<u8>>, fields: &[&str]) -> Vec<String> {
    let text_fields = fields.iter().map(|field| (*field).to_owned()).collect();
    let options = ReadOptions { text_fields, ..ReadOptions::default() };
    shown(read_with(input(location, bytes), &options))
}

#[test]
fn lines_of_json_are_documents() {
    let lines = "{\"text\": \"One\\r\\ntwo.\",\
                 \"url\": \"https://a.org/1\", \"license\": \"MIT\"}\n\n\
                 {\"id\": 7, \"content\": \"Zwei.\", \"meta\": \"x\"}\r\n{\"text\": broken}\n\
                 {\"title\": \"none\", \"n\": [1, {\"text\": 2}]}\n{\"text\": 5}\n\
                 {\"text\": \"\", \"content\": \"x\"}\n[1]\n{\"text\": \"Last.\"}";
    let items = read("a.jsonl", lines);
    let first = items[0].as_ref().unwrap();
    assert_eq!(first.origin.part, ["line 1", "https://a.org/1"]);
    assert_eq!(first.origin.licence.as_deref(), Some("MIT"));
    assert_eq!(first.raw, hash(b"One\r\ntwo."));
    assert_eq!(first.text, "One\ntwo.");
    assert_eq!(items[1].as_ref().unwrap().origin.part, ["line 3", "id 7"]);
    let refused: Vec<_> = items
        .iter()
        .filter_map(|item| item.as_ref().err())
        .map(|refusal| (refusal.origin.part[0].as_str(), refusal.reason.as_str()))
        .collect();
    assert_eq!(
        refused.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
        ["line 4", "line 5", "line 6", "line 7", "line 8"]
    );
    assert!(refused[0].1.contains("no row in JSON: expected value"));
    assert!(refused[1].1.contains("name the field") && refused[1].1.contains("title, n"));
    assert!(refused[3].1.contains("no text"));
    assert_eq!(items.last().unwrap().as_ref().unwrap().text, "Last.");
}

#[test]
fn licences_of_a_list_are_joined() {
    let lines = "{\"content\": \"One.\", \"max_stars_repo_licenses\": [\"MIT\", \"ISC\"]}\n\
                 {\"content\": \"Two.\", \"detected_licenses\": [], \"license_type\": \"x\"}\n\
                 {\"content\": \"Three.\", \"licenses\": [[\"MIT\"]], \"url\": [\"a\", \"b\"]}\n\
                 {\"content\": \"Four.\", \"func_code_url\": \"https://a.org/4\"}\n";
    let origins: Vec<_> =
        read("a.jsonl", lines).into_iter().map(|item| item.unwrap().origin).collect();
    let licences: Vec<_> = origins.iter().map(|origin| origin.licence.as_deref()).collect();
    assert_eq!(licences, [Some("MIT AND ISC"), Some("x"), None, None]);
    assert_eq!(origins[2].part, ["line 3"]);
    assert_eq!(origins[3].part, ["line 4", "https://a.org/4"]);
    // A list is no text, whatever its field is named.
    let listed = with_fields("a.jsonl", "{\"licenses\": [\"MIT\", \"ISC\"]}\n", &["licenses"]);
    assert!(listed[0].starts_with('!'), "{listed:?}");
}

#[test]
fn fields_are_chosen_and_joined() {
    let lines = "{\"q\": {\"text\": \"Why?\"}, \"a\": \"So.\", \"text\": \"no\"}\n\
                 {\"q\": null, \"a\": \"So.\"}\n{\"q\": {\"text\": 1}, \"a\": \"So.\"}\n";
    let items = with_fields("a.jsonl", lines, &["q.text", "a"]);
    assert_eq!(items[0], "Why?\n\nSo.");
    assert!(items[1].contains("has no text in `q.text`, `a`") && items[2].starts_with('!'));
}

#[test]
fn lines_in_other_encodings_and_with_bad_bytes_are_read() {
    let line = "{\"text\": \"Über.\"}\n";
    assert_eq!(texts("x", utf_16(&format!("\u{feff}{line}"), u16::to_le_bytes)), ["Über."]);
    let mut bytes = line.repeat(3).into_bytes();
    bytes.extend_from_slice(b"{\"text\": \"a\xffb\"}\n");
    let document = read("x", bytes).remove(3).unwrap();
    assert_eq!((document.text.as_str(), document.invalid), ("a\u{fffd}b", 1));
}

#[test]
fn lines_that_are_too_long_are_refused_by_number() {
    let limits = Limits { row: 1_000, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let long = format!("{{\"text\": \"{}\"}}", "x".repeat(300_000));
    let lines = format!("{{\"text\": \"One.\"}}\n{long}\n{{\"text\": \"Three.\"}}\n");
    let items = read_with(input("a.jsonl", lines), &options);
    assert_eq!(items[1].as_ref().unwrap_err().origin.part, ["line 2"]);
    assert_eq!(shown(items), ["One.", "!a row of over 1000 bytes", "Three."]);
    let array = read_with(input("a.json", format!("[{{\"text\": \"One.\"}}, {long}]")), &options);
    assert_eq!(shown(array), ["One.", &format!("!row 2: a row of over 1000 bytes{ONE_KEPT}")]);
}

#[test]
fn arrays_and_values_over_several_lines_are_read() {
    let array = "[\n  {\"text\": \"One \\\"}]\\\\\"},\n  5,\n  {\n\"text\": \"Two.\"}\n]\n";
    for location in ["a.json", "unnamed"] {
        let items = texts(location, array);
        assert_eq!((items[0].as_str(), items[2].as_str()), ("One \"}]\\", "Two."));
        assert!(items[1].contains("!no row in JSON"));
    }
    assert_eq!(
        texts("a.json", "{\n\"text\": \"One.\"\n}\n{\"text\":\n\"Two.\"}"),
        ["One.", "Two."]
    );
    assert_eq!(texts("a.json", "{\"text\": \"One.\"}"), ["One."]);
    let cut = texts("a.json", "[{\"text\": \"One.\"}, {\"text\": \"Tw");
    assert_eq!(cut, ["One.", &format!("!row 2: ends within a value{ONE_KEPT}")]);
    assert_eq!(texts("a.json", "[]"), Vec::<String>::new());
    assert_eq!(texts("a.txt", "[Illustration]\n"), ["[Illustration]\n"]);
    assert_eq!(texts("a.txt", "{text in braces}\n"), ["{text in braces}\n"]);
}

#[test]
fn arrays_after_each_other_are_read() {
    for between in ["\n", "", ",\n"] {
        let joined = format!("[{{\"text\": \"One.\"}}, 5]{between}[\n{{\"text\": \"Two.\"}}]\n");
        let items = read("a.json", joined);
        assert_eq!(items[2].as_ref().unwrap().origin.part, ["row 3"], "{between:?}");
        let items = shown(items);
        assert!(items[1].starts_with("!no row in JSON: invalid type: integer"), "{items:?}");
        assert_eq!((items.len(), &*items[0], &*items[2]), (3, "One.", "Two."), "{between:?}");
    }
    let mixed = "[{\"text\": \"One.\"}]\n{\"text\": \"Two.\"}\nno JSON\n";
    let items = texts("a.json", mixed);
    assert_eq!(items[..2], ["One.", "Two."]);
    assert!(items[2].starts_with("!no row in JSON"), "{items:?}");
    let open = texts("a.json", "[{\"text\": \"One.\"},\n");
    assert_eq!(open, ["One.", &format!("!row 2: ends within an array{ONE_KEPT}")]);
    let closed = texts("a.json", "[{\"text\": \"One.\"}]]\n");
    assert_eq!(closed, ["One.", &format!("!row 2: a `]` that closes no array{ONE_KEPT}")]);
}

#[test]
fn long_rows_come_in_pieces() {
    let text = "A paragraph of a row.\n\n".repeat(150_000);
    let line = serde_json::json!({ "text": text }).to_string();
    let documents: Vec<Document> =
        read("a.jsonl", line + "\n").into_iter().map(Result::unwrap).collect();
    assert_eq!(documents.len(), text.len() / MAX_PIECE_BYTES + 1);
    assert!(documents.iter().enumerate().all(|(at, piece)| piece.piece as usize == at));
    assert!(documents.iter().all(|piece| piece.text.len() <= MAX_PIECE_BYTES));
    assert!(documents.iter().map(|piece| piece.text.as_str()).collect::<String>() == text);
}

#[test]
fn tables_are_read_by_column() {
    let table = "id,\"text\",url\n1,\"One, \"\"two\"\"\nthree\",https://a.org\n2,Vier,\n3,x\n";
    for location in ["a.csv", "unnamed"] {
        let items = read(location, table);
        assert_eq!(items[0].as_ref().unwrap().origin.part, ["row 1", "https://a.org"]);
        assert_eq!(items[1].as_ref().unwrap().origin.part, ["row 2", "id 2"]);
        let expected = ["One, \"two\"\nthree", "Vier", "!2 values in a table of 3 columns"];
        assert_eq!(shown(items), expected);
    }
    assert_eq!(texts("a.tsv", "label\ttext\n1\tOne.\n"), ["One."]);
    assert_eq!(texts("a.csv", "label;Text\n1;One.\n"), ["One."]);
    assert_eq!(with_fields("a.csv", "q,a\nWhy?,So.\n", &["q", "a"]), ["Why?\n\nSo."]);
    let reason = reason("a.csv", "label,words\n1,One.\n");
    assert!(reason.contains("(fields: label, words)"), "{reason}");
    assert_eq!(texts("a.csv", "text\n"), Vec::<String>::new());
}

#[test]
fn a_quote_that_is_open_at_the_end_is_damage() {
    for (end, is_open) in [
        ("\"Two.\nThree.\n", true),
        ("\"", true),
        ("\"Two.\"\"", true),
        ("Two,\"\"\"", true),
        ("\"Two.\"", false),
        ("Two.\"", false),
        ("\"Two.\"\"\"\r\n", false),
        ("", false),
    ] {
        let table = format!("id,text\n1,\"One.\n\"\n2,{end}");
        let shown = shown(read("a.csv", table));
        let reason = "!row 2: a quote in it, from line 4 on, is not closed";
        let is_refused = shown.iter().any(|item| item.starts_with(reason));
        assert_eq!(is_refused, is_open, "{end:?}: {shown:?}");
        assert!(!is_open || shown.len() == 2 && shown[1].ends_with(ONE_KEPT), "{shown:?}");
    }
}

#[test]
fn a_quote_that_does_not_end_is_refused() {
    let limits = Limits { row: 1_000, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let table = format!("id,text\n1,One.\n2,\"{}", "Two\n".repeat(100_000));
    let items = shown(read_with(input("a.csv", table), &options));
    let reason = format!("!row 2: over 1000 bytes; a quote may be missing{ONE_KEPT}");
    assert_eq!(items, ["One.", &reason]);
    let wide = format!("{}text\n", "c,".repeat(5_000));
    assert!(super::reason("a.csv", wide).contains("4096 columns"));
}

/// Writes a file with a row group for each 100 rows.
fn parquet(rows: &[(&str, Option<&str>, i64)], compression: Compression) -> Vec<u8> {
    let schema = "message rows { required binary text (STRING); optional group meta { optional \
                  binary url (STRING); } required int64 id; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_data_page_row_count_limit(40)
        .set_write_batch_size(20)
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(100) {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let texts: Vec<ByteArray> = rows.iter().map(|(text, ..)| ByteArray::from(*text)).collect();
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let urls: Vec<ByteArray> =
            rows.iter().filter_map(|(_, url, _)| url.map(ByteArray::from)).collect();
        let levels: Vec<i16> =
            rows.iter().map(|(_, url, _)| i16::from(url.is_some()) * 2).collect();
        column.typed::<ByteArrayType>().write_batch(&urls, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let ids: Vec<i64> = rows.iter().map(|(.., id)| *id).collect();
        column.typed::<Int64Type>().write_batch(&ids, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// Returns a file of three rows, of which one is blank.
pub(super) fn sample() -> Vec<u8> {
    parquet(&[("One.", Some("https://a.org"), 1), ("", None, 2), ("Three.", None, 3)], SNAPPY)
}

const SNAPPY: Compression = Compression::SNAPPY;

#[test]
fn tables_that_claim_billions_of_booleans_are_refused_at_once() {
    // Unknown fields, each a list of as many booleans as 31 bits can count.
    let lists: Vec<u8> = [0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 7].repeat(1_000);
    let contents = [&[0xf9], &lists[1..], &[0]].concat();
    let length = (contents.len() as u32).to_le_bytes();
    let table = [&b"PAR1"[..], &contents, &length, b"PAR1"].concat();
    assert!(reason("a.parquet", table).contains("another shape"));
}

#[test]
fn columns_of_parquet_are_read_by_row_group() {
    let texts: Vec<String> = (0..250).map(|number| format!("Text {}.", number % 90)).collect();
    let rows: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(at, text)| (text.as_str(), (at % 3 == 0).then_some("https://a.org"), at as i64))
        .collect();
    for compression in [
        Compression::UNCOMPRESSED,
        SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::GZIP(Default::default()),
        Compression::LZ4_RAW,
    ] {
        let bytes = parquet(&rows, compression);
        let documents: Vec<Document> =
            read("a.parquet", bytes).into_iter().map(Result::unwrap).collect();
        assert_eq!(documents.len(), 250);
        for (at, document) in documents.iter().enumerate() {
            assert_eq!(document.text, texts[at]);
            assert_eq!(document.raw, hash(texts[at].as_bytes()));
            let part = &document.origin.part;
            assert_eq!(part[0], format!("row {}", at + 1));
            assert_eq!(part.get(1).is_some(), at % 3 == 0);
        }
    }
}

#[test]
fn parquet_is_read_from_files_streams_and_archives() {
    let expected = ["One.", "!no text in it", "Three."];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    std::fs::write(&path, sample()).unwrap();
    let from_file = Input { content: Content::File(path), ..input("a.parquet", "") };
    assert_eq!(shown(read_with(from_file, &ReadOptions::default())), expected);
    let content = Content::Stream(Box::new(Cursor::new(sample())));
    let options =
        ReadOptions { temporary: Some(folder.path().to_owned()), ..ReadOptions::default() };
    assert_eq!(shown(read_with(Input { content, ..input("-", "") }, &options)), expected);
    assert_eq!(texts("a.parquet.gz", gzip(&sample())), expected);
    assert_eq!(texts("a.tar", archives::tar(&[("a", &sample())])), expected);
}

/// Bytes on a server that stops answering behind a position.
struct Server {
    bytes: Vec<u8>,
    fails_from: u64,
}

impl RandomAccess for Server {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, start: u64, length: usize) -> io::Result<bytes::Bytes> {
        let start = start as usize;
        if start as u64 >= self.fails_from && start + 64 < self.bytes.len() {
            return Err(io::Error::other("no answer"));
        }
        let part = self.bytes.get(start..start + length).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(part.to_vec().into())
    }
}

#[test]
fn parquet_is_read_at_any_position_and_from_any_row() {
    let texts: Vec<String> = (0..250).map(|number| format!("Text {number}.")).collect();
    let rows: Vec<_> = texts.iter().map(|text| (text.as_str(), None, 0)).collect();
    let bytes = parquet(&rows, SNAPPY);
    for skip_rows in [0, 1, 99, 100, 230, 250, 400] {
        let server = Server { bytes: bytes.clone(), fails_from: u64::MAX };
        let content = Content::Random(Arc::new(server));
        let options = ReadOptions { skip_rows, ..ReadOptions::default() };
        let items = read_with(Input { content, ..input("a.parquet", "") }, &options);
        let first = skip_rows.min(250) as usize;
        let part = items.first().map(|item| item.as_ref().unwrap().origin.part.clone());
        assert_eq!(part, (first < 250).then(|| vec![format!("row {}", first + 1)]));
        assert_eq!(shown(items), texts[first..]);
    }
    let size = bytes.len() as u64;
    let mut failures = 0;
    for fails_from in (0..size).step_by(37) {
        let server = Server { bytes: bytes.clone(), fails_from };
        let input = Input { content: Content::Random(Arc::new(server)), ..input("a.parquet", "") };
        let items = Documents::open(input, &ReadOptions::default())
            .map_or_else(|error| vec![Err(error)], Iterator::collect);
        assert!(items.iter().all(|item| !matches!(item, Ok(Err(_)))), "{fails_from}: {items:?}");
        failures += usize::from(items.last().is_some_and(Result::is_err));
    }
    assert!(failures > 10);
}

#[test]
fn parquet_without_the_column_or_damaged_is_refused() {
    let missing = with_fields("a.parquet", sample(), &["words"]);
    assert_eq!(missing.len(), 1);
    assert!(missing[0].contains("`words`") && missing[0].contains("text, meta.url"));
    let bytes = sample();
    for end in 4..bytes.len() {
        assert!(reason("a.parquet", &bytes[..end]).contains("damaged"), "{end}");
    }
    let limits = Limits { parquet_page: 8, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let items = shown(read_with(input("a.parquet", sample()), &options));
    assert!(items.last().unwrap().contains("page"), "{items:?}");
    let limits = Limits { row: 64, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let items = shown(read_with(input("a.parquet", sample()), &options));
    assert!(items[0].contains("table of contents"), "{items:?}");
}

#[test]
fn parquet_with_any_changed_byte_is_survived() {
    let bytes = sample();
    for at in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= change;
            let _ = read("a.parquet", bytes);
        }
    }
}
