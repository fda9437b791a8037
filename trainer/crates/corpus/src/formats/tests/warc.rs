// SPDX-License-Identifier: Apache-2.0

use super::*;

fn record(kind: &str, uri: &str, media: &str, block: &str) -> Vec<u8> {
    format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {uri}\r\n\
         WARC-Date: 2024-02-29T12:00:00Z\r\nContent-Type: {media}\r\n\
         Content-Length: {}\r\n\r\n{block}\r\n\r\n",
        block.len()
    )
    .into_bytes()
}

fn response(uri: &str, header: &str, body: &str) -> Vec<u8> {
    let block = format!("HTTP/1.1 {header}\r\n\r\n{body}");
    record("response", uri, "application/http; msgtype=response", &block)
}

pub(super) fn text_response(uri: &str, body: &str) -> Vec<u8> {
    response(uri, "200 OK\r\nContent-Type: text/plain", body)
}

#[test]
fn responses_and_conversions_are_documents() {
    let page = format!(
        "<html><body><article><p>{}</p></article></body></html>",
        "The rain fell on the old town, and nobody was out. ".repeat(20)
    );
    let records = [
        record("warcinfo", "", "application/warc-fields", "software: x\r\n"),
        record("request", "https://a.org/1", "application/http", "GET / HTTP/1.1\r\n\r\n"),
        response(
            "https://a.org/1",
            "200 OK\r\nContent-Type: text/html\r\nX-Robots-Tag: noarchive\r\ntdm-reservation: 1",
            &page,
        ),
        response("https://a.org/2", "404 Not Found", "gone"),
        response(
            "https://a.org/3",
            "200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked",
            "3\r\nOne\r\n5\r\n two.\r\n0\r\n\r\n",
        ),
        record("conversion", "https://a.org/4", "text/plain", "Text of a page."),
        response("https://a.org/5", "200 OK\r\nContent-Type: image/png", "\u{89}PNG"),
    ];
    let whole = records.concat();
    let by_record: Vec<u8> = records.iter().flat_map(|record| gzip(record)).collect();
    let expected = shown(read("a.warc", whole.clone()));
    assert!(expected[0].contains("The rain fell"));
    assert_eq!(
        expected[1..4],
        ["!a response with status 404, not a page", "One two.", "Text of a page."]
    );
    for bytes in [whole, by_record] {
        let items = read("a.warc.gz", bytes);
        let first = items[0].as_ref().unwrap();
        assert_eq!(first.origin.part, ["record 3", "https://a.org/1"]);
        assert_eq!(first.origin.fetched, Some(1_709_208_000));
        assert_eq!(first.origin.signals, ["x-robots-tag: noarchive", "tdm-reservation: 1"]);
        assert_eq!(first.raw, hash(page.as_bytes()));
        assert_eq!(shown(items), expected);
    }
}

#[test]
fn bodies_may_be_compressed() {
    let head = "WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http\r\n";
    let block =
        [&b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"[..], &gzip(b"Text.")].concat();
    let head = format!("{head}Content-Length: {}\r\n\r\n", block.len());
    assert_eq!(texts("a.warc", [head.as_bytes(), &block, b"\r\n\r\n"].concat()), ["Text."]);
}

#[test]
fn records_of_wrong_length_cost_only_themselves() {
    let sound =
        [text_response("https://a.org/1", "One."), text_response("https://a.org/3", "Three.")];
    for (stated, told) in
        [("10", "length"), ("1000", "length"), ("99999999999", "over"), ("x", "header")]
    {
        let wrong =
            String::from_utf8(text_response("https://a.org/2", &"Two. ".repeat(20))).unwrap();
        let start = wrong.find("Content-Length: ").unwrap() + 16;
        let end = start + wrong[start..].find('\r').unwrap();
        let wrong = format!("{}{stated}{}", &wrong[..start], &wrong[end..]);
        let items = texts("a.warc", [&sound[0], wrong.as_bytes(), &sound[1]].concat());
        assert_eq!(items[0], "One.");
        assert!(items[1].contains(told), "{stated}: {items:?}");
        // What a length that is far too long covers is not looked at.
        if stated != "99999999999" {
            assert_eq!(items[2..], ["Three."], "{stated}");
        }
    }
}

#[test]
fn damaged_members_cost_only_their_records() {
    let noise = |number: usize| {
        let hash = blake3::hash(&number.to_le_bytes()).to_hex();
        text_response(&format!("https://a.org/{number}"), &format!("Text {number}: {hash}\n"))
    };
    let members: Vec<Vec<u8>> = (0..3).map(|number| gzip(&noise(number))).collect();
    for at in 10..members[1].len() {
        let mut damaged = members.clone();
        damaged[1][at] ^= 0x55;
        let items = texts("a.warc.gz", damaged.concat());
        assert!(items[0].starts_with("Text 0"), "{at}: {items:?}");
        assert!(items.last().unwrap().starts_with("Text 2"), "{at}: {items:?}");
        assert!(items.iter().any(|item| item.starts_with('!')), "{at}: {items:?}");
    }
    let cut = members.concat();
    let items = texts("a.warc.gz", &cut[..cut.len() - 30]);
    assert!(items[1].starts_with("Text 1") && items.last().unwrap().starts_with('!'), "{items:?}");
}

#[test]
fn every_end_of_a_file_is_survived() {
    let whole =
        [text_response("https://a.org/1", "One."), text_response("https://a.org/2", "Two.")]
            .concat();
    for end in 5..whole.len() {
        let items = texts("a.warc", &whole[..end]);
        assert!(items.len() <= 2, "{end}: {items:?}");
    }
}
