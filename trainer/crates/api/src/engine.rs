// SPDX-License-Identifier: Apache-2.0

//! Models that are served, each with a thread that owns it.

use crate::{
    answers::stopped,
    clients::{ClientName, Clients},
    error::ApiError,
    receipts::{Notary, Receipts},
    time::Time,
    worker::{Answer, Job, Reply, Task, Worker, search_tokens},
};
use pol_generate::{LanguageModel, Request, SearchOptions, TextTokenizer};
use pol_metrics::{GenerationRequest, Operation};
use pol_receipt::Generator;
use serde::Serialize;
use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
    thread,
};
use tokio::sync::{Semaphore, mpsc};
use utoipa::ToSchema;

/// Digits of the root in the name of one model.
const ID_DIGITS: usize = 8;

/// Facts about a served model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelCard {
    /// Name, as requests have it.
    pub name: String,
    /// Root of the model: BLAKE3 of its parameters, in hexadecimal digits behind `0x`.
    pub root: String,
    /// Round of the chain that ended with it; null for a model of a folder.
    pub round: Option<u32>,
    /// Decoder, by which the bits of the predictions are known.
    #[schema(example = "pol-generate/native/1")]
    pub decoder: String,
    /// Numerics of the decoder: `exact` if its bits are the same on every machine, `float16 keys
    /// and values` if those are rounded as well, and otherwise what the bits depend on.
    #[schema(example = "exact")]
    pub profile: String,
    /// Time from which it is served.
    pub since: Time,
    /// Number of parameters.
    pub parameters: u64,
    /// Longest sequence, in tokens.
    pub context: usize,
    /// Set if the model knows conversations.
    pub chat: bool,
    /// Public key of the account that signs receipts, if there are any.
    pub receipts: Option<String>,
}

impl ModelCard {
    /// Returns root, decoder, and numerics profile, which together with seed and prompt fix a text.
    pub fn fingerprint(&self) -> String {
        format!("{}/{}/{}", self.root, self.decoder, self.profile)
    }

    /// Returns the name under which requests get this model and no newer one: its name, `@`, and
    /// the first eight digits of its root.
    pub fn id(&self) -> String {
        let root = self.root.strip_prefix("0x").unwrap_or(&self.root);
        format!("{}@{}", self.name, root.chars().take(ID_DIGITS).collect::<String>())
    }
}

/// Limits of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Largest number of sequences that are generated at once.
    pub places: usize,
    /// Largest number of requests that wait for a place.
    pub queue: usize,
    /// Largest number of tokens of all sequences together, those of searches and of texts to embed
    /// too, which bounds their memory. A single sequence may exceed it, and a tree may not.
    pub tokens: usize,
    /// Largest number of tokens that one request generates.
    pub max_tokens: usize,
}

impl EngineOptions {
    /// Returns the largest number of texts that a client with a token has under way or waiting:
    /// half of all.
    fn share(&self) -> usize {
        self.places.max(1).saturating_add(self.queue.max(1)) / 2
    }
}

/// Most prompts that are encoded at once. The tokens of a body of the largest size take a hundred
/// times its memory meanwhile.
const MAX_ENCODERS: usize = 4;

/// Model that a thread serves. The thread ends with the last of its requests after the engine was
/// dropped.
pub struct Engine {
    card: ModelCard,
    text: Arc<TextTokenizer>,
    encoders: Arc<Semaphore>,
    begin: Option<u32>,
    options: EngineOptions,
    vocabulary: usize,
    receipts: Option<Receipts>,
    jobs: mpsc::Sender<Job>,
    /// Texts under way and waiting, by client.
    clients: Clients,
}

