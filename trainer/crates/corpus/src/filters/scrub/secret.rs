// SPDX-License-Identifier: Apache-2.0

//! Keys: private ones, and those of services.

use std::{cmp::Reverse, ops::Range};

use aho_corasick::AhoCorasick;
use memchr::memmem;

use super::{Search, apart, before, is_word};
use crate::{CorpusError, filters::boilerplate::automaton};

/// Longest private key that is looked for, in bytes.
const MAX_PRIVATE_KEY: usize = 16 << 10;
/// Longest first line of a private key.
const MAX_HEADER: usize = 80;
/// Longest key of a service.
const MAX_KEY: usize = 4 << 10;

/// Search for private keys (RFC 7468), also where their end is missing.
pub(in super::super) struct PrivateKeys;

impl Search for PrivateKeys {
    const PLACEHOLDER: &'static str = "[PRIVATE KEY]";

    fn search(&self, text: &str) -> Vec<Range<usize>> {
        let bytes = text.as_bytes();
        apart(memmem::find_iter(bytes, "-----BEGIN ").filter_map(|start| {
            let label = start + "-----BEGIN ".len();
            let window = &bytes[label..bytes.len().min(label + MAX_HEADER)];
            let header = memmem::find(window, b"-----")?;
            memmem::find(&window[..header], b"PRIVATE KEY")?;
            let body = label + header + 5;
            let window = &bytes[body..bytes.len().min(body + MAX_PRIVATE_KEY)];
            let end = match memmem::find(window, b"-----END ") {
                Some(end) => {
                    let label = &window[end + 9..window.len().min(end + 9 + MAX_HEADER)];
                    body + end + 9 + memmem::find(label, b"-----").map_or(0, |end| end + 5)
                }
                None => body + base64_lines(window),
            };
            Some(start..end)
        }))
    }
}

/// Returns the length of the lines of base64 at the start of a text.
fn base64_lines(text: &[u8]) -> usize {
    let is_base64 = |it: &u8| it.is_ascii_alphanumeric() || b"+/=\r".contains(it);
    let lines = text.split_inclusive(|&it| it == b'\n');
    let is_body = |line: &&[u8]| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.iter().all(is_base64)
    };
    let length = lines.take_while(is_body).map(<[u8]>::len).sum::<usize>();
    length - usize::from(text[..length].ends_with(b"\n"))
}

/// Characters of a key after its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alphabet {
    /// Letters and digits.
    Alphanumeric,
    /// These, `-` and `_`.
    Url,
    /// Parts of the latter with points between them.
    Parts,
}

impl Alphabet {
    fn contains(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
            || self != Self::Alphanumeric && matches!(byte, b'-' | b'_')
            || self == Self::Parts && byte == b'.'
    }
}

/// Prefixes of the keys of services, as these document them; the alphabet of the rest, and its
/// least length.
const SERVICES: [(&str, Alphabet, usize); 26] = [
    ("AKIA", Alphabet::Alphanumeric, 16),
    ("ASIA", Alphabet::Alphanumeric, 16),
    ("AIza", Alphabet::Url, 35),
    ("ya29.", Alphabet::Url, 20),
    ("ghp_", Alphabet::Alphanumeric, 36),
    ("gho_", Alphabet::Alphanumeric, 36),
    ("ghu_", Alphabet::Alphanumeric, 36),
    ("ghs_", Alphabet::Alphanumeric, 36),
    ("ghr_", Alphabet::Alphanumeric, 36),
    ("github_pat_", Alphabet::Url, 40),
    ("glpat-", Alphabet::Url, 20),
    ("sk-", Alphabet::Url, 20),
    ("sk_live_", Alphabet::Alphanumeric, 20),
    ("sk_test_", Alphabet::Alphanumeric, 20),
    ("rk_live_", Alphabet::Alphanumeric, 20),
    ("whsec_", Alphabet::Alphanumeric, 24),
    ("xoxb-", Alphabet::Url, 20),
    ("xoxp-", Alphabet::Url, 20),
    ("xoxa-", Alphabet::Url, 20),
    ("xoxs-", Alphabet::Url, 20),
    ("hf_", Alphabet::Alphanumeric, 30),
    ("npm_", Alphabet::Alphanumeric, 36),
    ("pypi-", Alphabet::Url, 60),
    ("SG.", Alphabet::Parts, 60),
    ("dop_v1_", Alphabet::Alphanumeric, 60),
    ("eyJ", Alphabet::Parts, 60),
];

/// Names of variables that hold secrets.
const NAMES: [&str; 12] = [
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "access_token",
    "auth_token",
    "client_secret",
    "password",
    "passwd",
    "private_key",
    "secret",
    "secret_key",
];

/// Least and greatest length of a secret in quotes.
const SECRET: std::ops::RangeInclusive<usize> = 16..=200;

/// Search for keys by the prefixes of services, and for secrets in quotes after a name that says
/// so.
pub(in super::super) struct Keys {
    services: AhoCorasick,
    names: AhoCorasick,
}

