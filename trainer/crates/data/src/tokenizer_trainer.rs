// SPDX-License-Identifier: Apache-2.0

//! Training of byte-level tokenizers: any text goes in and comes out unchanged.

use crate::{
    EndOfText,
    end_of_text::{END_OF_TEXT, IngestTokenizer},
    error::DataError,
    word_map::{Word, WordMap},
    words::{byte_characters, spell, words},
};
use rayon::prelude::*;
use tokenizers::{
    AddedToken, Model,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::byte_level::ByteLevel,
};

/// Smallest vocabulary: the 256 bytes and [`END_OF_TEXT`].
pub const MIN_VOCABULARY: u32 = 257;
/// Largest vocabulary of a model.
const MAX_VOCABULARY: u32 = 1 << 20;
/// Smallest count of a pair that is merged. A pair that occurs once shortens nothing.
const MIN_PAIR_COUNT: u64 = 2;
/// Bytes of text that a vocabulary is trained on, from the start. The library counts pairs in 31
/// bits, which this much text cannot overflow.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// Longest word that counts, in bytes. The time of the library grows with the square of a word's
/// length, and longer words, such as lines of dashes, are none.
const MAX_WORD_BYTES: usize = 256;

/// Trainer of byte-pair encodings (Sennrich, Haddow and Birch 2016, "Neural Machine Translation of
/// Rare Words with Subword Units").
///
/// The same texts in any order give the same tokenizer, byte for byte, on every machine: the most
/// frequent pair is merged next, and of equally frequent pairs the one of the older tokens.
#[derive(Default)]
pub(crate) struct TokenizerTrainer {
    word_counts: WordMap<u64>,
    bytes: u64,
    /// Counts of the last texts, which are not in the sum yet.
    waiting: Vec<WordMap<u64>>,
}

impl TokenizerTrainer {
    /// Counts the words of `texts`, on all cores. The counts of the texts before are summed up at
    /// the same time.
    pub(crate) fn count(&mut self, texts: &[String]) {
        let within = |text: &&String| {
            let counts = self.bytes < MAX_TEXT_BYTES;
            self.bytes += text.len() as u64;
            counts
        };
        let texts: Vec<&String> = texts.iter().take_while(within).collect();
        let ((), counted) = rayon::join(
            || self.waiting.drain(..).for_each(|counts| self.word_counts.add(counts)),
            || count_words(&texts),
        );
        self.waiting = counted;
    }

    /// Trains a tokenizer of exactly `vocabulary` entries.
    pub(crate) fn train(mut self, vocabulary: u32) -> Result<IngestTokenizer, DataError> {
        check_vocabulary(vocabulary)?;
        let end_of_text = AddedToken::from(END_OF_TEXT, true);
        let trainer = BpeTrainer::builder()
            .show_progress(false)
            .min_frequency(MIN_PAIR_COUNT)
            .vocab_size(vocabulary as usize)
            .special_tokens(vec![end_of_text.clone()])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let characters = byte_characters();
        let spelled = |word: &str| spell(word, &characters).collect::<String>();
        self.waiting.drain(..).for_each(|counts| self.word_counts.add(counts));
        let counts = self
            .word_counts
            .into_words()
            .map(|(word, count)| (spelled(&word).into(), count))
            .collect();
        let mut model = BPE::default();
        trainer.do_train(&counts, &mut model).map_err(training_error)?;
        let possible = model.get_vocab_size() as u32;
        if possible != vocabulary {
            return Err(DataError::VocabularyTooLarge { requested: vocabulary, possible });
        }

        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(byte_level()));
        tokenizer.with_decoder(Some(byte_level()));
        tokenizer.add_special_tokens([end_of_text]).map_err(training_error)?;
        let json = tokenizer.to_string(true).map_err(training_error)?;
        IngestTokenizer::from_json(json.into_bytes(), ORIGIN, &EndOfText::Known)
    }
}

