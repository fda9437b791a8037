// SPDX-License-Identifier: Apache-2.0

//! Splitting of text into words before pairs are merged, by its names in GGUF.
//!
//! A file of GGUF names the splitting of a family, and each family has the steps of its own
//! `tokenizer.json` here. llama.cpp has regular expressions of its own for some of them, and leaves
//! out the composition of characters.

use super::PASS_TOKENIZER;
use crate::files::gguf::{Metadata, Value};
use tokenizers::{
    PreTokenizerWrapper,
    SplitDelimiterBehavior::{Contiguous, Isolated},
    pre_tokenizers::{
        byte_level::ByteLevel,
        digits::Digits,
        punctuation::Punctuation,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

/// Splitting of text into words, with all that a family does before it merges pairs.
#[derive(Clone, Copy)]
pub(super) struct WordSplit {
    /// Names in GGUF, of which the first is written.
    names: &'static [&'static str],
    /// Steps, of which one turns bytes into characters.
    steps: &'static [Step],
    /// Set if characters are composed before.
    pub(super) composes: bool,
    /// Set if a word that is a token is not merged from pairs.
    pub(super) has_whole_words: bool,
    /// Set if texts begin with a special token where a file does not say it, as in llama.cpp.
    pub(super) begins: bool,
}

/// Step of a splitting.
#[derive(Clone, Copy)]
enum Step {
    /// Cuts GPT-2's words out and turns their bytes into characters.
    Gpt2 {
        /// Set if a space is put before a text.
        space: bool,
    },
    /// Turns bytes into characters.
    Bytes,
    /// Cuts each digit out.
    EachDigit,
    /// Cuts runs of digits out.
    Digits,
    /// Cuts runs of punctuation out.
    Punctuation,
    /// Cuts the matches of a regular expression out.
    Matches(&'static str),
}

/// LLaMA 3's words: contractions, letters after at most one other character, digits as many as
/// `$digits` has it, punctuation, white space.
macro_rules! words {
    ($digits:literal) => {
        concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

/// Words that are cut before a capital letter: letters of which no capital follows a small one,
/// with `$suffix` behind them, digits, punctuation, white space.
macro_rules! cased_words {
    ($suffix:literal, $digits:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $suffix,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $suffix,
            r"|\p{N}",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

const LLAMA3: &[Step] = &[Step::Matches(words!("{1,3}")), Step::Bytes];
const QWEN2: &[Step] = &[Step::Matches(words!("")), Step::Bytes];
/// Qwen2's, in which marks are parts of words.
const QWEN35: &[Step] = &[
    Step::Matches(concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )),
    Step::Bytes,
];
const TEKKEN: &[Step] = &[Step::Matches(cased_words!("", "")), Step::Bytes];
const GPT4O: &[Step] =
    &[Step::Matches(cased_words!("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "{1,3}")), Step::Bytes];
const FALCON: &[Step] = &[
    Step::Punctuation,
    Step::Gpt2 { space: false },
    Step::Digits,
    Step::Matches("[0-9][0-9][0-9]"),
];

const LINE_ENDS: Step = Step::Matches("[\r\n]");
/// Characters of China, Japan, and Korea, with all that lies between.
const IDEOGRAPHS: Step = Step::Matches("[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+");
/// Letters with a case, of an older version of Unicode.
const CASED_LETTERS: &str = concat!(
    r"\s?[",
    "A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}",
    "\u{295}-\u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}",
    "\u{388}-\u{38a}\u{38c}\u{38e}-\u{3a1}\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}",
    "\u{531}-\u{556}\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}",
    "\u{1cbd}-\u{1cbf}\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}",
    "\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}",
    "\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}\u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}",
    "\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}",
    "\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}\u{1ff6}-\u{1ffc}\u{2102}\u{2107}",
    "\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}\u{2126}\u{2128}\u{212a}-\u{212d}",
    "\u{212f}-\u{2134}\u{2139}\u{213c}-\u{213f}\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}",
    "\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}\u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}",
    "\u{a680}-\u{a69b}\u{a722}-\u{a76f}\u{a771}-\u{a787}\u{a78b}-\u{a78e}",
    "\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\u{ff21}-\u{ff3a}",
    "\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}",
    "\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}",
    "]+"
);
const DEEPSEEK_LLM: &[Step] = &[
    LINE_ENDS,
    Step::Matches(CASED_LETTERS),
    Step::Matches(concat!(
        r"\s?[!-/:-~",
        "\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff5e}\u{2018}-\u{201f}\u{3000}-\u{3002}]+"
    )),
    Step::Matches(r"\s+$"),
    IDEOGRAPHS,
    Step::EachDigit,
    Step::Bytes,
];
const DEEPSEEK_CODER: &[Step] = &[
    LINE_ENDS,
    Step::Matches(r"\s?\p{L}+"),
    Step::Matches(r"\s?\p{P}+"),
    IDEOGRAPHS,
    Step::EachDigit,
    Step::Bytes,
];
const DEEPSEEK_V3: &[Step] = &[
    Step::Matches(r"\p{N}{1,3}"),
    Step::Matches("[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+"),
    Step::Matches(concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
        "|[^\r\n",
        r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[",
        "\r\n",
        r"]*|\s*[",
        "\r\n",
        r"]+|\s+(?!\S)|\s+"
    )),
    Step::Bytes,
];

impl WordSplit {
    /// GPT-2's words.
    const GPT2: Self = Self {
        names: &["gpt-2", "phi-2"],
        steps: &[Step::Gpt2 { space: false }],
        composes: false,
        has_whole_words: false,
        begins: false,
    };
    /// GPT-NeoX's words.
    const NEOX: Self = Self { names: &["mpt", "olmo"], composes: true, ..Self::GPT2 };
    /// Falcon's words.
    const FALCON: Self = Self { names: &["falcon"], steps: FALCON, ..Self::GPT2 };
    /// Words with single digits.
    const DIGITS: Self = Self {
        names: &["smollm", "starcoder", "refact"],
        steps: &[Step::EachDigit, Step::Gpt2 { space: false }],
        ..Self::GPT2
    };

    /// Splittings with a name in GGUF.
    const NAMED: [Self; 14] = [
        Self::GPT2,
        Self::NEOX,
        Self::FALCON,
        Self::DIGITS,
        Self { names: &["command-r"], composes: true, ..Self::DIGITS },
        Self {
            names: &["llama-bpe", "llama3", "llama-v3"],
            steps: LLAMA3,
            has_whole_words: true,
            begins: true,
            ..Self::GPT2
        },
        Self { names: &["dbrx"], steps: LLAMA3, ..Self::GPT2 },
        Self { names: &["qwen2", "deepseek-r1-qwen"], steps: QWEN2, composes: true, ..Self::GPT2 },
        Self { names: &["qwen35"], steps: QWEN35, composes: true, ..Self::GPT2 },
        Self {
            names: &["tekken"],
            steps: TEKKEN,
            has_whole_words: true,
            begins: true,
            ..Self::GPT2
        },
        Self { names: &["gpt-4o"], steps: GPT4O, ..Self::GPT2 },
        Self { names: &["deepseek-llm"], steps: DEEPSEEK_LLM, ..Self::GPT2 },
        Self { names: &["deepseek-coder"], steps: DEEPSEEK_CODER, ..Self::GPT2 },
        Self { names: &["deepseek-v3"], steps: DEEPSEEK_V3, ..Self::GPT2 },
    ];

    /// Returns GPT-2's splitting. A space is put before a text if `space` is set.
    pub(super) fn gpt2(space: bool) -> Self {
        let steps: &[Step] =
            if space { &[Step::Gpt2 { space: true }] } else { &[Step::Gpt2 { space: false }] };
        Self { steps, ..Self::GPT2 }
    }

    /// Returns the splitting that the metadata of a GGUF file name. Files from before it had a name
    /// are known by the architecture, if all models of it split alike.
    pub(super) fn of(metadata: &Metadata) -> Result<Self, String> {
        let text = |key| match metadata.get(key) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let name = text("tokenizer.ggml.pre").filter(|&name| name != "default");
        match (name, text("general.architecture")) {
            (Some(name), _) => {
                let known = Self::NAMED.into_iter().find(|split| split.names.contains(&name));
                known.ok_or_else(|| {
                    format!(
                        "splits words in the way '{name}', which is not supported{PASS_TOKENIZER}"
                    )
                })
            }
            (None, Some("gpt2")) => Ok(Self::GPT2),
            (None, Some("gptneox")) => Ok(Self::NEOX),
            (None, Some("falcon")) => Ok(Self::FALCON),
            _ => Err(format!(
                "does not say how it splits words (tokenizer.ggml.pre){PASS_TOKENIZER}"
            )),
        }
    }

    /// Returns the pre-tokenizer that splits so.
    pub(super) fn pre_tokenizer(self) -> tokenizers::Result<PreTokenizerWrapper> {
        let steps = self.steps.iter().map(|step| step.pre_tokenizer());
        let mut steps = steps.collect::<tokenizers::Result<Vec<_>>>()?;
        Ok(match steps.len() {
            1 => steps.remove(0),
            _ => PreTokenizerWrapper::Sequence(Sequence::new(steps)),
        })
    }
}

impl Step {
    fn pre_tokenizer(self) -> tokenizers::Result<PreTokenizerWrapper> {
        Ok(match self {
            Self::Gpt2 { space } => ByteLevel::new(space, true, true).into(),
            Self::Bytes => ByteLevel::new(false, true, false).into(),
            Self::EachDigit => Digits::new(true).into(),
            Self::Digits => Digits::new(false).into(),
            Self::Punctuation => Punctuation::new(Contiguous).into(),
            Self::Matches(regex) => {
                Split::new(SplitPattern::Regex(regex.to_owned()), Isolated, false)?.into()
            }
        })
    }
}

/// Returns the name in GGUF of the way in which a pre-tokenizer splits text, if it has one.
/// `composes` is set if characters are composed before. Of two names that differ in that alone, the
/// right one is taken, and any if there is one only.
pub(crate) fn split_name(
    pre_tokenizer: &PreTokenizerWrapper,
    has_whole_words: bool,
    composes: bool,
) -> Option<&'static str> {
    // Offsets in a text, which `trim_offsets` is about, change no token.
    let comparable = |pre_tokenizer: &PreTokenizerWrapper| {
        let json = serde_json::to_string(pre_tokenizer).ok()?;
        Some(json.replace(r#""trim_offsets":false"#, r#""trim_offsets":true"#))
    };
    let ours = comparable(pre_tokenizer)?;
    let is_same = |split: &WordSplit| {
        let named = split.pre_tokenizer().ok().as_ref().and_then(comparable);
        split.has_whole_words == has_whole_words && named.as_ref() == Some(&ours)
    };
    let same: Vec<_> = WordSplit::NAMED.into_iter().filter(is_same).collect();
    let best = same.iter().find(|split| split.composes == composes).or(same.first());
    best.and_then(|split| split.names.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_splitting_has_a_name() {
        let name = |split: WordSplit, composes| {
            split_name(&split.pre_tokenizer().unwrap(), split.has_whole_words, composes)
        };
        for split in WordSplit::NAMED {
            assert_eq!(name(split, split.composes), Some(split.names[0]));
        }
        let names: Vec<_> = WordSplit::NAMED.iter().flat_map(|split| split.names).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert_eq!(name(WordSplit::GPT2, true), Some("mpt"));
        assert_eq!(name(WordSplit::gpt2(true), false), None);
        // A name that stands for composition as well is better than none.
        let qwen2 = WordSplit { steps: QWEN2, ..WordSplit::GPT2 };
        assert_eq!(name(qwen2, false), Some("qwen2"));
    }
}
