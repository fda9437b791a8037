// SPDX-License-Identifier: Apache-2.0

//! Models and servers of the tests.

use super::{client::Client, spans};
use axum::Router;
use pol_api::{
    Access, Engine, EngineOptions, Limits, ModelCard, Models, Rate, Time, TokenFile, router, serve,
};
use pol_generate::{
    Error, LanguageModel, NativeModel, SequenceCache, SequenceInput, TextTokenizer,
};
use pol_model::initial_parameters;
use pol_primitives::model::ModelSpec;
use serde_json::{Map, Value, json};
use std::{num::NonZeroU32, path::Path, thread, time::Duration};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Entries of the vocabulary.
pub(crate) const VOCABULARY: usize = 259;

/// Returns a tokenizer whose token `b` is the byte `b`, then the end of text and, with `chat`, the
/// delimiters of turns.
pub(crate) fn tokenizer(chat: bool) -> TextTokenizer {
    let characters = pol_data::byte_characters().map(String::from);
    let vocabulary: Map<_, Value> =
        characters.into_iter().zip((0..=u8::MAX).map(Value::from)).collect();
    let special = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false,
        })
    };
    let mut added = vec![special(256, "<|endoftext|>")];
    if chat {
        added.extend([special(257, "<|im_start|>"), special(258, "<|im_end|>")]);
    }
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    let json: Value = json!({
        "version": "1.0", "added_tokens": added, "pre_tokenizer": bytes, "decoder": bytes,
        "model": { "type": "BPE", "vocab": vocabulary, "merges": [] },
    });
    TextTokenizer::parse(json.to_string().as_bytes()).unwrap()
}

/// Returns a random model with a context of 512.
pub(crate) fn native(seed: u8) -> NativeModel {
    random(seed, 512)
}

/// Returns a random model that reads as many tokens.
pub(crate) fn random(seed: u8, context: u32) -> NativeModel {
    let spec = ModelSpec::gpt2(VOCABULARY as u32, 32, 2, 4, 96, context);
    let flat: Vec<f32> =
        initial_parameters(&spec, &[seed; 32]).into_iter().map(|value| value * 6.0).collect();
    NativeModel::new(&spec, &flat, 1).unwrap()
}

/// Model that writes `a` for ever, and calls a function before each step.
pub(crate) struct Endless(pub(crate) fn());

impl Endless {
    pub(crate) fn slow() -> Self {
        Self(|| thread::sleep(Duration::from_micros(100)))
    }
}

pub(crate) struct Count(usize);

impl LanguageModel for Endless {
    type Cache = Count;

    fn context(&self) -> usize {
        1 << 30
    }

    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn new_cache(&self, _: usize) -> Result<Count, Error> {
        Ok(Count(0))
    }

    fn forward(&self, inputs: &mut [SequenceInput<'_, Count>]) -> Result<(), Error> {
        (self.0)();
        for input in inputs {
            input.cache.0 += input.tokens.len();
            input.prediction.logits = vec![0.0; VOCABULARY];
            input.prediction.logits[usize::from(b'a')] = 99.0;
        }
        Ok(())
    }
}

impl SequenceCache for Count {
    fn len(&self) -> usize {
        self.0
    }

    fn capacity(&self) -> usize {
        1 << 30
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self(self.0))
    }
}

pub(crate) fn options() -> EngineOptions {
    EngineOptions { places: 8, queue: 16, tokens: 1 << 40, max_tokens: 1 << 29 }
}

pub(crate) fn engine<M: LanguageModel + Send + 'static>(
    model: M,
    root: &str,
    options: EngineOptions,
) -> Engine {
    let card = ModelCard {
        name: "tiny".into(),
        root: root.into(),
        round: None,
        decoder: "test/1".into(),
        profile: "exact".into(),
        since: Time::new(7_000),
        parameters: 1,
        context: model.context(),
        chat: true,
        receipts: None,
    };
    Engine::start(model, tokenizer(true), None, card, options).unwrap()
}

/// Server under test.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) models: Models,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) ended: JoinHandle<()>,
}

impl Server {
    /// Serves a random model.
    pub(crate) async fn start() -> Self {
        Self::with(engine(native(1), "r1", options()), Limits::default(), None, None).await
    }

    /// Serves a model that writes for ever.
    pub(crate) async fn endless(options: EngineOptions, limits: Limits) -> Self {
        Self::with(engine(Endless::slow(), "r0", options), limits, None, None).await
    }

    pub(crate) async fn with(
        engine: Engine,
        limits: Limits,
        tokens: Option<&Path>,
        burst: Option<u32>,
    ) -> Self {
        let models = Models::new(engine);
        let burst = NonZeroU32::new(burst.unwrap_or(1_000_000)).unwrap();
        let rate = Rate { per_second: NonZeroU32::MIN, burst };
        let access = Access::new(tokens.map(TokenFile::new), rate);
        let router = router(models.clone(), None, access)
            .with_origins(vec!["https://friend.example".into()])
            .build();
        Self::of(router, models, limits).await
    }

    /// Serves `router`.
    pub(crate) async fn of(router: Router, models: Models, limits: Limits) -> Self {
        spans::see();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client { address: listener.local_addr().unwrap(), token: None };
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            serve(listener, router, limits, stop).await;
        });
        Self { client, models, stop: Some(stop), ended }
    }
}
