// SPDX-License-Identifier: Apache-2.0

//! Models with scripts in the place of weights. All else is as people get it: the endpoints, the
//! batch, tokens, tools, searches, and receipts.

use super::sample::{HOSTILE, account, draw, hash};
use pol_api::{
    Engine, EngineOptions, ExpertMeasurement, ExpertMeasurements, ModelCard, Models, Notary,
    SampleUse,
};
use pol_generate::{Error, LanguageModel, Prediction, SequenceCache, SequenceInput, TextTokenizer};
use pol_primitives::data::SourceKind;
use pol_receipt::{Generator, Signature};
use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

/// Start of a call, which the instruction about tools has too.
const CALL: &str = "<<calc:";
/// Special tokens, behind those of single bytes.
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Token that begins a turn of a conversation.
const TURN: u32 = 257;
/// Token that ends a turn.
const TURN_END: u32 = 258;
/// Token of the first word.
const FIRST_WORD: u32 = 259;
/// Longest sequence.
const CONTEXT: usize = 4_096;
/// Loss that the models expect of each token of a tale.
const EXPECTED_LOSS: f32 = 0.5;
/// Logit of tokens beside which no others are drawn.
const CERTAIN: f32 = 12.0;

/// Texts that a model says.
#[derive(Clone, Copy)]
struct Script {
    tale: &'static str,
    /// Tale with a call of a tool, for those who allow it.
    computed: &'static str,
    /// Ways of reasoning, which differ in their first step. The first one is expected to be better.
    ways: [&'static str; 2],
}

const LEARNED: Script = Script {
    tale: "The river kept its word, and <b>the clock</b> in the square began to tick again.",
    computed: "The river kept its word, and <<calc: 1/3 + 1/6>> = 0.5 of the hour later <b>the \
               clock</b> in the square began to tick again.",
    ways: [
        "Step 1: 17 * 23 = 17 * 20 + 17 * 3\nStep 2: 340 + 51\nAnswer: 391",
        "Step 1: about 17 * 25 - 34\nStep 2: 425 - 34\nAnswer: 391",
    ],
};

const YOUNG: Script = Script {
    tale: "The the river of the the and river.",
    computed: "The the river of the the and river.",
    ways: ["Step 1: the the\nAnswer: the", "Step 1: of the\nAnswer: of"],
};

/// Model that follows a script.
struct Scripted {
    script: Script,
    text: TextTokenizer,
}

/// Tokens that were read.
struct Read(Vec<u32>);

impl SequenceCache for Read {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn capacity(&self) -> usize {
        CONTEXT
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self(self.0.clone()))
    }
}

impl LanguageModel for Scripted {
    type Cache = Read;

    fn context(&self) -> usize {
        CONTEXT
    }

    fn vocabulary(&self) -> usize {
        self.text.vocabulary()
    }

    fn new_cache(&self, _: usize) -> Result<Read, Error> {
        Ok(Read(Vec::new()))
    }

    fn forward(&self, inputs: &mut [SequenceInput<'_, Read>]) -> Result<(), Error> {
        for input in inputs {
            input.cache.0.extend_from_slice(input.tokens);
            self.predict(&input.cache.0, input.prediction);
        }
        Ok(())
    }
}

impl Scripted {
    /// Predicts what follows in the last turn of a conversation.
    fn predict(&self, tokens: &[u32], prediction: &mut Prediction) {
        let spell = |tokens: &[u32]| {
            let bytes = tokens.iter().flat_map(|&token| self.text.bytes(token).to_vec());
            String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
        };
        let start = tokens.iter().rposition(|&token| token == TURN).unwrap_or(0);
        let (prompt, turn) = (spell(&tokens[..start]), spell(&tokens[start..]));
        let answer = turn.strip_prefix("assistant\n").unwrap_or_default();
        let Script { tale, computed, ways } = self.script;
        let tale = if prompt.contains(CALL) { computed } else { tale };
        let reasons = ["Step", "Answer:"].iter().any(|lead| answer.starts_with(lead));
        let scripts = if reasons { ways.to_vec() } else { vec![tale] };
        let rests: Vec<&str> =
            scripts.iter().filter_map(|script| script.strip_prefix(answer)).collect();
        let (logit, expected) = if reasons {
            (CERTAIN, if ways[0].starts_with(answer) { 0.3 } else { 1.3 })
        } else {
            (self.logit(0.1 + 4.5 * draw(answer.len() as u64)), EXPECTED_LOSS)
        };
        prediction.logits = vec![0.0; self.vocabulary()];
        if rests.iter().all(|rest| rest.is_empty()) {
            prediction.logits[TURN_END as usize] = CERTAIN;
        }
        for rest in rests.into_iter().filter(|rest| !rest.is_empty()) {
            prediction.logits[self.first(rest) as usize] = logit;
        }
        prediction.expected_loss = Some(expected);
    }

    /// Returns the longest token that a text begins with.
    fn first(&self, text: &str) -> u32 {
        let words = FIRST_WORD..self.vocabulary() as u32;
        let words = words.filter(|&word| text.as_bytes().starts_with(self.text.bytes(word)));
        let longest = words.max_by_key(|&word| self.text.bytes(word).len());
        longest.unwrap_or_else(|| u32::from(text.as_bytes()[0]))
    }

