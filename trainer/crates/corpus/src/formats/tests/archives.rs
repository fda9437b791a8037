// SPDX-License-Identifier: Apache-2.0

use super::*;

/// Writes an archive of files.
pub(super) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn compression_is_taken_off() {
    let line = b"{\"text\": \"One.\"}\n";
    for bytes in [gzip(line), zst(line), gzip(&zst(line)), zst(&gzip(&gzip(line)))] {
        assert_eq!(texts("a.jsonl.gz", bytes), ["One."]);
    }
    let members = [gzip(b"One. "), gzip(b"Two."), vec![0; 600]].concat();
    assert_eq!(texts("a.gz", members), ["One. Two."]);
    assert_eq!(texts("a.zst", [zst(b"One. "), zst(b"Two.")].concat()), ["One. Two."]);
    assert_eq!(texts("a.md.gz", gzip(b"---\na: b\n---\nText.")), ["Text."]);
    assert!(reason("a.gz", gzip(b"%PDF-1.7")).contains("PDF"));
}

#[test]
fn members_of_archives_are_documents() {
    let long = format!("{}/a.txt", "folder".repeat(30));
    let table = b"{\"text\": \"Two.\"}\n{\"text\": \"Three.\"}\n";
    let inner = tar(&[("b.jsonl", table), ("c.txt.gz", &gzip(b"Four."))]);
    let archive = tar(&[
        (&long, b"One."),
        ("._a.txt", b"macOS"),
        ("x/.hidden", b"hidden"),
        ("inner.tar.zst", &zst(&inner)),
        ("a.png", b"\x89PNG\r\n"),
        ("empty", b""),
        ("z.txt", b"Five."),
    ]);
    let items = read("a.tar", archive.clone());
    assert_eq!(
        places(&items),
        [
            long.as_str(),
            "!._a.txt",
            "!x/.hidden",
            "inner.tar.zst > b.jsonl > line 1",
            "inner.tar.zst > b.jsonl > line 2",
            "inner.tar.zst > c.txt.gz",
            "!a.png",
            "!empty",
            "z.txt",
        ]
    );
    let four = items[5].as_ref().unwrap();
    assert_eq!((four.text.as_str(), four.raw), ("Four.", hash(b"Four.")));
    assert_eq!(texts("a.tgz", gzip(&archive)), shown(items));
}

#[test]
fn damage_is_told_and_whole_documents_before_it_are_kept() {
    let lines: Vec<u8> = (0..20_000)
        .flat_map(|number| format!("{{\"text\": \"Number {}.\"}}\n", number * 7_919).into_bytes())
        .collect();
    for whole in [gzip(&lines), zst(&lines)] {
        let mut items = texts("a.jsonl.gz", &whole[..whole.len() / 2]);
        let last = items.pop().unwrap();
        assert!(items.len() > 1_000);
        assert!(items.iter().all(|text| text.starts_with("Number") && text.ends_with('.')));
        let kept = format!("(documents before it, which are kept: {})", items.len());
        assert!(last.starts_with("!damaged") && last.ends_with(&kept), "{last}");
    }
}

/// Files of all formats, each with several documents but for the page.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let noise: String =
        (0..24_000u32).map(|number| format!("{} ", blake3::hash(&number.to_le_bytes()))).collect();
    let rows = |before: &str, after: &str| -> String {
        let rows = noise.as_bytes().chunks(65_000);
        rows.map(|row| format!("{before}{}{after}", String::from_utf8_lossy(row))).collect()
    };
    let (objects, text) = (rows("{\"text\": \"", "\"}\n"), &noise[..100_000]);
    let record = |number: u8| warc::text_response(&format!("https://a.org/{number}"), text);
    let members: [(&str, &[u8]); 2] = [("a", text.as_bytes()), ("b", text.as_bytes())];
    vec![
        ("a.txt", noise.clone().into_bytes()),
        ("a.html", format!("<html><body><article><p>{text}</p></article></html>").into_bytes()),
        ("a.csv", format!("id,text\n{}", rows("1,", "\n")).into_bytes()),
        ("a.jsonl", objects.clone().into_bytes()),
        ("a.json", format!("[{}]\n", objects.trim_end().replace('\n', ",\n")).into_bytes()),
        ("a.warc", [record(1), record(2)].concat()),
        ("a.tar", tar(&members)),
        ("a.zip", zip::zip(&members)),
    ]
}

