// SPDX-License-Identifier: Apache-2.0

//! Counts of lines and sentences.

use memchr::memchr3;

use super::share::ppm;

/// Lines with fewer characters are short (FineWeb, arXiv 2406.17557).
const SHORT_LINE: u64 = 30;

/// Titles before names, whose point ends no sentence.
const TITLES: [&str; 8] = ["Mr", "Mrs", "Ms", "Dr", "St", "Prof", "Jr", "Sr"];

/// Counts of the lines that are not blank.
#[derive(Debug, Default)]
pub(super) struct LineCounts {
    /// Lines.
    pub(super) lines: u64,
    /// Lines that end a sentence.
    pub(super) terminal: u64,
    /// Lines with few characters.
    pub(super) short: u64,
    /// Lines that start with a bullet point.
    pub(super) bullets: u64,
    /// Lines that end with an ellipsis.
    pub(super) ellipses: u64,
    /// Sentences.
    pub(super) sentences: u64,
    /// Characters of the longest line.
    pub(super) longest: u64,
    /// Characters of all lines.
    pub(super) line_characters: u64,
    /// Characters of the text, with the ends of lines.
    pub(super) characters: u64,
}

impl LineCounts {
    /// Counts the lines of a text.
    pub(super) fn new(text: &str) -> Self {
        let mut counts = Self { characters: text.chars().count() as u64, ..Self::default() };
        for line in text.split('\n').map(str::trim_end) {
            let start = line.trim_start();
            if start.is_empty() {
                continue;
            }
            let characters = line.chars().count() as u64;
            counts.lines += 1;
            counts.line_characters += characters;
            counts.longest = counts.longest.max(characters);
            counts.short += u64::from(characters < SHORT_LINE);
            counts.terminal += u64::from(ends_sentence(line));
            counts.bullets += u64::from(start.starts_with(is_bullet));
            counts.ellipses += u64::from(line.ends_with("...") || line.ends_with('…'));
            counts.sentences += sentences(start);
        }
        counts
    }

    /// Returns a part of the lines as a share.
    pub(super) fn share(&self, part: u64) -> u64 {
        ppm(part, self.lines)
    }
}

fn is_bullet(character: char) -> bool {
    matches!(character, '•' | '‣' | '▪' | '●' | '◦' | '-' | '*')
}

/// Tells whether a character ends a sentence, in the larger scripts.
fn is_terminal(character: char) -> bool {
    matches!(
        character,
        '.' | '!'
            | '?'
            | '…'
            | '‼'
            | '⁇'
            | '⁈'
            | '⁉'
            | '‽'
            | '。'
            | '！'
            | '？'
            | '．'
            | '｡'
            | '؟'
            | '۔'
            | '।'
            | '॥'
            | '։'
            | '።'
            | '፧'
            | '፨'
            | '။'
            | '៕'
            | '។'
    )
}

/// Tells whether a character may stand between the end of a sentence and the space after it.
fn is_closing(character: char) -> bool {
    matches!(character, '"' | '\'' | ')' | ']' | '”' | '’' | '»' | '」' | '』' | '）')
}

/// Tells whether a line ends with the end of a sentence, perhaps within quotes or brackets.
pub(super) fn ends_sentence(line: &str) -> bool {
    let is_word = |it: &u8| it.is_ascii_alphanumeric() || *it == b',';
    !line.as_bytes().last().is_some_and(is_word)
        && line.trim_end_matches(is_closing).ends_with(is_terminal)
}

/// Returns the number of sentences in a line. A sentence ends with the line, or with terminal
/// punctuation before a space and no small letter, unless a title or an initial precedes it.
fn sentences(line: &str) -> u64 {
    let (mut count, mut start, mut at, is_ascii) = (0, 0, 0, line.is_ascii());
    while let Some(found) = next_terminal(line, at, is_ascii) {
        let rest = line[found..].trim_start_matches(is_terminal).trim_start_matches(is_closing);
        let next = rest.trim_start();
        let is_point = line[found..].starts_with('.');
        let is_end = next.is_empty()
            || !line[found..].starts_with(|it: char| it.is_ascii())
            || next.len() < rest.len() && !next.starts_with(char::is_lowercase);
        at = line.len() - rest.len();
        if is_end && !(is_point && is_abbreviated(&line[..found])) {
            count += 1;
            start = line.len() - next.len();
        }
    }
    count + u64::from(start < line.len())
}

/// Returns the offset of the next sign that ends a sentence.
fn next_terminal(line: &str, at: usize, is_ascii: bool) -> Option<usize> {
    let rest = &line[at..];
    let found =
        if is_ascii { memchr3(b'.', b'!', b'?', rest.as_bytes()) } else { rest.find(is_terminal) };
    found.map(|offset| at + offset)
}

/// Tells whether a text ends with an initial or a title.
fn is_abbreviated(text: &str) -> bool {
    let word = text.rsplit(|it: char| !it.is_alphabetic()).next().unwrap_or_default();
    let mut letters = word.chars();
    let is_initial = letters.next().is_some_and(char::is_uppercase) && letters.next().is_none();
    is_initial && word != "I" || TITLES.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_counted() {
        for (line, expected) in [
            ("One. Two! Three?", 3),
            ("One... two, three", 1),
            ("One… Two", 2),
            ("No end", 1),
            ("Mr. J. Smith paid 3.50 to example.com. He left.", 2),
            ("\"Go!\" she said. (He went.) Then I. Then you.", 4),
            ("今日は。明日は！", 2),
            ("Wait?! What?!", 2),
            ("...", 1),
        ] {
            assert_eq!(sentences(line), expected, "{line}");
        }
    }

    #[test]
    fn lines_are_counted() {
        let text =
            "• bullet…\n\n- dash...\n  A sentence of more than thirty characters.\n“Quoted.”\n";
        let counts = LineCounts::new(text);
        assert_eq!((counts.lines, counts.bullets, counts.ellipses), (4, 2, 2));
        assert_eq!((counts.terminal, counts.short), (4, 3));
        assert_eq!((counts.longest, counts.line_characters), (44, 9 + 9 + 44 + 9));
        assert_eq!(counts.characters, text.chars().count() as u64);
        assert_eq!(counts.share(counts.short), 750_000);
        assert_eq!(LineCounts::new("").share(0), 0);
    }

    #[test]
    fn a_line_of_thirty_characters_is_not_short() {
        assert_eq!(LineCounts::new(&"é".repeat(29)).short, 1);
        assert_eq!(LineCounts::new(&"é".repeat(30)).short, 0);
    }
}