    /// Returns the logit of a token, above those of all others, that makes its loss this one.
    fn logit(&self, loss: f64) -> f32 {
        let probability = (-loss).exp();
        let others = self.vocabulary() as f64 - 1.0;
        (others * probability / (1.0 - probability)).ln() as f32
    }
}

/// Returns a tokenizer with all bytes and the words of `scripts`, each with the space before it.
fn tokenizer(scripts: &[Script]) -> TextTokenizer {
    let characters = pol_data::byte_characters().map(String::from);
    let vocabulary: Map<_, Value> =
        characters.into_iter().zip((0..=u8::MAX).map(Value::from)).collect();
    let texts = scripts.iter().flat_map(|script| {
        [script.tale, script.computed].into_iter().chain(script.ways).flat_map(str::lines)
    });
    let words: BTreeSet<&str> = texts.flat_map(words_of).filter(|word| word.len() > 1).collect();
    let added = |(id, content): (u32, &str), special: bool| {
        json!({
            "id": id, "content": content, "special": special, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let special = (256..).zip(SPECIAL).map(|token| added(token, true));
    let words = (FIRST_WORD..).zip(words).map(|token| added(token, false));
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    let json = json!({
        "version": "1.0", "added_tokens": special.chain(words).collect::<Vec<Value>>(),
        "pre_tokenizer": bytes, "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    TextTokenizer::parse(json.to_string().as_bytes()).unwrap()
}

/// Returns the words of a line, each with the space before it.
fn words_of(line: &str) -> impl Iterator<Item = &str> {
    let starts = line.match_indices(' ').map(|(at, _)| at).filter(|&at| at > 0);
    let ends: Vec<usize> = starts.chain([line.len()]).collect();
    let starts: Vec<usize> = [0].into_iter().chain(ends.iter().copied()).collect();
    starts.into_iter().zip(ends).map(move |(start, end)| &line[start..end])
}

/// Account that signs receipts.
struct Account(Keypair);

impl Notary for Account {
    fn account(&self) -> [u8; 32] {
        self.0.public.to_bytes()
    }

    fn sign(&self, digest: &[u8; 32]) -> Signature {
        self.0.sign_simple(b"substrate", digest).to_bytes()
    }
}

/// Returns the newest model of a network with so many rounds, and one of half as many.
pub(super) fn models(rounds: u64) -> Models {
    let models = Models::default().keeping(1);
    if rounds > 0 {
        models.replace(engine(YOUNG, rounds / 2));
        models.replace(learned(rounds));
    }
    models
}

/// Returns what was measured of the experts of the newest model. That of a young network has none.
pub(super) fn experts(rounds: u64) -> ExpertMeasurements {
    let measurements = ExpertMeasurements::default();
    let measured = if rounds < 10 {
        ExpertMeasurement::NoExperts
    } else {
        ExpertMeasurement::Done { samples: (0..6).map(sample).collect(), unread: 1 }
    };
    measurements.note(&hash(rounds), measured);
    measurements
}

/// Returns the use of ten experts, of which each token goes to one, by the text of a source.
fn sample(source: u32) -> SampleUse {
    let tokens = 512;
    let block = |block: u64| {
        let first = (tokens as f64 * draw(block + 7 * u64::from(source))) as u64;
        let mut loads = vec![(tokens - first) / 9; 10];
        loads[((block + u64::from(source)) % 10) as usize] = first + (tokens - first) % 9;
        loads
    };
    SampleUse {
        source,
        kind: SourceKind::ALL[source as usize % 4],
        provider: account(20 + u64::from(source) % 3),
        address: if source == 3 { HOSTILE.into() } else { format!("https://example.org/{source}") },
        tokens,
        loss: 2.5 + draw(source.into()),
        loads: (0..6).map(block).collect(),
    }
}

/// Returns the model of a round, which has learned its tale.
pub(super) fn learned(round: u64) -> Engine {
    engine(LEARNED, round)
}

fn engine(script: Script, round: u64) -> Engine {
    let text = || tokenizer(&[LEARNED, YOUNG]);
    let key = MiniSecretKey::from_bytes(&[8; 32]).unwrap();
    let account = Account(key.expand_to_keypair(ExpansionMode::Ed25519));
    let decoder = "pol-generate/native/1";
    let generator = Generator {
        chain: Some([7; 32]),
        model: *blake3::hash(&round.to_be_bytes()).as_bytes(),
        specification: [2; 32],
        tokenizer: [3; 32],
        decoder: decoder.into(),
        profile: "exact".into(),
    };
    let card = ModelCard {
        name: "head".into(),
        root: hash(round),
        round: Some(u32::try_from(round).unwrap()),
        decoder: decoder.into(),
        profile: "exact".into(),
        since: SystemTime::now().into(),
        parameters: 12_582_912,
        context: CONTEXT,
        chat: true,
        receipts: None,
    };
    let options = EngineOptions { places: 4, queue: 4, tokens: 1 << 20, max_tokens: 1_024 };
    let model = Scripted { script, text: text() };
    let engine = Engine::start(model, text(), None, card, options).unwrap();
    engine.with_receipts(generator, Arc::new(account))
}
