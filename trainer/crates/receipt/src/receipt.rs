// SPDX-License-Identifier: Apache-2.0

//! Receipts, and their canonical encoding.

use crate::{Difference, ReceiptError};
use codec::Encode;
use pol_primitives::{Hash, hex_hash};
use serde::{Deserialize, Serialize};

/// Domain of the digest that an account signs.
const DIGEST_DOMAIN: &[u8] = b"pol/receipt/1";

/// Model, tokenizer, and decoder that make texts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// Genesis block of the chain that the model is of; `None` for a model of a folder.
    #[serde(with = "hex_hash::option")]
    pub chain: Option<Hash>,
    /// Root of the model: BLAKE3 of its parameters. A head has the same root.
    #[serde(with = "hex_hash")]
    pub model: Hash,
    /// Digest of the specification of the model. Equal parameters compute something else under
    /// another one.
    #[serde(with = "hex_hash")]
    pub specification: Hash,
    /// BLAKE3 of the tokenizer's file.
    #[serde(with = "hex_hash")]
    pub tokenizer: Hash,
    /// Name and version of the decoder.
    pub decoder: String,
    /// Numerics profile of the decoder: texts are equal where it is.
    pub profile: String,
}

/// Terms of a request, beside its prompt.
#[derive(Clone, Debug, PartialEq, Encode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Divisor of the logits.
    pub temperature: f32,
    /// Number of likeliest tokens to draw from; 0 for all.
    pub top_k: u64,
    /// Total probability of the likeliest tokens to draw from.
    pub top_p: f32,
    /// Smallest probability to draw, relative to the likeliest token.
    pub min_p: f32,
    /// Penalty on tokens that occurred.
    pub repetition_penalty: f32,
    /// Strength with which surprise changes the temperature.
    pub sensitivity: f64,
    /// Seed of all draws.
    pub seed: u64,
    /// Number that separates the draws of requests with the same seed.
    pub stream: u64,
    /// Largest number of tokens.
    pub max_tokens: u64,
    /// Strings before which the text ends.
    pub stop: Vec<String>,
    /// Tokens that end the text.
    pub ends: Vec<u32>,
    /// `true` if these tokens end nothing.
    pub ignore_end: bool,
    /// `true` if the model may call tools.
    pub tools: bool,
}

impl Default for Terms {
    /// Returns terms that draw from the model's own distribution, and take no token.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            sensitivity: 0.0,
            seed: 0,
            stream: 0,
            max_tokens: 0,
            stop: Vec::new(),
            ends: Vec::new(),
            ignore_end: false,
            tools: false,
        }
    }
}

/// Statement of an account that a generator made a text.
#[derive(Clone, Debug, PartialEq, Encode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Maker of the text.
    pub generator: Generator,
    /// [Hash](prompt_hash) of the prompt.
    #[serde(with = "hex_hash")]
    pub prompt: Hash,
    /// Terms of the request.
    pub terms: Terms,
    /// [Hash](output_hash) of the text.
    #[serde(with = "hex_hash")]
    pub output: Hash,
    /// Number of generated tokens, results of tools included.
    pub tokens: u64,
}

/// Versions of the encoding that is signed.
#[derive(Encode)]
enum VersionedReceipt<'a> {
    #[codec(index = 1)]
    V1(&'a Receipt),
}

/// Result of a comparison of two texts that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// The texts are equal.
    #[serde(rename = "match")]
    Equal,
    /// The texts differ.
    #[serde(rename = "mismatch")]
    Unequal,
}

impl Receipt {
    /// Creates the receipt of `output`, of `tokens` tokens, which `generator` made from the tokens
    /// of a `prompt`.
    pub fn new(
        generator: Generator,
        prompt: &[u32],
        terms: Terms,
        output: &str,
        tokens: u64,
    ) -> Self {
        let (prompt, output) = (prompt_hash(prompt), output_hash(output));
        Self { generator, prompt, terms, output, tokens }
    }

    /// Returns the digest that an account signs.
    ///
    /// The domain keeps it apart from what accounts sign for the chain.
    pub fn digest(&self) -> Hash {
        pol_primitives::digest(DIGEST_DOMAIN, &VersionedReceipt::V1(self))
    }

    /// Compares the text with that of `again`, which was made from the same prompt and terms.
    ///
    /// # Errors
    ///
    /// Fails if the generators or the prompts differ, so that the texts may differ too.
    pub fn compare(&self, again: &Self) -> Result<Match, ReceiptError> {
        self.generator.check_same(&again.generator)?;
        if self.prompt != again.prompt {
            return Err(ReceiptError::OtherPrompt);
        }
        let is_equal = self.output == again.output && self.tokens == again.tokens;
        Ok(if is_equal { Match::Equal } else { Match::Unequal })
    }
}