impl Engine {
    /// Starts a thread that serves `model`, whose texts begin with the token `begin`.
    ///
    /// # Errors
    ///
    /// Fails if the thread cannot be started.
    pub fn start<M: LanguageModel + Send + 'static>(
        model: M,
        text: TextTokenizer,
        begin: Option<u32>,
        card: ModelCard,
        options: EngineOptions,
    ) -> io::Result<Self> {
        // Their metrics exist from the beginning.
        pol_metrics::generation_metrics();
        pol_metrics::generation_load();
        let (text, vocabulary) = (Arc::new(text), model.vocabulary());
        let (sender, jobs) = mpsc::channel(options.queue.max(1));
        let worker = Worker::new(model, Arc::clone(&text), jobs, options.places, options.tokens);
        thread::Builder::new().name("model".into()).spawn(move || worker.run())?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let encoders = Arc::new(Semaphore::new(cores.min(MAX_ENCODERS)));
        let (receipts, jobs, clients) = (None, sender, Clients::default());
        Ok(Self { card, text, encoders, begin, options, vocabulary, receipts, jobs, clients })
    }

    /// Gives receipts of the texts of `generator`, the model of this engine, to those who ask.
    #[must_use]
    pub fn with_receipts(mut self, generator: Generator, notary: Arc<dyn Notary>) -> Self {
        self.card.receipts = Some(format!("0x{}", hex::encode(notary.account())));
        self.receipts = Some(Receipts::new(generator, notary));
        self
    }

    /// Returns facts about the model.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    pub(crate) fn text(&self) -> &Arc<TextTokenizer> {
        &self.text
    }

    pub(crate) fn encoders(&self) -> &Arc<Semaphore> {
        &self.encoders
    }

    pub(crate) fn begin(&self) -> Option<u32> {
        self.begin
    }

    /// Returns the number of tokens of the model.
    pub(crate) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Returns the maker of receipts, which the parameter `parameter` asks for.
    pub(crate) fn receipts(&self, parameter: &'static str) -> Result<&Receipts, ApiError> {
        let remedy = "this server has no key for receipts; start it with --receipts";
        self.receipts.as_ref().ok_or(ApiError::Unsupported { parameter, remedy })
    }

    pub(crate) fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Checks that all texts of a request of `client` can wait at once, which the parameter
    /// `parameter` asks for. Of more, some would be refused however often the client comes again.
    pub(crate) fn check_texts(
        &self,
        client: &ClientName,
        texts: usize,
        parameter: &'static str,
    ) -> Result<(), ApiError> {
        let queue = self.options.queue.max(1);
        let most = client.get().map_or(queue, |_| self.options.share().min(queue));
        if texts <= most {
            return Ok(());
        }
        let detail = format!(
            "at most {most} texts of a request can wait here, not {texts}; ask for fewer at once, \
             or start the server with a longer --queue"
        );
        Err(ApiError::parameter(parameter, detail))
    }

    /// Asks for a text. The answers have room for every token, so that a slow reader holds up
    /// nobody.
    pub(crate) fn generate(
        &self,
        client: &ClientName,
        operation: Operation,
        request: Request,
    ) -> Result<mpsc::Receiver<Answer>, ApiError> {
        self.check_tokens(&request)?;
        let parts = request.max_tokens.min(self.card.context) + 2;
        let measured = GenerationRequest::begin(operation, request.prompt.len());
        self.submit(client, Task::Generate(request), measured, parts)
    }

    /// Asks for steps of reasoning and an answer. A tree for which there is never enough memory is
    /// refused.
    pub(crate) fn reason(
        &self,
        client: &ClientName,
        request: Request,
        search: SearchOptions,
    ) -> Result<mpsc::Receiver<Answer>, ApiError> {
        self.check_tokens(&request)?;
        let (prompt, limit) = (request.prompt.len(), self.options.tokens);
        let tokens = search_tokens(prompt, &search, self.card.context);
        if search.caches() > 1 && tokens > limit {
            return Err(ApiError::SearchSize { tokens, limit });
        }
        // A step has at least a token, and a call of a tool several.
        let parts = 2 * search.budget + 2;
        let measured = GenerationRequest::begin(Operation::TextCompletion, request.prompt.len());
        self.submit(client, Task::Reason(request, search), measured, parts)
    }

    /// Checks that tokens with a bias are the model's, before a stream begins.
    fn check_tokens(&self, request: &Request) -> Result<(), ApiError> {
        let checked = request.controls.validate(self.vocabulary);
        Ok(checked.map_err(pol_generate::Error::from)?)
    }

    /// Asks for the embedding of a text.
    pub(crate) fn embed(
        &self,
        client: &ClientName,
        tokens: Vec<u32>,
    ) -> Result<mpsc::Receiver<Answer>, ApiError> {
        let measured = GenerationRequest::begin(Operation::Embeddings, tokens.len());
        self.submit(client, Task::Embed(tokens), measured, 1)
    }

    fn submit(
        &self,
        client: &ClientName,
        task: Task,
        measured: GenerationRequest,
        parts: usize,
    ) -> Result<mpsc::Receiver<Answer>, ApiError> {
        let (sender, receiver) = mpsc::channel(parts);
        let answers = Reply::new(sender, measured);
        if let Some(name) = client.get() {
            let share = self.options.share();
            let Some(place) = self.clients.enter(name.to_owned(), share) else {
                answers.refuse();
                return Err(ApiError::Share(share));
            };
            answers.keep(place);
        }
        self.jobs.try_send(Job { task, answers }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(job) => {
                job.answers.refuse();
                ApiError::Busy
            }
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        Ok(receiver)
    }
}

