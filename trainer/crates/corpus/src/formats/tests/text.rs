// SPDX-License-Identifier: Apache-2.0

use encoding_rs::{BIG5, EUC_JP, GB18030, SHIFT_JIS, WINDOWS_1251, WINDOWS_1252};

use super::*;

const GERMAN: &str = "Der Fluß überschwemmte die Straße, und die Männer gingen früh nach Hause. \
                      Später sagte die Großmutter: „Schön, daß ihr da seid!“\n";
const RUSSIAN: &str = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья \
                       несчастлива по-своему. Все смешалось в доме Облонских.\n";
const JAPANESE: &str = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n\
                        何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記憶している。\n";
const CHINESE: &str = "道可道，非常道。名可名，非常名。无名天地之始；有名万物之母。\n";

#[test]
fn line_ends_are_normalised_and_nothing_else() {
    assert_eq!(
        texts("a.txt", "One \r\nTwo\rThree\n\n\n\n Four"),
        ["One \nTwo\nThree\n\n\n\n Four"]
    );
    assert_eq!(texts("a.md", "# One\n\n*two*\n"), ["# One\n\n*two*\n"]);
    assert_eq!(texts("a.md", "---\ntitle: A\n---\n# One\n"), ["# One\n"]);
    let document = read("a.md", "# One\n").remove(0).unwrap();
    assert_eq!(document.extractor.name, "pol-corpus/markdown");
    assert_eq!(document.raw, hash(b"# One\n"));
    assert_eq!((document.piece, document.invalid), (0, 0));
    assert!(document.origin.part.is_empty());
}

#[test]
fn encodings_are_recognised() {
    let encoded = |encoding: &'static encoding_rs::Encoding, text: &str| {
        let (bytes, _, lossy) = encoding.encode(text);
        assert!(!lossy);
        bytes.into_owned()
    };
    for (name, bytes, expected) in [
        ("UTF-8", GERMAN.as_bytes().to_vec(), GERMAN),
        ("UTF-8 with a mark", format!("\u{feff}{GERMAN}").into_bytes(), GERMAN),
        ("UTF-16LE", utf_16(GERMAN, u16::to_le_bytes), GERMAN),
        ("UTF-16BE", utf_16(GERMAN, u16::to_be_bytes), GERMAN),
        (
            "UTF-16LE with a mark",
            utf_16(&format!("\u{feff}{JAPANESE}"), u16::to_le_bytes),
            JAPANESE,
        ),
        (
            "UTF-16BE with a mark",
            utf_16(&format!("\u{feff}{JAPANESE}"), u16::to_be_bytes),
            JAPANESE,
        ),
        ("windows-1252", encoded(WINDOWS_1252, GERMAN), GERMAN),
        ("windows-1251", encoded(WINDOWS_1251, RUSSIAN), RUSSIAN),
        ("Shift_JIS", encoded(SHIFT_JIS, JAPANESE), JAPANESE),
        ("EUC-JP", encoded(EUC_JP, JAPANESE), JAPANESE),
        ("GB18030", encoded(GB18030, CHINESE), CHINESE),
    ] {
        let documents = read("a.txt", bytes.clone());
        let [Ok(document)] = documents.as_slice() else { panic!("{name}: {documents:?}") };
        assert_eq!((document.text.as_str(), document.invalid), (expected, 0), "{name}");
        assert_eq!(document.raw, hash(&bytes), "{name}");
    }
}

#[test]
fn stated_encodings_are_used_unless_they_are_wrong() {
    let stated = |bytes: &[u8], media: &str| {
        let mut input = input("https://example.org/x", bytes);
        input.media = Some(media.into());
        shown(read_with(input, &ReadOptions::default()))
    };
    let short = BIG5.encode("漢字").0;
    assert_eq!(stated(&short, "text/plain; charset=Big5"), ["漢字"]);
    assert_eq!(stated("漢字".as_bytes(), "text/plain; charset=\"iso-8859-1\""), ["漢字"]);
    assert_eq!(stated(b"plain", "text/plain; charset=utf-16"), ["plain"]);
    assert_eq!(stated(b"plain", "text/plain; charset=nonsense"), ["plain"]);
}

#[test]
fn extracted_text_is_plain_whatever_it_looks_like() {
    let page = "<html><body><p>A page about &lt;p&gt;.</p></body></html>";
    let row = "{\"a\": 1}\n{\"a\": 2}\n";
    for (name, text) in [("rows.csv", "One, two.\nThree, four.\n"), ("a.html", page), ("a", row)] {
        let mut extracted = input(name, text.as_bytes());
        extracted.media = Some(crate::EXTRACTED_TEXT.into());
        assert_eq!(shown(read_with(extracted, &ReadOptions::default())), [text], "{name}");
    }
}