impl Keys {
    /// Prepares the search for prefixes and names.
    pub(in super::super) fn new() -> Result<Self, CorpusError> {
        let services = automaton(&SERVICES.map(|(prefix, ..)| prefix))?;
        Ok(Self { services, names: automaton(&NAMES)? })
    }
}

impl Search for Keys {
    const PLACEHOLDER: &'static str = "[KEY]";

    fn search(&self, text: &str) -> Vec<Range<usize>> {
        let (bytes, lower) = (text.as_bytes(), text.to_ascii_lowercase());
        let mut found: Vec<Range<usize>> = (self.services.find_iter(text))
            .filter_map(|prefix| {
                let (_, alphabet, least) = SERVICES[prefix.pattern().as_usize()];
                service_key(bytes, prefix.start()..prefix.end(), alphabet, least)
            })
            .chain(self.names.find_iter(&lower).filter_map(|name| secret(bytes, name.end())))
            .collect();
        found.sort_unstable_by_key(|place| (place.start, Reverse(place.end)));
        apart(found.into_iter())
    }
}

/// Returns the place of a key whose prefix is known.
fn service_key(
    text: &[u8],
    prefix: Range<usize>,
    alphabet: Alphabet,
    least: usize,
) -> Option<Range<usize>> {
    let belongs = |it: u8| is_word(it) || it == b'-' || alphabet.contains(it);
    if before(text, prefix.start).is_some_and(belongs) {
        return None;
    }
    let rest = &text[prefix.end..text.len().min(prefix.end + MAX_KEY)];
    let length = rest.iter().take_while(|&&it| alphabet.contains(it)).count();
    let key = &rest[..rest[..length].iter().rposition(u8::is_ascii_alphanumeric)? + 1];
    // A web token has parts, and names with hyphens have no capitals and digits.
    let is_token = alphabet != Alphabet::Parts || key.contains(&b'.');
    (key.len() >= least && is_token && is_random(key)).then(|| prefix.start..prefix.end + key.len())
}

/// Tells whether a text has digits and capital letters, as few words do.
fn is_random(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_digit)
        && (text.iter().any(u8::is_ascii_uppercase) || !text.contains(&b'-'))
}

/// Returns the place of a secret in quotes, after the end of the name of its variable.
fn secret(text: &[u8], end: usize) -> Option<Range<usize>> {
    let is_between = |it: &&u8| matches!(it, b'"' | b'\'' | b' ' | b':' | b'=' | b'>');
    let between = text[end..].iter().take(8).take_while(is_between).count();
    let start = end + between;
    let quote = *text[end..start].last().filter(|it| matches!(it, b'"' | b'\''))?;
    text[end..start].iter().find(|it| matches!(it, b':' | b'='))?;
    let rest = &text[start..text.len().min(start + SECRET.end() + 1)];
    let length = rest.iter().position(|&it| it == quote)?;
    let is_secret = |it: &u8| it.is_ascii_alphanumeric() || b"-_+/=.".contains(it);
    let value = &rest[..length];
    let is_mixed =
        value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
    (SECRET.contains(&length) && value.iter().all(is_secret) && is_mixed)
        .then_some(start..start + length)
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn private_keys_go_with_or_without_an_end() {
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE+/=\nabcd\n";
        check(
            PrivateKeys,
            &[
                (&format!("a\n{pem}-----END RSA PRIVATE KEY-----\nb"), "a\n[PRIVATE KEY]\nb"),
                (&format!("a\n{pem}Not of it.\n"), "a\n[PRIVATE KEY]\nNot of it.\n"),
                ("-----BEGIN PRIVATE KEY-----", "[PRIVATE KEY]"),
                ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nx\n-----END PGP", "[PRIVATE KEY]PGP"),
            ],
            &[
                "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
                "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----",
                "A PRIVATE KEY, -----BEGIN and no end",
            ],
        );
    }

    #[test]
    fn keys_of_services_are_told_by_their_prefix() {
        let (aws, git) = ("AKIAIOSFODNN7EXAMPLE", "ghp_0123456789abcdefghijABCDEFGHIJ012345");
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N";
        check(
            Keys::new().unwrap(),
            &[
                (&format!("id={aws}."), "id=[KEY]."),
                (&format!("{git}, {jwt}"), "[KEY], [KEY]"),
                ("sk-proj-Abc_0123456789-xyzXYZ", "[KEY]"),
                ("password = 'hunter2hunter2hunter2'", "password = '[KEY]'"),
                ("{\"api_key\": \"0a1b2c3d4e5f6a7b\"}", "{\"api_key\": \"[KEY]\"}"),
                ("SECRET_KEY=\"sk-Abc0123456789xyzXYZ012\"", "SECRET_KEY=\"[KEY]\""),
            ],
            &[
                "AKIASHORT1 and XAKIAIOSFODNN7EXAMPLE",
                "sk-2024-a-slug-of-many-words-in-a-row and task-Abc0123456789xyzXYZ012",
                "hf_transfer and npm_config_registry_of_some_kind_or_other and SG.",
                "password = 'short1' and password: \"correct horse battery staple 1\"",
                "secret garden, \"secret\": \"abcdefghijklmnopqrstuvwxyz\"",
                "api_key = os.environ['SOME_NAME_0123456789']",
            ],
        );
    }
}