/// Models that are served: the newest one, if there is one, and older ones beside it. Requests
/// finish with the model that they began with.
#[derive(Clone, Default)]
pub struct Models {
    /// The newest one first.
    engines: Arc<RwLock<Vec<Arc<Engine>>>>,
    /// Largest number of older ones.
    older: usize,
}

impl Models {
    /// Serves `engine`.
    pub fn new(engine: Engine) -> Self {
        let models = Self::default();
        models.replace(engine);
        models
    }

    /// Keeps up to `older` models that were replaced, for requests that name them: the first one,
    /// and the newest others.
    #[must_use]
    pub fn keeping(self, older: usize) -> Self {
        Self { older, ..self }
    }

    /// Returns the model that new requests get, or `None` if none was loaded yet.
    pub fn current(&self) -> Option<Arc<Engine>> {
        self.all().into_iter().next()
    }

    /// Returns `true` if the newest model's thread has ended by a fault: it answers nothing then.
    pub fn is_stopped(&self) -> bool {
        self.current().is_some_and(|engine| engine.jobs.is_closed())
    }

    /// Returns all models, the newest one first.
    pub(crate) fn all(&self) -> Vec<Arc<Engine>> {
        self.engines.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves `engine` from now on. A model that is not kept is freed when its last request has
    /// ended.
    pub fn replace(&self, engine: Engine) {
        let mut engines = self.engines.write().unwrap_or_else(PoisonError::into_inner);
        // A chain that takes blocks back has an older model at its head again.
        engines.retain(|other| other.card.root != engine.card.root);
        engines.insert(0, Arc::new(engine));
        if engines.len() > self.older + 1 {
            // The first model stays the last one, to compare what was learned since.
            engines.remove(self.older.max(1));
        }
    }

    /// Returns the model with the name `asked`, and the newest one if none is asked for.
    pub(crate) fn named(&self, asked: Option<&str>) -> Result<Arc<Engine>, ApiError> {
        let engines = self.all();
        let newest = engines.first().ok_or(ApiError::NoModel)?;
        let Some(asked) = asked.filter(|asked| *asked != newest.card.name) else {
            return Ok(Arc::clone(newest));
        };
        let found = engines.iter().find(|engine| engine.card.id() == asked).cloned();
        found.ok_or_else(|| ApiError::Model {
            asked: asked.chars().take(80).collect(),
            served: listed(&engines).map(|(name, _)| name).collect::<Vec<_>>().join("', '"),
        })
    }
}

/// Returns the names of models as lists have them, with the models: the newest one, which the first
/// of `engines` is, has its plain name.
pub(crate) fn listed(engines: &[Arc<Engine>]) -> impl Iterator<Item = (String, &ModelCard)> {
    engines.iter().enumerate().map(|(age, engine)| {
        let card = engine.card();
        (if age == 0 { card.name.clone() } else { card.id() }, card)
    })
}
