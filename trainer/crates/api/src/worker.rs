// SPDX-License-Identifier: Apache-2.0

//! The thread that owns a model: requests join a batch and leave it between steps.

use crate::clients::ClientPlace;
use pol_generate::{
    Batch, Completion, Embedding, Error, Event, LanguageModel, ReasoningResult, ReasoningStep,
    Request, SearchEvent, SearchOptions, SequenceInput, TextTokenizer, TokenReport, ToolCall,
    reason,
};
use pol_metrics::{GenerationRequest, RequestEnd};
use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    ops::ControlFlow,
    sync::Arc,
};
use tokio::sync::mpsc::{Receiver, Sender, error::TryRecvError};

/// Prompt tokens of a step, by which a new sequence delays the others.
const PROMPT_TOKENS: usize = 128;

/// Work for a model.
pub(crate) enum Task {
    Generate(Request),
    Reason(Request, SearchOptions),
    Embed(Vec<u32>),
}

impl Task {
    /// Returns the largest number of tokens for which the work takes memory, with a model that
    /// reads `context` tokens. Texts whose prompts begin alike share memory, and each counts whole,
    /// as any of them may be the last one that has it.
    fn tokens(&self, context: usize) -> usize {
        match self {
            Self::Generate(request) => {
                request.prompt.len().saturating_add(request.max_tokens).min(context)
            }
            Self::Reason(request, search) => search_tokens(request.prompt.len(), search, context),
            Self::Embed(tokens) => tokens.len(),
        }
    }
}

/// Returns the number of tokens in all caches of a search after a prompt of `prompt` tokens.
pub(crate) fn search_tokens(prompt: usize, search: &SearchOptions, context: usize) -> usize {
    let path = prompt.saturating_add(search.path_tokens()).min(context);
    path.saturating_mul(search.caches())
}

/// Work, and the receiver of its answers. A receiver that is dropped ends the work.
pub(crate) struct Job {
    pub(crate) task: Task,
    pub(crate) answers: Reply,
}

/// Part of an answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Text, reports, and calls of one step.
    Part(Part),
    /// End of a text.
    Done(Completion),
    /// Step of reasoning.
    Step(ReasoningStep),
    /// End of reasoning.
    Reasoned(ReasoningResult),
    /// Embedding.
    Embedding(Vec<f32>),
    /// Failure, after which nothing follows.
    Failed(Error),
}

/// New part of a text.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) reports: Vec<TokenReport>,
    pub(crate) calls: Vec<ToolCall>,
}

impl Part {
    fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Token(report) => self.reports.push(report.clone()),
            Event::Text(text) => self.text += text,
            Event::Call(call) => self.calls.push(call.clone()),
        }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.reports.is_empty() && self.calls.is_empty()
    }
}

/// The way back to one who asked, along which everything is counted for Prometheus.
pub(crate) struct Reply {
    answers: Sender<Answer>,
    measured: RefCell<GenerationRequest>,
    /// Part of the client's share, until the last answer.
    place: RefCell<Option<ClientPlace>>,
}

impl Reply {
    pub(crate) fn new(answers: Sender<Answer>, measured: GenerationRequest) -> Self {
        Self { answers, measured: RefCell::new(measured), place: RefCell::new(None) }
    }

    /// Keeps a place of the client until the last answer is sent.
    pub(crate) fn keep(&self, place: ClientPlace) {
        *self.place.borrow_mut() = Some(place);
    }

    /// Notes that the request found no place to wait in.
    pub(crate) fn refuse(&self) {
        self.measured.borrow_mut().set_end(RequestEnd::Overloaded);
    }

    /// Returns `true` if nobody waits for an answer any more.
    fn is_closed(&self) -> bool {
        self.answers.is_closed()
    }

    /// Sends a part of the answer. A receiver that is gone is noticed before the next step.
    fn send(&self, answer: Answer) {
        let mut measured = self.measured.borrow_mut();
        match &answer {
            Answer::Part(part) => measured.tokens(part.reports.len()),
            Answer::Step(_) => {}
            Answer::Done(_) | Answer::Embedding(_) => measured.set_end(RequestEnd::Success),
            Answer::Reasoned(reasoned) => {
                measured.tokens(reasoned.tokens);
                measured.set_end(RequestEnd::Success);
            }
            Answer::Failed(_) => measured.set_end(RequestEnd::Other),
        }
        if !matches!(answer, Answer::Part(_) | Answer::Step(_)) {
            // Who has an answer may ask at once for the next one.
            *self.place.borrow_mut() = None;
        }
        let _ = self.answers.try_send(answer);
    }
}

