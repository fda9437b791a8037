// SPDX-License-Identifier: Apache-2.0

//! Words of a text.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use memchr::{memchr_iter, memchr2, memmem};
use unicode_normalization::char::is_combining_mark;

use super::share::ppm;

/// English words of which a text has some (Gopher, appendix A1).
const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

/// Words and signs of a text, in their order, and counts of them.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Numbers of the words and signs. Equal ones have equal numbers, from zero.
    pub(super) ids: Vec<u32>,
    /// Ends of the words and signs in characters, white space not counted.
    pub(super) ends: Vec<u32>,
    /// Number of words, without signs.
    pub(super) words: u64,
    /// Number of addresses and paths among the words.
    pub(super) addresses: u64,
    /// Characters in words that are no addresses.
    pub(super) word_characters: u64,
    /// Rows of words and signs between white space.
    pub(super) chunks: u64,
    /// Such rows with a letter in them.
    pub(super) alphabetic: u64,
    /// Words in scripts that put no spaces between words. Each character counts as one.
    pub(super) spaceless: u64,
    /// Number of different English stop words.
    pub(super) stop_words: u64,
    /// Number of hash signs.
    pub(super) hashes: u64,
    /// Number of ellipses, `...` or `…`.
    pub(super) ellipses: u64,
}

impl Words {
    /// Splits and counts.
    pub(super) fn new(text: &str) -> Self {
        let mut words = Self {
            hashes: memchr_iter(b'#', text.as_bytes()).count() as u64,
            ellipses: (memmem::find_iter(text.as_bytes(), "...").count()
                + memmem::find_iter(text.as_bytes(), "…").count()) as u64,
            ..Self::default()
        };
        words.ids.reserve(text.len() / 5);
        words.ends.reserve(text.len() / 5);
        let mut numbers = Numbers::default();
        let mut stop_words = 0u8;
        let (mut end, mut is_counted) = (0, false);
        for token in Tokens::new(text) {
            let (id, is_new) = numbers.number(token.text);
            if is_new && token.kind == Kind::Word {
                let found = STOP_WORDS.iter().position(|it| token.text.eq_ignore_ascii_case(it));
                stop_words |= found.map_or(0, |index| 1 << index);
            }
            end += token.characters;
            words.ids.push(id);
            words.ends.push(end);
            words.chunks += u64::from(token.is_first);
            is_counted &= !token.is_first;
            if token.kind != Kind::Sign {
                words.words += 1;
                if token.kind == Kind::Address {
                    words.addresses += 1;
                } else {
                    words.word_characters += u64::from(token.characters);
                }
                if !is_counted && token.is_alphabetic() {
                    words.alphabetic += 1;
                    is_counted = true;
                }
                words.spaceless += u64::from(token.kind == Kind::Spaceless);
            }
        }
        words.stop_words = u64::from(stop_words.count_ones());
        words
    }

    /// Returns the number of words to compare numbers of signs with.
    pub(super) fn or_chunks(&self) -> u64 {
        self.words.max(self.chunks)
    }

    /// Returns the mean length of words in millionths, without addresses.
    pub(super) fn mean_length(&self) -> u64 {
        ppm(self.word_characters, self.words - self.addresses)
    }

    /// Tells whether most words stand in scripts without spaces between words, of which measures
    /// of words say little.
    pub(super) fn is_spaceless(&self) -> bool {
        self.spaceless * 2 > self.words
    }
}

/// Numbers of different words, from zero.
#[derive(Default)]
struct Numbers<'a> {
    /// Words of up to seven bytes, packed with their length. Most words are so short, and numbers
    /// are looked up faster than texts.
    short: HashMap<u64, u32, RandomState>,
    long: HashMap<&'a str, u32, RandomState>,
}

impl<'a> Numbers<'a> {
    /// Returns the number of a word, and tells whether it is a new one.
    fn number(&mut self, word: &'a str) -> (u32, bool) {
        let next = (self.short.len() + self.long.len()) as u32;
        let number = if word.len() < 8 {
            let packed = word.bytes().fold(word.len() as u64, |all, it| all << 8 | u64::from(it));
            *self.short.entry(packed).or_insert(next)
        } else {
            *self.long.entry(word).or_insert(next)
        };
        (number, number == next)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Letters, digits, and apostrophes between them; points and commas between digits.
    Word,
    /// Address or path, up to the next white space.
    Address,
    /// Character of a script that puts no spaces between words.
    Spaceless,
    /// Other characters, of the same kind in a row.
    Sign,
}

struct Token<'a> {
    text: &'a str,
    characters: u32,
    kind: Kind,
    /// White space or nothing precedes it.
    is_first: bool,
}

impl Token<'_> {
    fn is_alphabetic(&self) -> bool {
        self.kind == Kind::Spaceless
            || self.text.bytes().any(|byte| byte.is_ascii_alphabetic())
            || !self.text.is_ascii() && self.text.chars().any(char::is_alphabetic)
    }
}

/// Iterator over the words and signs of a text.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// Next sign that makes an address or a path of the characters around it.
    mark: usize,
}