#[test]
fn a_document_that_damage_cut_is_not_kept() {
    for (name, whole) in files() {
        let expected = texts(name, whole.clone());
        let mut sum = gzip(&whole);
        let at = sum.len() - 6;
        sum[at] ^= 1;
        for (damage, bytes) in [
            ("cut", gzip(&whole)[..gzip(&whole).len() * 2 / 3].to_vec()),
            ("cut", zst(&whole)[..zst(&whole).len() * 2 / 3].to_vec()),
            ("sum", sum),
        ] {
            let items = texts(name, bytes);
            let (told, kept): (Vec<_>, Vec<_>) =
                items.iter().partition(|item| item.starts_with('!'));
            assert!(told.iter().any(|item| item.contains("damaged")), "{name} {damage}: {told:?}");
            assert!(kept.iter().all(|item| expected.contains(item)), "{name} {damage}");
            // A row or member is whole whatever follows, also a checksum of the file around it.
            let is_bounded = damage == "sum" && !["a.txt", "a.html", "a.warc"].contains(&name);
            let is_left_out = kept.len() < expected.len();
            assert!(is_left_out || (is_bounded && name != "a.zip"), "{name} {damage}");
        }
    }
}

#[test]
fn archives_that_end_early_or_are_damaged_are_told() {
    let archive = tar(&[("a.txt", b"One."), ("b.txt", &b"Two. ".repeat(300))]);
    let cut = texts("a.tar", &archive[..archive.len() - 2_000]);
    assert_eq!(cut[0], "One.");
    assert!(cut.last().unwrap().contains("!damaged: the archive ends within it"), "{cut:?}");
    let mut damaged = archive;
    damaged[1_024 + 150] ^= 1;
    let items = texts("a.tar", damaged);
    let reason = format!("!damaged: a member without a valid header{ONE_KEPT}");
    assert_eq!(items, ["One.", &reason]);
    // Bytes behind a member may be the rest of the text, of which the start is damaged.
    let trailing = super::reason("a.gz", [gzip(b"One."), b"garbage".to_vec()].concat());
    assert!(trailing.contains("no member"), "{trailing}");
}

#[test]
fn nesting_is_bounded() {
    let mut bytes = b"Text.".to_vec();
    for _ in 0..6 {
        bytes = gzip(&bytes);
    }
    assert_eq!(texts("a.gz", bytes.clone()), ["Text."]);
    assert!(reason("a.gz", gzip(&bytes)).contains("over 6 layers"));
    let mut bytes = tar(&[("a.txt", b"Text.")]);
    for _ in 0..6 {
        bytes = tar(&[("a.tar", &bytes)]);
    }
    assert!(reason("a.tar", bytes).contains("over 6 layers"));
}

#[test]
fn bombs_are_refused_by_name() {
    let mut text = Vec::new();
    while text.len() < 8 << 20 {
        text.extend_from_slice(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n");
    }
    let bomb = zst(&text);
    assert!(bomb.len() < 2_000);
    let limits = Limits { free: 1 << 20, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let count = |bytes: Vec<u8>| {
        let documents = Documents::open(input("a", bytes), &options).unwrap();
        let mut length = 0;
        let mut refused = Vec::new();
        for item in documents.map(Result::unwrap) {
            match item {
                Ok(document) => length += document.text.len(),
                Err(refusal) => refused.push(refusal.reason),
            }
        }
        (length, refused)
    };
    let (length, refused) = count(bomb.clone());
    assert!(length <= (1 << 20) + 256 * bomb.len());
    assert!(refused.len() == 1 && refused[0].contains("made to do harm"), "{refused:?}");
    // Many bombs in an archive are no more than one.
    let archive = tar(&[("a", &bomb), ("b", &bomb), ("c", &bomb)]);
    let (length, refused) = count(archive);
    assert!(length < 3 << 20 && refused.len() == 3, "{length} {refused:?}");
    let limits = Limits { total: 1_000, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let items = shown(read_with(input("a.gz", gzip(&[b'a'; 2_000])), &options));
    assert!(items[0].contains("made to do harm"), "{items:?}");
}
