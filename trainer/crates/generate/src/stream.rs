// SPDX-License-Identifier: Apache-2.0

//! Conversion of the bytes of tokens to whole characters, up to a stop string.

use std::mem::take;

/// Incremental decoder from the bytes of tokens to text.
///
/// Bytes of an incomplete character are withheld, and so is a possible start of a stop string. The
/// division of the bytes changes only the moment at which text appears.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    stops: Vec<String>,
    pending: Vec<u8>,
    stopped: Option<usize>,
}

impl TextStream {
    /// Creates a stream that ends at the first complete string of `stops`. Empty strings are
    /// ignored.
    pub fn new(stops: &[String]) -> Self {
        Self {
            stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
            ..Self::default()
        }
    }

    /// Adds `bytes` and returns the text that is certain now. Bytes after a stop string are
    /// ignored. Invalid UTF-8 becomes U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        for &byte in bytes {
            if self.stopped.is_some() {
                break;
            }
            self.pending.push(byte);
            let complete = self
                .stops
                .iter()
                .enumerate()
                .filter(|(_, stop)| self.pending.ends_with(stop.as_bytes()));
            if let Some((index, stop)) = complete.max_by_key(|(_, stop)| stop.len()) {
                self.pending.truncate(self.pending.len() - stop.len());
                self.stopped = Some(index);
            }
        }
        if self.stopped.is_some() {
            return self.finish();
        }
        let certain = self.pending.len() - self.withheld();
        let text = String::from_utf8_lossy(&self.pending[..certain]).into_owned();
        self.pending.drain(..certain);
        text
    }

    /// Returns the withheld text. Call it when nothing follows.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&take(&mut self.pending)).into_owned()
    }

    /// Ends the text at the first stop string for which `is_reached` is true. Returns `true` if
    /// there is one.
    pub fn stop_at(&mut self, is_reached: impl Fn(&str) -> bool) -> bool {
        let reached = self.stops.iter().position(|stop| is_reached(stop));
        self.stopped = self.stopped.or(reached);
        reached.is_some()
    }

    /// Returns the stop string that ended the text.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.map(|index| self.stops[index].as_str())
    }

    /// Returns the number of bytes at the end that may start a stop string or are an incomplete
    /// character.
    fn withheld(&self) -> usize {
        let longest =
            self.stops.iter().map(|stop| stop.len() - 1).max().unwrap_or(0).min(self.pending.len());
        let stop = (1..=longest).rev().find(|&len| {
            let tail = &self.pending[self.pending.len() - len..];
            self.stops.iter().any(|stop| stop.as_bytes().starts_with(tail))
        });
        let head = self.pending.len() - stop.unwrap_or(0);
        self.pending.len() - head + incomplete(&self.pending[..head])
    }
}

/// Returns the number of bytes at the end of `bytes` that start an incomplete character.
fn incomplete(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    (start..bytes.len())
        .find_map(|from| {
            let tail = &bytes[from..];
            let error = std::str::from_utf8(tail).err()?;
            (error.valid_up_to() == 0 && error.error_len().is_none()).then_some(tail.len())
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pushed(stops: &[&str], parts: &[&[u8]]) -> (Vec<String>, Option<String>) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.into()).collect();
        let mut stream = TextStream::new(&stops);
        let mut out: Vec<String> = parts.iter().map(|part| stream.push(part)).collect();
        out.push(stream.finish());
        (out, stream.stopped().map(Into::into))
    }

    #[test]
    fn characters_come_whole() {
        let bytes = "a€😀".as_bytes();
        let (out, stopped) = pushed(&[], &[&bytes[..2], &bytes[2..3], &bytes[3..6], &bytes[6..]]);
        assert_eq!((out.join("|"), stopped), ("a||€|😀|".into(), None));
    }

    #[test]
    fn half_a_character_at_the_end_is_replaced() {
        assert_eq!(pushed(&[], &[&"é".as_bytes()[..1]]).0, ["", "\u{fffd}"]);
        // Not the start of a character: certain at once.
        assert_eq!(pushed(&[], &[b"a\xff"]).0, ["a\u{fffd}", ""]);
    }

    #[test]
    fn stops_are_found_across_parts_and_never_shown() {
        let (out, stopped) = pushed(&["\n\n", "END"], &[b"one\n", b"two E", b"N", b"D more"]);
        assert_eq!((out.concat(), stopped), ("one\ntwo ".into(), Some("END".into())));
        assert_eq!(out[1], "\ntwo ");
        let (out, stopped) = pushed(&["END"], &[b"EN", b"EN", b"E"]);
        assert_eq!((out.concat(), stopped), ("ENENE".into(), None));
        assert_eq!(
            pushed(&["bc", "abc"], &[b"xabcd"]),
            (vec!["x".into(), String::new()], Some("abc".into()))
        );
        assert_eq!(pushed(&[""], &[b"x"]), (vec!["x".into(), String::new()], None));
    }

    fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..4),
            "[abé€😀]{0,4}".prop_map(String::into_bytes),
            "[abé€😀]{1,2}".prop_flat_map(
                |text| (0..=text.len()).prop_map(move |end| text.as_bytes()[..end].to_vec())
            ),
        ];
        prop::collection::vec(piece, 0..12)
    }

    proptest! {
        #[test]
        fn division_does_not_matter(
            parts in parts(),
            stops in prop::collection::vec("[abé€]{1,3}", 0..3),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let pieces: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let whole = parts.concat();
            let (out, stopped) = pushed(&stops, &pieces);
            let (at_once, expected) = pushed(&stops, &[&whole]);
            prop_assert_eq!(out.concat(), at_once.concat());
            prop_assert_eq!(&stopped, &expected);
            // Everything before the stop comes out, and nothing of it before the stop is a stop.
            match stopped {
                None => prop_assert_eq!(out.concat(), String::from_utf8_lossy(&whole)),
                Some(stop) => {
                    let text = out.concat() + &stop;
                    prop_assert!(String::from_utf8_lossy(&whole).starts_with(&text));
                }
            }
        }
    }
}