/// Thread of a model.
pub(crate) struct Worker<M> {
    model: M,
    text: Arc<TextTokenizer>,
    jobs: Receiver<Job>,
    places: usize,
    tokens: usize,
}

impl<M: LanguageModel> Worker<M> {
    pub(crate) fn new(
        model: M,
        text: Arc<TextTokenizer>,
        jobs: Receiver<Job>,
        places: usize,
        tokens: usize,
    ) -> Self {
        Self { model, text, jobs, places: places.max(1), tokens }
    }

    /// Serves until nobody can ask any more and every answer is given.
    pub(crate) fn run(self) {
        let Self { model, text, jobs, places, tokens } = self;
        let desk = RefCell::new(Desk {
            model: &model,
            batch: Batch::new(&model, &text).with_prompt_tokens(PROMPT_TOKENS),
            seats: HashMap::new(),
            embeddings: VecDeque::new(),
            searches: VecDeque::new(),
            running: 0,
            held: None,
            jobs,
            next: 0,
            places,
            tokens,
        });
        loop {
            let search = {
                let mut desk = desk.borrow_mut();
                if desk.is_idle() && !desk.wait() {
                    return;
                }
                desk.serve();
                desk.next_search()
            };
            if let Some(Search { request, options, answers, .. }) = search {
                // Each step of reasoning is followed by one of all others.
                let shared = Interleaved { desk: &desk, model: &model, answers: &answers };
                let told = reason(&shared, &text, &request, &options, |event| {
                    if let SearchEvent::Step(step) = event {
                        answers.send(Answer::Step(step.clone()));
                    }
                });
                answers.send(told.map_or_else(Answer::Failed, Answer::Reasoned));
                desk.borrow_mut().running = 0;
            }
        }
    }
}

/// Sequence of the batch.
struct Seat {
    answers: Reply,
    part: Part,
    /// Most tokens that it has memory for.
    tokens: usize,
}

/// Reasoning that waits for its turn. One search runs at a time.
struct Search {
    request: Request,
    options: SearchOptions,
    answers: Reply,
    /// Most tokens that it has memory for.
    tokens: usize,
}

/// All work under way.
struct Desk<'a, M: LanguageModel> {
    model: &'a M,
    batch: Batch<'a, M>,
    seats: HashMap<u64, Seat>,
    /// Texts to embed, with the tokens that they have memory for.
    embeddings: VecDeque<(Embedding<M::Cache>, Reply, usize)>,
    searches: VecDeque<Search>,
    /// Most tokens that the search under way has memory for.
    running: usize,
    /// Work that waits for memory, and other work behind it.
    held: Option<Job>,
    jobs: Receiver<Job>,
    next: u64,
    places: usize,
    tokens: usize,
}

