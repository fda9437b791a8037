// SPDX-License-Identifier: Apache-2.0

//! The thread that owns a model: requests join a batch and leave it between steps.

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
}

impl Reply {
    pub(crate) fn new(answers: Sender<Answer>, measured: GenerationRequest) -> Self {
        Self { answers, measured: RefCell::new(measured) }
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
            reasoning: VecDeque::new(),
            held: None,
            jobs,
            next: 0,
            places,
            tokens,
        });
        loop {
            let reasoning = {
                let mut desk = desk.borrow_mut();
                if desk.is_idle() && !desk.wait() {
                    return;
                }
                desk.serve();
                desk.reasoning.pop_front()
            };
            if let Some((request, search, answers)) = reasoning {
                // Each step of reasoning is followed by one of all others.
                let shared = Interleaved { desk: &desk, model: &model, answers: &answers };
                let told = reason(&shared, &text, &request, &search, |event| {
                    if let SearchEvent::Step(step) = event {
                        answers.send(Answer::Step(step.clone()));
                    }
                });
                answers.send(told.map_or_else(Answer::Failed, Answer::Reasoned));
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

/// All work under way.
struct Desk<'a, M: LanguageModel> {
    model: &'a M,
    batch: Batch<'a, M>,
    seats: HashMap<u64, Seat>,
    embeddings: VecDeque<(Embedding<M::Cache>, Reply)>,
    reasoning: VecDeque<(Request, SearchOptions, Reply)>,
    /// Request that waits for memory.
    held: Option<(Request, Reply)>,
    jobs: Receiver<Job>,
    next: u64,
    places: usize,
    tokens: usize,
}

impl<M: LanguageModel> Desk<'_, M> {
    fn taken(&self) -> usize {
        self.seats.len() + self.embeddings.len() + self.reasoning.len()
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
        self.embeddings.retain(|(_, answers)| !answers.is_closed());
        self.reasoning.retain(|(_, _, answers)| !answers.is_closed());
    }

    fn fill(&mut self) {
        if self.taken() < self.places
            && let Some((request, answers)) = self.held.take()
        {
            self.seat(request, answers);
        }
        while self.held.is_none() && self.taken() < self.places {
            match self.jobs.try_recv() {
                Ok(job) => self.admit(job),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
    }

    fn admit(&mut self, Job { task, answers }: Job) {
        if answers.is_closed() {
            return;
        }
        match task {
            Task::Generate(request) => self.seat(request, answers),
            Task::Reason(request, search) => {
                self.reasoning.push_back((request, search, answers));
            }
            Task::Embed(tokens) => match Embedding::new(self.model, tokens) {
                Ok(embedding) => self.embeddings.push_back((embedding, answers)),
                Err(error) => answers.send(Answer::Failed(error)),
            },
        }
    }

    /// Adds a sequence to the batch, or holds it back while there is no memory for it.
    fn seat(&mut self, request: Request, answers: Reply) {
        let tokens = request.prompt.len().saturating_add(request.max_tokens);
        let tokens = tokens.min(self.model.context());
        let used: usize = self.seats.values().map(|seat| seat.tokens).sum();
        if used > 0 && used.saturating_add(tokens) > self.tokens {
            self.held = Some((request, answers));
            return;
        }
        self.next += 1;
        match self.batch.add(self.next, &request) {
            Ok(()) => {
                self.seats.insert(self.next, Seat { answers, part: Part::default(), tokens });
            }
            Err(error) => answers.send(Answer::Failed(error)),
        }
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
        let Some((embedding, answers)) = self.embeddings.front_mut() else { return };
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
