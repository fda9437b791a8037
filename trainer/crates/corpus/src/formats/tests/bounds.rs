// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;

const LOCATIONS: &[&str] = &[
    "a",
    "a.txt",
    "a.md",
    "a.html",
    "a.json",
    "a.jsonl",
    "a.csv",
    "a.tsv",
    "a.tar",
    "a.zip",
    "a.gz",
    "a.zst",
    "a.parquet",
    "a.warc",
];

/// Starts that lead into each parser.
const STARTS: &[&[u8]] = &[
    b"",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xfe\xff",
    b"{\"text\":",
    b"{\"text\": \"x\"}\n",
    b"[{",
    b"<html>",
    b"id,text\n1,",
    b"WARC/1.0\r\nWARC-Type: resource\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n",
    b"PAR1",
    b"\x1f\x8b\x08\0\0\0\0\0\0\0",
    b"\x28\xb5\x2f\xfd",
    b"*** START OF THE PROJECT GUTENBERG EBOOK ***\n",
    b"*** END OF THE PROJECT GUTENBERG EBOOK ***\n",
];

fn survives(location: &str, bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let length = bytes.len();
    let options = ReadOptions::default();
    let mut items = 0;
    for item in Documents::open(input(location, bytes), &options).unwrap() {
        items += 1;
        prop_assert!(items <= 2 * length + 2);
        if let Ok(document) = item.unwrap() {
            prop_assert!(document.text.len() <= MAX_PIECE_BYTES);
            prop_assert!(!document.text.contains('\r'));
        }
    }
    prop_assert!(items > 0 || length > 0);
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        location in prop::sample::select(LOCATIONS),
        start in prop::sample::select(STARTS),
        bytes: Vec<u8>,
        text in "[ -~\r\n\t\u{e9}\u{4e00}\"{},:<>*]{0,200}",
    ) {
        survives(location, [start, bytes.as_slice()].concat())?;
        survives(location, [start, text.as_bytes()].concat())?;
    }

    #[test]
    fn rows_come_back(texts in prop::collection::vec("[ -~\n\t\u{e9}\u{4e00}]{1,60}", 1..20)) {
        let texts: Vec<String> =
            texts.into_iter().filter(|text| !text.trim_ascii().is_empty()).collect();
        let rows: Vec<_> = texts.iter().map(|text| serde_json::json!({ "text": text })).collect();
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        if !rows.is_empty() {
            prop_assert_eq!(&super::texts("a.jsonl", lines), &texts);
        }
        let array = serde_json::Value::Array(rows);
        prop_assert_eq!(&super::texts("a.json", array.to_string()), &texts);
        prop_assert_eq!(&super::texts("a.json", format!("{array:#}")), &texts);
        let table: String = std::iter::once("text,id\n".to_owned())
            .chain(texts.iter().map(|text| format!("\"{}\",1\n", text.replace('"', "\"\""))))
            .collect();
        prop_assert_eq!(&super::texts("a.csv", table), &texts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn changed_archives_are_survived(
        at in any::<prop::sample::Index>(),
        change in 1u8..,
        end in any::<prop::sample::Index>(),
    ) {
        let line = b"{\"text\": \"One.\"}\n{\"text\": \"Two.\"}\n";
        let members: [(&str, &[u8]); 3] = [("a.jsonl", line), ("b.gz", &gzip(line)), ("c", b"x")];
        let (archive, zip) = (archives::tar(&members), zip::zip(&members));
        for mut bytes in [archive.clone(), zip, gzip(&archive), zst(&archive), gzip(line)] {
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            survives("a", bytes.clone())?;
            bytes.truncate(end.index(bytes.len()));
            survives("a", bytes)?;
        }
    }

    #[test]
    fn pieces_are_the_text(
        parts in prop::collection::vec(("[a-z\u{e9}\u{1f600} \r\n]{1,40}", 1usize..9_000), 1..12),
        wide: bool,
    ) {
        let text: String = parts.iter().map(|(part, times)| part.repeat(*times)).collect();
        prop_assume!(!text.trim().is_empty());
        let marked = format!("\u{feff}{text}");
        let bytes = if wide { utf_16(&marked, u16::to_le_bytes) } else { marked.into_bytes() };
        let joined = texts("a", bytes).concat();
        let expected = text.replace("\r\n", "\n").replace('\r', "\n");
        // Blank text before the first piece is left out.
        prop_assert!(expected.ends_with(&joined));
        prop_assert!(expected[..expected.len() - joined.len()].trim().is_empty());
    }
}