impl<M: LanguageModel> Desk<'_, M> {
    fn taken(&self) -> usize {
        self.seats.len() + self.embeddings.len() + self.searches.len()
    }

    /// Returns the number of tokens that searches have memory for. They take turns, so that it is
    /// that of the largest one.
    fn search_tokens(&self) -> usize {
        self.searches.iter().map(|search| search.tokens).fold(self.running, usize::max)
    }

    /// Returns `true` if there is memory for `task`. One that is alone always has it.
    fn has_room(&self, task: &Task) -> bool {
        let seats = self.seats.values().map(|seat| seat.tokens);
        let others = seats.chain(self.embeddings.iter().map(|(.., tokens)| *tokens));
        let (others, searches) = (others.fold(0, usize::saturating_add), self.search_tokens());
        let tokens = task.tokens(self.model.context());
        let needed = match task {
            Task::Reason(..) => others.saturating_add(searches.max(tokens)),
            Task::Generate(_) | Task::Embed(_) => {
                others.saturating_add(searches).saturating_add(tokens)
            }
        };
        (others == 0 && searches == 0) || needed <= self.tokens
    }

    fn is_idle(&self) -> bool {
        self.taken() == 0 && self.held.is_none()
    }

    /// Waits for a job. Returns `false` if there will be none.
    fn wait(&mut self) -> bool {
        let job = self.jobs.blocking_recv();
        job.map(|job| self.admit(job)).is_some()
    }

    /// Takes new jobs, and makes one step with everybody.
    fn serve(&mut self) {
        self.release();
        self.fill();
        self.step();
        self.embed();
    }

    /// Frees the places of those who went away.
    fn release(&mut self) {
        let batch = &mut self.batch;
        self.seats.retain(|id, seat| {
            let is_here = !seat.answers.is_closed();
            if !is_here {
                batch.remove(*id);
            }
            is_here
        });
        self.embeddings.retain(|(_, answers, _)| !answers.is_closed());
        self.searches.retain(|search| !search.answers.is_closed());
        self.held.take_if(|job| job.answers.is_closed());
    }

    fn fill(&mut self) {
        if self.taken() < self.places
            && let Some(job) = self.held.take()
        {
            self.admit(job);
        }
        while self.held.is_none() && self.taken() < self.places {
            match self.jobs.try_recv() {
                Ok(job) => self.admit(job),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
    }

    /// Begins work, or holds it back while there is no memory for it.
    fn admit(&mut self, job: Job) {
        if job.answers.is_closed() {
            return;
        }
        if !self.has_room(&job.task) {
            self.held = Some(job);
            return;
        }
        let Job { task, answers } = job;
        let tokens = task.tokens(self.model.context());
        match task {
            Task::Generate(request) => self.seat(&request, answers, tokens),
            Task::Reason(request, options) => {
                self.searches.push_back(Search { request, options, answers, tokens });
            }
            Task::Embed(text) => match Embedding::new(self.model, text) {
                Ok(embedding) => self.embeddings.push_back((embedding, answers, tokens)),
                Err(error) => answers.send(Answer::Failed(error)),
            },
        }
    }

    /// Adds a sequence to the batch.
    fn seat(&mut self, request: &Request, answers: Reply, tokens: usize) {
        self.next += 1;
        match self.batch.add(self.next, request) {
            Ok(()) => {
                self.seats.insert(self.next, Seat { answers, part: Part::default(), tokens });
            }
            Err(error) => answers.send(Answer::Failed(error)),
        }
    }

    /// Returns the search whose turn it is. Its memory counts until `running` is 0 again.
    fn next_search(&mut self) -> Option<Search> {
        let search = self.searches.pop_front();
        self.running = search.as_ref().map_or(0, |search| search.tokens);
        search
    }

    fn step(&mut self) {
        let seats = &mut self.seats;
        let ended = self.batch.step(|id, event| {
            if let Some(seat) = seats.get_mut(&id) {
                seat.part.add(event);
            }
            ControlFlow::Continue(())
        });
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // The model cannot be run, and each of them has to know.
                let reason = error.to_string();
                for (id, seat) in seats.drain() {
                    self.batch.remove(id);
                    seat.answers.send(Answer::Failed(Error::Batch(reason.clone())));
                }
                return;
            }
        };
        for seat in seats.values_mut().filter(|seat| !seat.part.is_empty()) {
            // There is room for every token; a receiver that is gone is noticed before the next
            // step.
            seat.answers.send(Answer::Part(std::mem::take(&mut seat.part)));
        }
        for (id, completion) in ended {
            if let Some(seat) = seats.remove(&id) {
                seat.answers.send(completion.map_or_else(Answer::Failed, Answer::Done));
            }
        }
    }

    /// Processes a part of the oldest text to embed.
    fn embed(&mut self) {
        let Some((embedding, answers, _)) = self.embeddings.front_mut() else { return };
        let answer = match embedding.step(self.model, PROMPT_TOKENS) {
            Ok(None) => return,
            Ok(Some(values)) => Answer::Embedding(values),
            Err(error) => Answer::Failed(error),
        };
        answers.send(answer);
        self.embeddings.pop_front();
    }
}

/// The model, for one who reasons: before each of its steps all others make one.
struct Interleaved<'a, 'm, M: LanguageModel> {
    desk: &'a RefCell<Desk<'m, M>>,
    model: &'a M,
    answers: &'a Reply,
}

impl<M: LanguageModel> LanguageModel for Interleaved<'_, '_, M> {
    type Cache = M::Cache;

    fn context(&self) -> usize {
        self.model.context()
    }

    fn vocabulary(&self) -> usize {
        self.model.vocabulary()
    }

    fn new_cache(&self, capacity: usize) -> Result<M::Cache, Error> {
        self.model.new_cache(capacity)
    }

    fn forward(&self, inputs: &mut [SequenceInput<'_, M::Cache>]) -> Result<(), Error> {
        if self.answers.is_closed() {
            return Err(Error::Cancelled);
        }
        self.desk.borrow_mut().serve();
        self.model.forward(inputs)
    }
}