impl Generator {
    /// Checks that `ours` makes the same texts as this generator.
    ///
    /// A model of a folder and one of a chain are the same if their roots are.
    ///
    /// # Errors
    ///
    /// Fails with the first difference.
    pub fn check_same(&self, ours: &Self) -> Result<(), Difference> {
        let name = |hash: &Hash| format!("0x{}", blake3::Hash::from_bytes(*hash).to_hex());
        if let (Some(chain), Some(other)) = (&self.chain, &ours.chain)
            && chain != other
        {
            return Err(Difference::Chain(name(chain)));
        }
        if self.model != ours.model {
            return Err(Difference::Model(name(&self.model)));
        }
        if self.specification != ours.specification {
            return Err(Difference::Specification(name(&self.specification)));
        }
        if self.tokenizer != ours.tokenizer {
            return Err(Difference::Tokenizer(name(&self.tokenizer)));
        }
        if (&self.decoder, &self.profile) != (&ours.decoder, &ours.profile) {
            return Err(Difference::Decoder { theirs: self.maker(), ours: ours.maker() });
        }
        Ok(())
    }

    /// Returns decoder and profile in words.
    fn maker(&self) -> String {
        format!("{} ({})", self.decoder, self.profile)
    }
}

/// Returns the hash of a prompt: BLAKE3 of its tokens as little-endian numbers of four bytes.
pub fn prompt_hash(tokens: &[u32]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    tokens.iter().for_each(|token| {
        hasher.update(&token.to_le_bytes());
    });
    *hasher.finalize().as_bytes()
}

/// Returns the hash of a text: BLAKE3 of its UTF-8.
pub fn output_hash(text: &str) -> Hash {
    *blake3::hash(text.as_bytes()).as_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn receipt() -> Receipt {
        let generator = Generator {
            chain: Some([1; 32]),
            model: [2; 32],
            specification: [3; 32],
            tokenizer: [4; 32],
            decoder: "pol-generate/native/1".into(),
            profile: "exact".into(),
        };
        let terms = Terms { seed: 7, max_tokens: 9, stop: vec!["\n".into()], ..Terms::default() };
        Receipt::new(generator, &[5, 6], terms, "a text", 3)
    }

    #[test]
    fn the_digest_is_pinned() {
        let digest = receipt().digest();
        assert_eq!(hex_hash::parse(PINNED), Some(digest), "{digest:02x?}");
    }

    const PINNED: &str = "224b753b12269ea351923d7e89bf28977d40db8204e28c272f8e84796ba4bc80";

    #[test]
    fn the_digest_binds_every_field() {
        let (receipt, terms) = (receipt(), receipt().terms);
        let generator = |change: fn(&mut Generator)| {
            let mut changed = receipt.clone();
            change(&mut changed.generator);
            changed
        };
        let with = |terms: Terms| Receipt { terms, ..receipt.clone() };
        let changed = [
            generator(|made| made.chain = None),
            generator(|made| made.model = [9; 32]),
            generator(|made| made.specification = [9; 32]),
            generator(|made| made.tokenizer = [9; 32]),
            generator(|made| made.decoder.push('1')),
            generator(|made| made.profile.push('1')),
            Receipt { prompt: [9; 32], ..receipt.clone() },
            Receipt { output: [9; 32], ..receipt.clone() },
            Receipt { tokens: 4, ..receipt.clone() },
            with(Terms { temperature: 0.5, ..terms.clone() }),
            with(Terms { top_k: 1, ..terms.clone() }),
            with(Terms { top_p: 0.5, ..terms.clone() }),
            with(Terms { min_p: 0.5, ..terms.clone() }),
            with(Terms { repetition_penalty: 2.0, ..terms.clone() }),
            with(Terms { sensitivity: 0.5, ..terms.clone() }),
            with(Terms { seed: 8, ..terms.clone() }),
            with(Terms { stream: 1, ..terms.clone() }),
            with(Terms { max_tokens: 1, ..terms.clone() }),
            with(Terms { stop: Vec::new(), ..terms.clone() }),
            with(Terms { ends: vec![1], ..terms.clone() }),
            with(Terms { ignore_end: true, ..terms.clone() }),
            with(Terms { tools: true, ..terms.clone() }),
        ];
        for other in changed {
            assert_ne!(other.digest(), receipt.digest(), "{other:?}");
        }
    }

    #[test]
    fn texts_of_equal_generators_are_compared() {
        let theirs = receipt();
        let compare = |change: fn(&mut Receipt)| {
            let mut again = receipt();
            change(&mut again);
            theirs.compare(&again)
        };
        assert_eq!(compare(|_| {}), Ok(Match::Equal));
        assert_eq!(compare(|again| again.generator.chain = None), Ok(Match::Equal));
        assert_eq!(compare(|again| again.output = [0; 32]), Ok(Match::Unequal));
        assert_eq!(compare(|again| again.tokens = 0), Ok(Match::Unequal));
        assert_eq!(compare(|again| again.prompt = [0; 32]), Err(ReceiptError::OtherPrompt));
        let differs = |change| match compare(change) {
            Err(ReceiptError::Different(difference)) => difference,
            same => panic!("{same:?}"),
        };
        let is = |difference: Difference, text: &str| difference.to_string().contains(text);
        assert!(is(differs(|again| again.generator.chain = Some([9; 32])), "another chain"));
        assert!(is(differs(|again| again.generator.model = [9; 32]), "another model"));
        let specification = differs(|again| again.generator.specification = [9; 32]);
        assert!(is(specification, "another specification"));
        assert!(is(differs(|again| again.generator.tokenizer = [9; 32]), "another tokenizer"));
        let decoder = differs(|again| again.generator.profile = "stock".into());
        assert!(is(decoder, "made by pol-generate/native/1 (exact), and this is"));
    }
}
