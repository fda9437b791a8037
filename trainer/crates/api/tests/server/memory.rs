// SPDX-License-Identifier: Apache-2.0

//! Memory of all work at once.

use super::{
    faults::assert_problem,
    models::{Server, VOCABULARY, engine, options},
};
use pol_api::{EngineOptions, Limits};
use pol_generate::{Error, LanguageModel, SequenceCache, SequenceInput};
use serde_json::json;
use std::sync::{Arc, Mutex};

/// Model whose caches are counted. It writes lines of ten letters.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<Tokens>>);

/// Tokens for which there are caches, and the most that there were.
#[derive(Default)]
struct Tokens {
    now: usize,
    most: usize,
}

struct CountedCache {
    len: usize,
    capacity: usize,
    model: Counted,
}

impl Counted {
    fn cache(&self, len: usize, capacity: usize) -> CountedCache {
        let mut tokens = self.0.lock().unwrap();
        tokens.now += capacity;
        tokens.most = tokens.most.max(tokens.now);
        CountedCache { len, capacity, model: self.clone() }
    }

    fn most(&self) -> usize {
        self.0.lock().unwrap().most
    }
}

impl Drop for CountedCache {
    fn drop(&mut self) {
        self.model.0.lock().unwrap().now -= self.capacity;
    }
}

impl SequenceCache for CountedCache {
    fn len(&self) -> usize {
        self.len
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(self.model.cache(self.len, self.capacity))
    }

    fn copy_from(&mut self, other: &Self) -> Result<(), Error> {
        assert_eq!(self.capacity, other.capacity);
        self.len = other.len;
        Ok(())
    }
}

impl LanguageModel for Counted {
    type Cache = CountedCache;

    fn context(&self) -> usize {
        512
    }

    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn new_cache(&self, capacity: usize) -> Result<CountedCache, Error> {
        Ok(self.cache(0, capacity))
    }

    fn forward(&self, inputs: &mut [SequenceInput<'_, CountedCache>]) -> Result<(), Error> {
        for input in inputs {
            input.cache.len += input.tokens.len();
            let next = if input.cache.len.is_multiple_of(11) { b'\n' } else { b'a' };
            input.prediction.logits = vec![0.0; VOCABULARY];
            input.prediction.logits[usize::from(next)] = 99.0;
            input.prediction.hidden_sum = vec![1.0; 4];
        }
        Ok(())
    }
}

async fn server(model: &Counted, tokens: usize) -> Server {
    let options = EngineOptions { tokens, places: 16, queue: 64, ..options() };
    Server::with(engine(model.clone(), "r", options), Limits::default(), None, None).await
}

#[tokio::test]
async fn all_work_together_keeps_to_the_memory() {
    let (model, memory) = (Counted::default(), 3_000);
    let server = server(&model, memory).await;
    let tree = json!({"prompt": "Why?", "reason": "tree", "budget": 250});
    let text = json!({"prompt": "Once", "max_tokens": 300});
    let embedding = json!({"input": "x".repeat(500)});
    let asked = (0..24).map(|number| {
        let (path, request) =
            [("/generate", &tree), ("/generate", &text), ("/v1/embeddings", &embedding)]
                [number % 3];
        server.client.post(path, request)
    });
    for answer in futures::future::join_all(asked).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let most = model.most();
    assert!((1_500..=memory).contains(&most), "{most}");
}

#[tokio::test]
async fn a_tree_that_never_fits_is_refused() {
    let model = Counted::default();
    let server = server(&model, 3_000).await;
    let mut tree = json!({"prompt": "Why?", "reason": "tree", "branches": 8, "width": 8});
    for stream in [false, true] {
        tree["stream"] = stream.into();
        let answer = server.client.post("/generate", &tree).await;
        assert_problem(&answer, 400, "the server has it for 3000; ask for fewer branches");
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:pol:problem:search-too-large");
        assert_eq!(problem["error"]["param"], "branches");
    }
    assert_eq!(model.most(), 0);
    // What the problem advises helps.
    for (branches, width, budget) in [(2, 2, 512), (8, 1, 100), (1, 8, 512)] {
        tree["branches"] = branches.into();
        tree["width"] = width.into();
        tree["budget"] = budget.into();
        assert_eq!(server.client.post("/generate", &tree).await.status, 200, "{tree}");
    }
    // A single path may exceed the memory while it is alone, as a text may.
    let small = self::server(&model, 10).await;
    let chain = json!({"prompt": "Why?", "reason": "chain", "budget": 100});
    assert_eq!(small.client.post("/generate", &chain).await.status, 200);
}

#[tokio::test]
async fn a_client_that_waits_for_memory_and_leaves_holds_up_nobody() {
    let few = EngineOptions { tokens: 600_000, ..options() };
    let server = Server::endless(few, Limits::default()).await;
    let ask = |tokens| json!({"prompt": "x", "max_tokens": tokens, "stream": true});
    let (_long, _) = server.client.start("/v1/completions", &ask(500_000)).await;
    let (waiting, _) = server.client.start("/v1/completions", &ask(400_000)).await;
    let behind = server.client.clone();
    let behind = tokio::spawn(async move {
        let request = json!({"prompt": "x", "max_tokens": 5});
        behind.post("/v1/completions", &request).await
    });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!behind.is_finished());
    drop(waiting);
    assert_eq!(behind.await.unwrap().json()["choices"][0]["text"], "aaaaa");
}
