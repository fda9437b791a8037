// SPDX-License-Identifier: Apache-2.0

//! Addresses of the Internet Protocol.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use super::{Search, apart, before, digits, is_apart, is_word, numbers};

/// Public resolvers, which everybody knows.
const WELL_KNOWN: [Ipv4Addr; 6] = [
    Ipv4Addr::new(1, 0, 0, 1),
    Ipv4Addr::new(1, 1, 1, 1),
    Ipv4Addr::new(8, 8, 4, 4),
    Ipv4Addr::new(8, 8, 8, 8),
    Ipv4Addr::new(9, 9, 9, 9),
    Ipv4Addr::new(149, 112, 112, 112),
];

/// Words before numbers of versions and sections, in small letters.
const VERSION_WORDS: [&str; 13] = [
    "appendix", "build", "chapter", "clause", "figure", "firmware", "release", "revision",
    "section", "table", "ver", "version", "versions",
];

/// Search for addresses that name one machine on the public network.
pub(in super::super) struct Addresses;

impl Search for Addresses {
    const PLACEHOLDER: &'static str = "[IP]";

    fn search(&self, text: &str) -> Vec<Range<usize>> {
        apart(numbers(text.as_bytes()).filter_map(|start| {
            let place = version_4(text, start).or_else(|| version_6(text, start))?;
            is_apart(text.as_bytes(), &place).then_some(place)
        }))
    }
}

/// Returns the place of an address of four numbers.
fn version_4(text: &str, start: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut end = start;
    for part in 0..4 {
        end += usize::from(part > 0);
        let length = digits(bytes, end);
        if !(1..=3).contains(&length) {
            return None;
        }
        end += length;
        if part < 3 && bytes.get(end) != Some(&b'.') {
            return None;
        }
    }
    let address: Ipv4Addr = text[start..end].parse().ok()?;
    let follows = |first: u8, second: fn(&u8) -> bool| {
        bytes.get(end) == Some(&first) && bytes.get(end + 1).is_some_and(second)
    };
    let is_longer = before(bytes, start) == Some(b'.')
        || follows(b'.', u8::is_ascii_digit)
        || follows(b'-', u8::is_ascii_alphabetic);
    // Four single digits number a version or a section more often than a machine.
    let is_version =
        address.octets().iter().all(|&octet| octet < 10) || follows_version_word(text, start);
    (is_public(address) && !is_longer && !is_version).then_some(start..end)
}

/// Tells whether a word before an offset announces the number of a version or a section.
fn follows_version_word(text: &str, start: usize) -> bool {
    let before = text[..start].trim_end_matches([' ', ':', '.', '=', 'v', 'V']);
    let bytes = before.as_bytes();
    let length = bytes.iter().rev().take(12).take_while(|it| it.is_ascii_alphabetic()).count();
    let word = bytes[bytes.len() - length..].to_ascii_lowercase();
    before.ends_with('§') || VERSION_WORDS.iter().any(|it| it.as_bytes() == word)
}

/// Tells whether an address is one machine's on the public network (RFC 6890).
fn is_public(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let is_shared = first == 100 && second & 0xC0 == 64;
    let is_benchmark = first == 198 && second & 0xFE == 18;
    !(first == 0
        || first >= 224
        || is_shared
        || is_benchmark
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || WELL_KNOWN.contains(&address))
}

/// Returns the place of an address of eight groups in 2000::/3, but not of examples.
fn version_6(text: &str, start: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let is_address = |it: &&u8| it.is_ascii_hexdigit() || **it == b':';
    // The longest form has 39 characters. One more tells that there is no end.
    let length = bytes[start..].iter().take(40).take_while(is_address).count();
    let mut end = start + length;
    if !matches!(bytes[start], b'2' | b'3') || bytes.get(start + 4) != Some(&b':') || length == 40 {
        return None;
    }
    if bytes[..end].ends_with(b":") && !bytes[..end].ends_with(b"::") {
        end -= 1;
    }
    let address: Ipv6Addr = text[start..end].parse().ok()?;
    let is_example = address.segments()[..2] == [0x2001, 0xDB8];
    let is_longer = before(bytes, start).is_some_and(|it| it == b':' || is_word(it));
    (!is_example && !is_longer).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn addresses_are_told_from_versions() {
        check(
            Addresses,
            &[
                ("from 185.199.108.153, port 22", "from [IP], port 22"),
                ("http://93.184.215.14:8080/x", "http://[IP]:8080/x"),
                ("93.184.215.0/24.", "[IP]/24."),
                ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", "[IP]"),
                ("[2a00:1450:4001:82b::200e]:443", "[[IP]]:443"),
            ],
            &[
                "10.0.0.1 127.0.0.1 192.168.1.1 169.254.0.1 0.0.0.0 255.255.255.255",
                "100.64.0.1 198.18.0.1 203.0.113.9 224.0.0.1 8.8.8.8 1.1.1.1",
                "version 91.0.44.72, v91.0.44.72, Version: 10.20.30.40, firmware v12.13.14.15",
                "section 12.13.14.15 and § 12.13.14.15 and 2.1.3.4",
                "Chrome/91.0.4472.124 and 91.0.44.72-beta and 256.10.20.30 and 21.22.23.24.25",
                "1.22.33 and 99.98.97.96a and x99.98.97.96 and 013.10.20.30",
                "2001:db8::1 fe80::1 ::1 20:15:30 2a:bb:cc:dd:ee:ff 2024:x std::vector",
                "1234:2606:2800:21f:cb07:6820:80da:af6b:8b2c",
            ],
        );
    }
}