#[test]
fn encoding_is_decided_where_it_first_shows() {
    let mut bytes = "plain ASCII, line after line\n".repeat(8_000).into_bytes();
    bytes.extend_from_slice(&WINDOWS_1252.encode(&GERMAN.repeat(20)).0);
    let text: String = texts("a.txt", bytes).concat();
    assert!(text.ends_with(GERMAN) && !text.contains('\u{fffd}'));
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_counted() {
    let document = read("a.txt", b"caf\xe9 na\xefve \xc3\xa9t\xc3\xa9".to_vec()).remove(0).unwrap();
    assert_eq!(
        (document.text.as_str(), document.invalid),
        ("caf\u{fffd} na\u{fffd}ve \u{e9}t\u{e9}", 2)
    );
}

#[test]
fn long_texts_come_in_pieces_that_are_the_text() {
    let paragraph = format!("{}\r\n\r\n", "word ".repeat(300).trim_end());
    let text = paragraph.repeat(2_000);
    let normal = text.replace("\r\n", "\n");
    for bytes in [text.clone().into_bytes(), utf_16(&text, u16::to_le_bytes)] {
        let documents: Vec<Document> =
            read("a.txt", bytes.clone()).into_iter().map(Result::unwrap).collect();
        assert!(documents.len() > 2);
        let mut raw = bytes.as_slice();
        for (number, document) in documents.iter().enumerate() {
            assert_eq!(document.piece as usize, number);
            assert!(document.text.len() <= MAX_PIECE_BYTES && document.text.ends_with("\n\n"));
            let length = (document.text.len() + document.text.matches('\n').count())
                * if bytes.len() > text.len() { 2 } else { 1 };
            assert_eq!(document.raw, hash(&raw[..length]));
            raw = &raw[length..];
        }
        assert!(raw.is_empty());
        let joined: String = documents.into_iter().map(|document| document.text).collect();
        assert!(joined == normal);
    }
    // Text that grows when it is decoded stays within pieces, too.
    let grown = WINDOWS_1252.encode(&"é€ ".repeat(700_000)).0.into_owned();
    let documents = read("a.txt", grown);
    let texts: Vec<String> = shown(documents);
    assert!(texts.iter().all(|text| text.len() <= MAX_PIECE_BYTES));
    assert!(texts.concat() == "é€ ".repeat(700_000));
}

fn book(title: &str, text: &str) -> String {
    format!(
        "\u{feff}The Project Gutenberg eBook of {title}\n\nThis ebook is for the use of anyone.\n\n\
         Title: {title}\n\n*** START OF THE PROJECT GUTENBERG EBOOK {title}, OR\nTHE Y ***\n\
         {text}*** END OF THE PROJECT GUTENBERG EBOOK {title} ***\n\n{}\n\nMost people start at \
         our website, with information about Project Gutenberg and\nhow to hear about new \
         eBooks.\n",
        "Updated editions will replace the previous one.\n\n".repeat(300),
    )
}

#[test]
fn every_book_of_a_file_is_read() {
    let text = book("A", "Text of A.\n") + &book("B", "Text of B.\n") + "\nAn afterword.\n";
    for bytes in [text.clone().into_bytes(), utf_16(&text, u16::to_le_bytes)] {
        let books = read("a.txt", bytes);
        let parts: Vec<_> =
            books.iter().map(|book| book.as_ref().unwrap().origin.part.join("/")).collect();
        assert_eq!(parts, ["book 1", "book 2", ""]);
        assert_eq!(shown(books), ["Text of A.\n", "Text of B.\n", "An afterword.\n"]);
    }
}

#[test]
fn licences_of_all_times_are_removed() {
    let modern = "The Project Gutenberg eBook of X\nlicence\n\n\
                  *** START OF THE PROJECT GUTENBERG EBOOK X, OR\nTHE Y ***\n\nText.\n\n\
                  *** END OF THE PROJECT GUTENBERG EBOOK X ***\nSTART: FULL LICENSE\n";
    assert_eq!(texts("a.txt", modern), ["\nText.\n\n"]);
    let small_print = "**Welcome**\n\
                       ***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nlegal\n\
                       *END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n\
                       Text.\nEnd of Project Gutenberg's Etext of X\n";
    assert_eq!(texts("a.txt", small_print), ["\nText.\n"]);
    let both = "*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n\nText.\n\n\
                End of the Project Gutenberg EBook of X\n\n\
                *** END OF THIS PROJECT GUTENBERG EBOOK X ***\nlegal\n\
                *END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.02.11.02*END*\n";
    assert_eq!(texts("a.txt", both), ["\nText.\n\n"]);
    let two_headers = "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*END*\n\nProduced by N.\n\n\
                       *** START OF THIS PROJECT GUTENBERG EBOOK X ***\nText.\n";
    assert_eq!(texts("a.txt", two_headers), ["Text.\n"]);
}

#[test]
fn text_around_books_stays() {
    let preface = "A collection of books.\n\n".repeat(200);
    let text = format!("{preface}{}", book("A", "Text of A.\n"));
    assert_eq!(texts("a.txt", text.replace('\u{feff}', "")), [preface, "Text of A.\n".into()]);
    for text in [
        "***\n\nTHE END OF THE FIRST BOOK.\n",
        "*** START OF THE SHOW\nEnd of the line.\n",
        "A\n*END*\n",
        "He wrote of the\nend of Gutenberg's life, and of Project Gutenberg.\n",
    ] {
        assert_eq!(texts("a.txt", text), [text]);
    }
}

#[test]
fn long_books_come_in_pieces() {
    let long = "A line of the book.\n\n".repeat(120_000);
    let text = book("A", &long) + &book("B", &long);
    let documents: Vec<Document> = read("a.txt", text).into_iter().map(Result::unwrap).collect();
    for number in 1..=2 {
        let part = [format!("book {number}")];
        let of_book: Vec<_> = documents.iter().filter(|book| book.origin.part == part).collect();
        assert!(of_book.iter().enumerate().all(|(at, book)| book.piece as usize == at));
        let joined: String = of_book.iter().map(|book| book.text.as_str()).collect();
        assert!(joined == long, "{number}");
    }
    assert!(documents.iter().all(|document| !document.origin.part.is_empty()));
}

#[test]
fn what_is_no_text_is_refused_by_name() {
    let mut random = vec![0; 4_096];
    blake3::Hasher::new().finalize_xof().fill(&mut random);
    for (bytes, expected) in [
        (&b""[..], "empty"),
        (b" \n\t\n", "no text"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"filedesc://a.arc 0.0.0.0 2005 text/plain 73\n", "ARC"),
        (b"\x89PNG\r\n\x1a\n\0\0", "PNG"),
        (b"PK\x03\x04\x14\0\0\0", "zip"),
        (b"BZh91AY&SY\0\x01", "bzip2"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"MZ\x90\0\x03\0", "executable"),
        (b"\x7fELF\x02\x01", "ELF"),
        (b"RIFF\x24\0\0\0WAVE", "RIFF"),
        (b"\0\0\0\x18ftypmp42", "ISO base media"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"{\\rtf1\\ansi text}", "RTF"),
        (b"<?xml version=\"1.0\"?><rss></rss>", "XML"),
        (b"\xff\xfe\0\0a\0\0\0", "UTF-32"),
        (b"text\0with\0zeros\0and more text", "binary"),
        (&random, "binary"),
    ] {
        let reason = reason("a.txt", bytes);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    assert_eq!(texts("a.txt", "ORCHARDS bloom.\n"), ["ORCHARDS bloom.\n"]);
    assert_eq!(texts("a.txt", "MZ is not a word.\n"), ["MZ is not a word.\n"]);
}

#[test]
fn binary_data_within_text_is_refused_and_the_rest_is_read() {
    let line = "A line of text.\n".repeat(MAX_PIECE_BYTES / 16);
    let mut bytes = line.clone().into_bytes();
    bytes.extend(std::iter::repeat_n([7, 0, 9, 0, 3], MAX_PIECE_BYTES / 4).flatten());
    let items = texts("a.txt", bytes);
    assert_eq!(items[0], line);
    assert!(items[1].contains("!binary data within text"));
}

#[test]
fn pages_are_extracted() {
    let words = "The rain fell on the old town, and nobody was out in the streets. ".repeat(12);
    let page = |charset: &str| {
        format!(
            "<!DOCTYPE html><html><head><meta charset=\"{charset}\"><title>Rain</title></head>\
             <body><nav><a href=/>Home</a></nav><article><h1>Rain</h1><p>Über: {words}</p>\
             <p>{words}</p></article><script>var x = 1;</script></body></html>"
        )
    };
    let latin = WINDOWS_1252.encode(&page("iso-8859-1")).0.into_owned();
    for bytes in [page("utf-8").into_bytes(), page("iso-8859-1").into_bytes(), latin] {
        let document = read("https://example.org/rain", bytes.clone()).remove(0).unwrap();
        assert!(document.text.contains("Über: The rain fell"), "{}", document.text);
        assert!(!document.text.contains("Home") && !document.text.contains("var x"));
        assert_eq!(document.raw, hash(&bytes));
        assert_eq!(document.extractor, DomSmoothie.tool());
    }
}

#[test]
fn pages_are_bounded() {
    assert!(reason("a.html", "<html><body></body></html>").contains("readable"));
    let deep = format!("<html>{}", "<div>".repeat(100_000));
    assert!(reason("a.html", deep).contains("2048"));
    let long = format!("<html>{}", "<p>text".repeat(2 << 20));
    assert!(reason("a.html", long).contains("over 8388608 bytes"));
}

#[test]
fn an_extractor_that_panics_costs_one_page() {
    struct Panics;
    impl HtmlExtractor for Panics {
        fn tool(&self) -> Tool {
            Tool::default()
        }
        fn extract(&self, _: &str, _: Option<&str>) -> Option<String> {
            panic!("as a library may")
        }
    }
    let options = ReadOptions { html: Arc::new(Panics), ..ReadOptions::default() };
    let tar = archives::tar(&[("a.html", b"<html>x"), ("b.txt", b"Text.")]);
    let items = shown(read_with(input("a.tar", tar), &options));
    assert!(items[0].contains("!malformed"));
    assert_eq!(items[1], "Text.");
}
