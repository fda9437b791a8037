// SPDX-License-Identifier: Apache-2.0

//! Numbers of accounts and cards, both of which carry a checksum.

use std::ops::Range;

use super::{Search, apart, before, digits, is_apart, numbers};

/// Countries of IBANs and the length that each has (ISO 13616, registry of 2024).
static COUNTRIES: [(&[u8; 2], usize); 80] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"SA", 24),
    (b"SC", 31),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
];

/// Search for international numbers of bank accounts.
pub(in super::super) struct Ibans;

impl Search for Ibans {
    const PLACEHOLDER: &'static str = "[IBAN]";

    fn search(&self, text: &str) -> Vec<Range<usize>> {
        let bytes = text.as_bytes();
        apart(numbers(bytes).filter_map(|number| {
            let start = number.checked_sub(2)?;
            let country = &bytes[start..number];
            let &(_, length) = COUNTRIES.iter().find(|(code, _)| &code[..] == country)?;
            let place = start..iban_end(bytes, start, length)?;
            (is_apart(bytes, &place) && is_iban(&bytes[place.clone()])).then_some(place)
        }))
    }
}

/// Returns the end of so many letters and digits, with a space after each four of them or none.
fn iban_end(text: &[u8], start: usize, length: usize) -> Option<usize> {
    let is_spaced = text.get(start + 4) == Some(&b' ');
    let mut at = start;
    for count in 0..length {
        if is_spaced && count > 0 && count % 4 == 0 {
            text.get(at).filter(|&&it| it == b' ')?;
            at += 1;
        }
        text.get(at).filter(|it| it.is_ascii_digit() || it.is_ascii_uppercase())?;
        at += 1;
    }
    Some(at)
}

/// Verifies the checksum: the number modulo 97, its first four characters put last, is 1.
fn is_iban(number: &[u8]) -> bool {
    let mut turned: Vec<u8> = number.iter().copied().filter(|&it| it != b' ').collect();
    turned.rotate_left(4);
    let digit = |it: u8| char::from(it).to_digit(36).unwrap_or(0);
    let step = |rest: u32, digit: u32| (rest * if digit > 9 { 100 } else { 10 } + digit) % 97;
    turned.into_iter().map(digit).fold(0, step) == 1
}

/// Groups of digits on cards.
const GROUPS: [&[usize]; 4] = [&[4, 4, 4, 4, 3], &[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4]];

/// Search for numbers of payment cards.
pub(in super::super) struct Cards;

impl Search for Cards {
    const PLACEHOLDER: &'static str = "[CARD]";

    fn search(&self, text: &str) -> Vec<Range<usize>> {
        let bytes = text.as_bytes();
        apart(numbers(bytes).filter_map(|start| {
            let length = digits(bytes, start);
            let end = match length {
                4 => GROUPS.iter().find_map(|groups| grouped_end(bytes, start, groups))?,
                13..=19 => start + length,
                _ => return None,
            };
            let place = start..end;
            let is_part = before(bytes, start).is_some_and(|it| b".,-+".contains(&it))
                || bytes.get(end).is_some_and(|it| b".,-".contains(it))
                    && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
            (is_apart(bytes, &place) && !is_part && is_card(&bytes[place.clone()])).then_some(place)
        }))
    }
}

/// Returns the end of groups of digits with one and the same separator between them.
fn grouped_end(text: &[u8], start: usize, groups: &[usize]) -> Option<usize> {
    let separator = *text.get(start + 4).filter(|it| matches!(it, b' ' | b'-'))?;
    let mut at = start;
    for (index, &group) in groups.iter().enumerate() {
        if index > 0 {
            text.get(at).filter(|&&it| it == separator)?;
            at += 1;
        }
        (digits(text, at.min(text.len())) == group).then_some(())?;
        at += group;
    }
    Some(at)
}

/// Verifies issuer, length, and the checksum of Luhn (ISO/IEC 7812-1).
fn is_card(number: &[u8]) -> bool {
    let digits: Vec<u32> = number.iter().filter_map(|&it| char::from(it).to_digit(10)).collect();
    let prefix = digits.iter().take(4).fold(0, |prefix, digit| prefix * 10 + digit);
    let is_length = match prefix {
        4000..=4999 => matches!(digits.len(), 13 | 16 | 19),
        2221..=2720 | 5100..=5599 => digits.len() == 16,
        3400..=3499 | 3700..=3799 => digits.len() == 15,
        3000..=3059 | 3600..=3699 | 3800..=3999 => matches!(digits.len(), 14 | 16),
        3528..=3589 | 6011 | 6221..=6229 | 6440..=6599 => matches!(digits.len(), 16 | 19),
        _ => false,
    };
    let sum: u32 = (digits.iter().rev().enumerate())
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) => double / 10 + double % 10,
        })
        .sum();
    is_length && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn accounts_are_told_by_their_checksum() {
        check(
            Ibans,
            &[
                ("IBAN DE89 3704 0044 0532 0130 00, please", "IBAN [IBAN], please"),
                ("GB29NWBK60161331926819", "[IBAN]"),
                ("NO93 8601 1117 947.", "[IBAN]."),
            ],
            &[
                "DE88 3704 0044 0532 0130 00",
                "GB29NWBK60161331926818 GB29NWBK601613319268199 XGB29NWBK60161331926819",
                "DE89 3704 0044 0532 013 000 ZZ89370400440532013000 DE89",
            ],
        );
    }

    #[test]
    fn cards_are_told_by_issuer_and_checksum() {
        check(
            Cards,
            &[
                ("Card 4111 1111 1111 1111 12/26", "Card [CARD] 12/26"),
                ("5500-0055-5555-5559.", "[CARD]."),
                ("378282246310005", "[CARD]"),
                ("3782 822463 10005", "[CARD]"),
            ],
            &[
                "4111 1111 1111 1112",
                "4111 1111-1111 1111",
                "ISBN 9783161484100 and IMEI 352099001761481 and 1234567812345670",
                "0.4111111111111111 and 41111111111111111111 and x4111111111111111",
                "2021 2022 2023 2024",
            ],
        );
    }
}
