// SPDX-License-Identifier: Apache-2.0

//! Quality of a text in millionths, by a linear classifier.
//!
//! The classifier is like that of fastText (arXiv 1607.01759), which DCLM (arXiv 2406.11794) found
//! to choose text well: each word, pair of words, run of four characters, and run of six shapes
//! (small letters, capitals, digits, marks) is hashed to a bucket, and the score is the logistic
//! function of the buckets' mean weight. It also counts pairs of words that came shortly before.
//!
//! Scoring and training use integers only, in a fixed order, on one thread. Letters are those of
//! ASCII and other characters count byte by byte, so no version of Unicode has a say. Anybody can
//! recompute a score from the text and the model, and the model from its examples and options, to
//! the bit. [`QualityModel::hash`] names the model in records.
//!
//! # What a score says
//!
//! It says how much the *surface* of a text is like English prose, documentation, and source code,
//! and unlike navigation, notices, lists, tables, logs, sales talk, and broken encodings.
//! It compares texts of a source, and a threshold drops the worst of them.
//!
//! It cannot tell truth from lies, sense from nonsense, or an original from a copy. Sentences in
//! any order score like the text they came from: the area under the curve is 0.53 on held-out
//! sources. It is 0.69 for chains of words in which each pair is good. Rules, deduplication, and
//! the measured effect of the text on the model have to find those.
//!
//! Other languages than English, chat, and dialects score lower than they deserve, since no example
//! is of them: choose no threshold for a language without training a model for it. A text that is
//! written to score well will, because the weights are public. Short texts are drawn towards one
//! half, because little speaks for or against them.
//!
//! # Training
//!
//! `scripts/quality-set` makes the examples of the bundled model from pinned packages, and
//! generators of poor text. `pol-trainer data train-quality` trains a model of these or other
//! texts, and measures it on packages and phrases that no training example comes from.
//!
//! ```
//! use pol_corpus::quality::QualityModel;
//!
//! let model = QualityModel::bundled()?;
//! let prose = "The valley was quiet, and they had walked for hours before anyone spoke again.";
//! let menu = "Home | About | Contact | Login | Cart (0) | FAQ | Help | Sitemap | Privacy Policy";
//! assert!(model.score(prose) > model.score(menu));
//! # Ok::<(), pol_corpus::CorpusError>(())
//! ```

mod codec;
mod examples;
mod features;
mod logistic;
mod measure;
mod train;

pub use examples::{Example, ExampleFile, labelled};
pub use measure::{KindReport, Measurement, QualityReport, ThresholdReport, auroc};
pub use train::{TrainConfig, TrainProgress, train};

use crate::CorpusError;
use features::Features;
use logistic::logistic;
use pol_primitives::{Hash, Ppm};

/// Number of features without weight that every text has besides its own. They draw the score of a
/// short text towards one half.
const SMOOTHING: i64 = 64;

/// Linear classifier over hashed n-grams, which says how much a text is like good text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QualityModel {
    /// Binary logarithm of the number of weights.
    bits: u8,
    seed: u64,
    features: Features,
    /// Weight of each bucket, in units of 2^-8.
    weights: Vec<i16>,
}

impl QualityModel {
    /// Returns the model that ships with the program.
    ///
    /// # Errors
    ///
    /// Returns an error if the program was built with a damaged file.
    pub fn bundled() -> Result<Self, CorpusError> {
        Self::read(include_bytes!("bundled.model"))
    }

    /// Decodes a model.
    ///
    /// # Errors
    ///
    /// Returns an error that names the contradiction if the bytes are not those of a model.
    pub fn read(bytes: &[u8]) -> Result<Self, CorpusError> {
        codec::decode(bytes).map_err(|reason| {
            CorpusError::InvalidOption(format!("this is no model of quality: {reason}"))
        })
    }

    /// Encodes the model. A model has one encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Returns the BLAKE3 hash of the encoded model, which names it.
    pub fn hash(&self) -> Hash {
        *blake3::hash(&self.to_bytes()).as_bytes()
    }

    /// Returns the score of a text: zero for text to leave out, a million for text to learn from.
    pub fn score(&self, text: &str) -> Ppm {
        let (mut sum, mut count) = (0, SMOOTHING);
        self.features.visit(text, |bucket| {
            sum += i64::from(self.weights[bucket]);
            count += 1;
        });
        // From units of 2^-8 to those of 2^-16.
        logistic((sum << 8) / count)
    }
}

#[cfg(test)]
mod tests;