/// Distance from the start of an address to its first slash or at sign that is looked for.
const MAX_SCHEME: usize = 64;

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        let mut tokens = Self { text, at: 0, mark: 0 };
        tokens.find_mark();
        tokens
    }

    /// Finds the next slash or at sign.
    fn find_mark(&mut self) {
        let found = memchr2(b'/', b'@', &self.text.as_bytes()[self.at..]);
        self.mark = found.map_or(self.text.len(), |offset| self.at + offset);
    }

    /// Returns the offset after the address or path that starts where the iterator is, if one does.
    fn address_end(&mut self) -> Option<usize> {
        if self.mark < self.at {
            self.find_mark();
        }
        let start = self.at;
        let is_near = self.mark < self.text.len() && self.mark - start <= MAX_SCHEME;
        let rest = &self.text.as_bytes()[start..];
        let length = || rest.iter().position(|it| !it.is_ascii_graphic()).unwrap_or(rest.len());
        Some(start + is_near.then(length)?).filter(|&end| end > self.mark)
    }

    /// Returns the character at an offset.
    fn peek(&self, at: usize) -> Option<char> {
        match self.text.as_bytes().get(at) {
            Some(byte) if byte.is_ascii() => Some(char::from(*byte)),
            Some(_) => self.text[at..].chars().next(),
            None => None,
        }
    }

    /// Returns the offset after the word that starts at `at`, and its length in characters.
    fn word_end(&self, mut at: usize) -> (usize, u32) {
        let bytes = self.text.as_bytes();
        let mut characters = 0;
        loop {
            let ascii = bytes[at..].iter().take_while(|&&it| WORD[usize::from(it)]).count();
            at += ascii;
            characters += ascii as u32;
            let Some(character) = self.peek(at) else { break };
            let after = at + character.len_utf8();
            let goes_on = match character {
                '\'' | '’' => self.peek(after).is_some_and(is_word),
                '.' | ',' => {
                    bytes[at - 1].is_ascii_digit()
                        && bytes.get(after).is_some_and(u8::is_ascii_digit)
                }
                other => !other.is_ascii() && is_word(other),
            };
            if !goes_on {
                break;
            }
            at = after;
            characters += 1;
        }
        (at, characters)
    }

    /// Returns the offset after a row of one sign that starts at `at`, and its length in
    /// characters.
    fn sign_end(&self, mut at: usize, sign: char) -> (usize, u32) {
        let mut characters = 0;
        while self.peek(at) == Some(sign) {
            at += sign.len_utf8();
            characters += 1;
        }
        (at, characters)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let mut first = self.peek(self.at)?;
        let is_first = self.at == 0 || first.is_whitespace();
        while first.is_whitespace() {
            self.at += first.len_utf8();
            first = self.peek(self.at)?;
        }
        let start = self.at;
        let address = if is_first { self.address_end() } else { None };
        let (kind, (end, characters)) = if let Some(end) = address {
            (Kind::Address, (end, (end - start) as u32))
        } else if is_word(first) {
            (Kind::Word, self.word_end(start))
        } else if is_spaceless(first) {
            (Kind::Spaceless, (start + first.len_utf8(), 1))
        } else {
            (Kind::Sign, self.sign_end(start, first))
        };
        self.at = end;
        Some(Token { text: &self.text[start..end], characters, kind, is_first })
    }
}

/// Bytes of ASCII that belong to words.
static WORD: [bool; 256] = {
    let mut word = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        word[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    word
};

fn is_word(character: char) -> bool {
    if character.is_ascii() {
        return WORD[character as usize];
    }
    (character.is_alphanumeric() || is_combining_mark(character)) && !is_spaceless(character)
}

/// Tells whether a script puts no spaces between words: Thai, Lao, Burmese, Khmer, Chinese, and
/// Japanese.
fn is_spaceless(character: char) -> bool {
    matches!(character, '\u{E01}'..='\u{EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
        | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<&str> {
        Tokens::new(text).map(|token| token.text).collect()
    }

    #[test]
    fn words_and_signs_are_apart() {
        assert_eq!(
            tokens(" Don’t pay $1,234.50, \"well-known\" snake_case...\n--end. "),
            [
                "Don’t",
                "pay",
                "$",
                "1,234.50",
                ",",
                "\"",
                "well",
                "-",
                "known",
                "\"",
                "snake_case",
                "...",
                "--",
                "end",
                "."
            ]
        );
        assert_eq!(tokens("3. 'tis o' 5'"), ["3", ".", "'", "tis", "o", "'", "5", "'"]);
        assert_eq!(tokens("東京tower क्या"), ["東", "京", "tower", "क्या"]);
        assert_eq!(
            tokens("(http://a.b/c) é/e a@b.c, and/or"),
            ["(http://a.b/c)", "é", "/", "e", "a@b.c,", "and/or"]
        );
        assert!(tokens(" \n").is_empty());
    }

    #[test]
    fn words_are_counted() {
        let words = Words::new("The #1 rule... THE end of 東京… 12%");
        assert_eq!(words.words, 9);
        assert_eq!(words.word_characters, 3 + 1 + 4 + 3 + 3 + 2 + 2 + 2);
        assert_eq!((words.chunks, words.alphabetic), (8, 6));
        assert_eq!(words.or_chunks(), 9);
        assert_eq!(words.spaceless, 2);
        assert_eq!(words.stop_words, 2);
        assert_eq!((words.hashes, words.ellipses), (1, 2));
        assert_eq!(words.ends.last(), Some(&26));
        let addresses = Words::new("four (http://a.b/c) if");
        assert_eq!((addresses.words, addresses.mean_length()), (3, 3_000_000));
        assert!(!words.is_spaceless() && Words::new("東京 a").is_spaceless());
    }
}