/// Fails if no tokenizer of `vocabulary` entries can be trained, whatever the text is.
pub(crate) fn check_vocabulary(vocabulary: u32) -> Result<(), DataError> {
    if (MIN_VOCABULARY..=MAX_VOCABULARY).contains(&vocabulary) {
        return Ok(());
    }
    Err(DataError::InvalidOption(format!(
        "a vocabulary has {MIN_VOCABULARY} entries, the bytes and {END_OF_TEXT}, to \
         {MAX_VOCABULARY}, not {vocabulary}"
    )))
}

/// Counts words. A word can be in several parts of the result.
fn count_words(texts: &[&String]) -> Vec<WordMap<u64>> {
    let counts = texts.par_iter().fold(WordMap::<u64>::default, |mut counts, text| {
        let is_short = |word: &Word<'_>| word.text().len() <= MAX_WORD_BYTES;
        words(text).filter(is_short).for_each(|word| counts.count(word));
        counts
    });
    counts.collect()
}

/// Description of a trained tokenizer in error messages.
const ORIGIN: &str = "in training";

/// Returns GPT-2's splitting of text into words, with each byte written as one character. A word
/// at the start of a text is not given a space, so that decoding restores the text.
fn byte_level() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

fn training_error(error: tokenizers::Error) -> DataError {
    DataError::InvalidTokenizer { origin: ORIGIN.into(), reason: error.to_string() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Tokenizer;
    use proptest::prelude::*;

    /// Returns a text of many different words of five letters.
    pub(crate) fn many_words(count: u32) -> String {
        (0..count)
            .map(|i| {
                format!(
                    "w{:04x}{}",
                    i.wrapping_mul(2_654_435_761) >> 18,
                    [" ", ", ", ".\n\n"][(i % 3) as usize]
                )
            })
            .collect()
    }

    pub(crate) fn trained(text: &str, vocabulary: u32) -> Result<IngestTokenizer, DataError> {
        let mut trainer = TokenizerTrainer::default();
        trainer.count(&[text.to_owned()]);
        trainer.train(vocabulary)
    }

    #[test]
    fn the_vocabulary_is_exact_and_shortens_text() {
        let tokenizer = trained(&many_words(8_000), 600).unwrap();
        assert_eq!((tokenizer.vocabulary(), tokenizer.end_of_text()), (600, 0));
        let (text, plain) = (many_words(300), Tokenizer::from_json(tokenizer.json()).unwrap());
        assert!(plain.encode(&text).unwrap().len() * 10 < text.len() * 9);
        assert_eq!(trained("abc", MIN_VOCABULARY).unwrap().vocabulary(), MIN_VOCABULARY);
    }

    #[test]
    fn long_runs_of_one_character_are_no_words() {
        let text = format!("{} {}", many_words(8_000), "=".repeat(300_000));
        let tokenizer = trained(&text, 600).unwrap();
        assert_eq!(tokenizer.json(), trained(&many_words(8_000), 600).unwrap().json());
    }

    #[test]
    fn too_little_text_says_what_is_possible() {
        let Err(DataError::VocabularyTooLarge { requested: 300, possible }) =
            trained("ab ab ab", 300)
        else {
            panic!("trained")
        };
        assert_eq!(trained("ab ab ab", possible).unwrap().vocabulary(), possible);
        for impossible in [0, 256, u32::MAX] {
            assert!(matches!(trained("ab ab ab", impossible), Err(DataError::InvalidOption(_))));
        }
    }

    proptest! {
        /// Repeated letters make many ties and overlapping pairs.
        #[test]
        fn training_depends_on_nothing_but_the_text(
            words in prop::collection::vec("[ab-]{1,9}", 1..40),
        ) {
            let train = |words: &[String]| {
                let mut trainer = TokenizerTrainer::default();
                words.chunks(3).for_each(|words| trainer.count(words));
                match trainer.train(290) {
                    Ok(tokenizer) => tokenizer.json().to_vec(),
                    Err(error) => error.to_string().into(),
                }
            };
            let once = train(&words);
            prop_assert_eq!(&once, &train(&words));
            prop_assert_eq!(&once, &train(&words.into_iter().rev().collect::<Vec<_>>()));
        }
    }
}
