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

/// Bound on the [size](WordMap::size) of the words that a small vocabulary is trained on. In
/// training, the library takes some 100 bytes of memory for each byte of it.
const MIN_KEPT_SIZE: usize = 1 << 20;
/// Size of words for each entry of a large vocabulary, which needs as many pieces of words.
const SIZE_PER_ENTRY: usize = 16;

/// Trainer of byte-pair encodings (Sennrich, Haddow and Birch 2016, "Neural Machine Translation of
/// Rare Words with Subword Units").
///
/// The same texts in any order give the same tokenizer, byte for byte, on every machine: the most
/// frequent pair is merged next, and of equally frequent pairs the one of the older tokens.
///
/// Memory does not grow with the texts: when there are too many distinct words, the rarest are
/// dropped, as by lossy counting (Manku and Motwani 2002, "Approximate Frequency Counts over Data
/// Streams"). From then on the batches in which the texts are counted, and their order, matter too.
pub(crate) struct TokenizerTrainer {
    counts: BoundedCounts,
    bytes: u64,
    /// Counts of the last texts, which are not in the sum yet.
    waiting: Vec<WordMap<u64>>,
}

/// Sum of the counts of words, of which the rarest are dropped.
struct BoundedCounts {
    words: WordMap<u64>,
    /// Size of the words that stay. They may grow to twice as much before some are dropped.
    kept_size: usize,
}

impl BoundedCounts {
    /// Adds the counts of a batch. It is added as a whole before words are dropped, so that its
    /// parts, which threads choose, do not matter.
    fn add(&mut self, batch: &mut Vec<WordMap<u64>>) {
        batch.drain(..).for_each(|counts| self.words.add(counts));
        if self.words.size() > self.kept_size.saturating_mul(2) {
            self.words.keep_frequent(self.kept_size);
        }
    }
}

/// Returns the size of the words that a vocabulary of so many entries is trained on.
pub(crate) fn kept_size(vocabulary: u32) -> usize {
    SIZE_PER_ENTRY.saturating_mul(vocabulary as usize).max(MIN_KEPT_SIZE)
}

impl TokenizerTrainer {
    /// Creates a trainer that has counted nothing. The words that it trains on have at most this
    /// [size](WordMap::size), as [`kept_size`] gives it for a vocabulary.
    pub(crate) fn new(kept_size: usize) -> Self {
        let counts = BoundedCounts { words: WordMap::default(), kept_size };
        Self { counts, bytes: 0, waiting: Vec::new() }
    }

    /// Counts the words of a batch of texts, on all cores. The counts of the batch before are
    /// summed up at the same time.
    pub(crate) fn count(&mut self, texts: &[String]) {
        let within = |text: &&String| {
            let counts = self.bytes < MAX_TEXT_BYTES;
            self.bytes += text.len() as u64;
            counts
        };
        let texts: Vec<&String> = texts.iter().take_while(within).collect();
        let ((), counted) =
            rayon::join(|| self.counts.add(&mut self.waiting), || count_words(&texts));
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
        self.counts.add(&mut self.waiting);
        let BoundedCounts { mut words, kept_size } = self.counts;
        words.keep_frequent(kept_size);
        let counts =
            words.into_words().map(|(word, count)| (spelled(&word).into(), count)).collect();
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
        let mut trainer = TokenizerTrainer::new(kept_size(vocabulary));
        trainer.count(&[text.to_owned()]);
        trainer.train(vocabulary)
    }

    /// Returns seven letters that no other number gives.
    fn rare_word(number: u32) -> String {
        let mut rest = number.wrapping_mul(2_654_435_761);
        let letter = |_| {
            let letter = b'a' + (rest % 26) as u8;
            rest /= 26;
            char::from(letter)
        };
        (0..7).map(letter).collect()
    }

    /// Returns batches of texts of words that occur once, and of two that are in each text.
    fn noise() -> Vec<Vec<String>> {
        let text = |first: u32| {
            let words = (first..first + 90).map(|number| {
                let common = ["river", "mountain"][(number % 2) as usize];
                format!("{common} {} ", rare_word(number))
            });
            words.collect::<String>()
        };
        (0..6).map(|batch| (0..8).map(|at| text(batch * 1_000 + at * 100)).collect()).collect()
    }

    /// Returns the tokenizer that is trained on batches within a bound, on so many threads.
    fn trained_within(kept_size: usize, batches: &[Vec<String>], threads: usize) -> Vec<u8> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut trainer = TokenizerTrainer::new(kept_size);
            batches.iter().for_each(|batch| trainer.count(batch));
            trainer.train(285).unwrap().json().to_vec()
        })
    }

    #[test]
    fn words_take_bounded_memory() {
        for kept_size in [64, 2_000] {
            let (mut trainer, mut texts) = (TokenizerTrainer::new(kept_size), 0usize);
            for batch in noise() {
                let before = texts;
                trainer.count(&batch);
                assert!(trainer.counts.words.size() <= 2 * kept_size);
                assert_eq!(trainer.counts.words.size() > 0, before > 0);
                texts += batch.len();
                // Frequent words are counted exactly: this one is 44 times in each text.
                let common = " river";
                let found = trainer.counts.words.get(Word::at_start(common, common.len()));
                assert_eq!(found.copied(), (before > 0).then_some(44 * before as u64));
            }
        }
    }

    #[test]
    fn words_that_all_occur_once_leave_some_to_train_on() {
        let texts: Vec<String> = (0..4_000).map(rare_word).collect();
        let mut trainer = TokenizerTrainer::new(900);
        texts.chunks(1_000).for_each(|batch| trainer.count(batch));
        assert!(trainer.counts.words.size() > 0 && trainer.counts.words.size() <= 1_800);
        assert_eq!(trainer.train(290).unwrap().vocabulary(), 290);
    }

    #[test]
    fn threads_and_parts_of_batches_do_not_decide_which_words_are_dropped() {
        let batches = noise();
        for kept_size in [500, 2_000] {
            let expected = trained_within(kept_size, &batches, 1);
            for threads in [2, 3, 8] {
                assert_eq!(trained_within(kept_size, &batches, threads), expected);
            }
            let turned: Vec<Vec<String>> =
                batches.iter().map(|batch| batch.iter().rev().cloned().collect()).collect();
            assert_eq!(trained_within(kept_size, &turned, 2), expected);
        }
        // Where no word is dropped, batches decide nothing either.
        let expected = trained_within(1 << 20, &batches, 1);
        assert_ne!(expected, trained_within(500, &batches, 1), "the bounds above drop words");
        let single: Vec<Vec<String>> =
            batches.concat().into_iter().map(|text| vec![text]).collect();
        for batches in [vec![batches.concat()], single] {
            assert_eq!(trained_within(1 << 20, &batches, 2), expected);
        }
    }

    #[test]
    fn large_vocabularies_are_trained_on_more_words() {
        assert_eq!(kept_size(8_192), MIN_KEPT_SIZE);
        assert_eq!(kept_size(MAX_VOCABULARY), 16 * MIN_KEPT_SIZE);
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
                let mut trainer = TokenizerTrainer::new(kept_size(290));
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
