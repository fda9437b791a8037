// SPDX-License-Identifier: Apache-2.0

//! Generation of one sequence, token by token.

use crate::{
    Affect, Error,
    constraint::Constraint,
    controls::Controls,
    language_model::{LanguageModel, Prediction, SequenceCache, SequenceInput},
    report::TokenReport,
    sampler::{Sampler, Sampling, entropy, log_probability},
    stream::TextStream,
    text::TextTokenizer,
    tools::{ToolCall, ToolCallDetector},
};
use std::{ops::ControlFlow, sync::Arc};

/// Bytes across which no repeated sequence goes: they end sentences, quotations, and names of those
/// who speak.
const SEQUENCE_BREAKS: [u8; 4] = *b"\n:\"*";

/// Numbers of last tokens by which the next ones are guessed, the best first.
const GUESSING_TOKENS: [usize; 3] = [4, 3, 2];

/// Fewest tokens of a prompt that are taken over without the rest: a block of keys and values.
const MIN_COMMON_TOKENS: usize = 16;

/// Most tokens that are read ahead, whatever a request asks for. Each takes memory of a prediction.
pub const MAX_READ_AHEAD: usize = 64;

/// Request for a continuation of a prompt.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Tokens of the prompt; at least one.
    pub prompt: Vec<u32>,
    /// Largest number of tokens to generate, results of tools included.
    pub max_tokens: usize,
    /// Sampling parameters.
    pub sampling: Sampling,
    /// Controls beside them.
    pub controls: Controls,
    /// Number that separates the draws of requests with the same seed.
    pub stream: u64,
    /// Strings before which the text ends.
    pub stop: Vec<String>,
    /// Set if the model may call tools. It may not in a text with a constraint.
    pub tools: bool,
    /// Constraint of the text to a form.
    pub constraint: Option<Constraint>,
    /// Set if generation continues after a token that ends a text.
    pub ignore_end: bool,
    /// Strength, 0 to 1, with which surprise changes the temperature: the sensitivity of
    /// [`Affect::temperature`].
    pub sensitivity: f64,
    /// Number of likeliest tokens in the report of each drawn token; `None` for no reports.
    pub reports: Option<usize>,
    /// Most tokens, up to [`MAX_READ_AHEAD`], that are read ahead because the text had them before,
    /// which changes no output. It saves time where a text repeats itself, if the model is
    /// [divisible](LanguageModel::is_divisible) and no other sequence is generated with it.
    pub read_ahead: usize,
}

/// Reason for the end of a text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model generated a token that ends a text, or the form of the text is complete.
    End,
    /// The text reached this stop string.
    Stop(String),
    /// The text has the requested number of tokens.
    Length,
    /// The context of the model is full.
    Context,
    /// The callback asked to stop.
    Cancelled,
}

/// Event of a running generation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// Report of a drawn token, before its text. A token that ends the text has none.
    Token(&'a TokenReport),
    /// Text that will not change, in whole characters.
    Text(&'a str),
    /// The model called a tool. The result follows as text.
    Call(&'a ToolCall),
}

/// Result of a request.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Completion {
    /// Generated text, without the prompt and without a stop string.
    pub text: String,
    /// Number of generated tokens, results of tools included.
    pub tokens: usize,
    /// Calls of tools, in order.
    pub calls: Vec<ToolCall>,
    /// Reason for the end.
    pub finish: FinishReason,
    /// Affect after the last token; `None` if the request has neither sensitivity nor reports.
    pub affect: Option<Affect>,
}

/// Processes the pending tokens of each sequence.
pub(super) fn read<'a, M: LanguageModel>(
    model: &M,
    sequences: impl Iterator<Item = &'a mut Sequence<M::Cache>>,
) -> Result<(), Error>
where
    M::Cache: 'a,
{
    let mut inputs: Vec<_> = sequences
        .map(|sequence| SequenceInput {
            cache: &mut sequence.cache,
            tokens: &sequence.pending,
            prediction: &mut sequence.prediction,
        })
        .collect();
    model.forward(&mut inputs)
}

/// State of a sequence under generation.
pub(super) struct Sequence<P> {
    pub(super) cache: P,
    pub(super) prediction: Prediction,
    prompt: Arc<[u32]>,
    /// Tokens that the model has not processed.
    pub(super) pending: Vec<u32>,
    pub(super) sampler: Sampler,
    pub(super) stream: TextStream,
    watch: Option<ToolCallDetector>,
    pub(super) constraint: Option<Constraint>,
    ignore_end: bool,
    pub(super) text: String,
    calls: Vec<ToolCall>,
    /// Number of generated tokens, and its limit.
    pub(super) written: usize,
    pub(super) limit: usize,
    /// Bytes of the last token that went into the stream.
    last: Vec<u8>,
    pub(super) finish: Option<FinishReason>,
    /// Sum of the values of tokens, if reasoning values them.
    pub(super) value: Option<f64>,
    /// Affect, the temperature without it, and the sensitivity.
    affect: Option<(Affect, f32, f64)>,
    /// Number of likeliest tokens in reports.
    reports: Option<usize>,
    /// All tokens so far, if any are read ahead, and the most that are.
    history: Vec<u32>,
    read_ahead: usize,
}

impl<P: SequenceCache> Sequence<P> {
    pub(super) fn new<M: LanguageModel<Cache = P>>(
        model: &M,
        text: &TextTokenizer,
        request: &Request,
    ) -> Result<Self, Error> {
        let (tokens, context) = (request.prompt.len(), model.context());
        if request.prompt.is_empty() {
            return Err(Error::Empty);
        }
        if tokens >= context {
            return Err(Error::Prompt { tokens, context });
        }
        let vocabulary = model.vocabulary();
        if let Some(&token) = request.prompt.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::Token { token, vocabulary });
        }
        let breaks = |token| text.bytes(token).iter().any(|byte| SEQUENCE_BREAKS.contains(byte));
        let mut sampler = Sampler::new(request.sampling, request.stream)?.with_controls(
            request.controls.clone(),
            vocabulary,
            breaks,
        )?;
        for token in &request.prompt {
            sampler.accept_or_end(*token, text.ends());
        }
        Ok(Self {
            cache: model.new_cache(tokens.saturating_add(request.max_tokens).min(context))?,
            prediction: Prediction::default(),
            prompt: request.prompt.as_slice().into(),
            pending: request.prompt.clone(),
            sampler,
            stream: TextStream::new(&request.stop),
            // Results of tools would break the form.
            watch: (request.tools && request.constraint.is_none()).then(ToolCallDetector::default),
            ignore_end: request.ignore_end && request.constraint.is_none(),
            constraint: request.constraint.clone(),
            text: String::new(),
            calls: Vec::new(),
            written: 0,
            limit: request.max_tokens,
            last: Vec::new(),
            finish: (request.max_tokens == 0).then_some(FinishReason::Length),
            value: None,
            affect: (request.sensitivity > 0.0 || request.reports.is_some())
                .then(|| (Affect::default(), request.sampling.temperature, request.sensitivity)),
            reports: request.reports,
            history: if request.read_ahead > 0 { request.prompt.clone() } else { Vec::new() },
            read_ahead: request.read_ahead.min(MAX_READ_AHEAD),
        })
    }

    /// Copies the sequence, to continue it with the draws of `stream`.
    pub(super) fn fork(&self, stream: u64) -> Result<Self, Error> {
        let mut sampler = self.sampler.clone();
        sampler.restart(stream);
        Ok(Self {
            cache: self.cache.fork()?,
            prediction: self.prediction.clone(),
            prompt: Arc::clone(&self.prompt),
            pending: self.pending.clone(),
            sampler,
            stream: self.stream.clone(),
            watch: self.watch.clone(),
            constraint: self.constraint.clone(),
            text: self.text.clone(),
            calls: self.calls.clone(),
            last: self.last.clone(),
            finish: self.finish.clone(),
            history: self.history.clone(),
            ..*self
        })
    }

    /// Returns `true` if the model has processed so many tokens.
    pub(super) fn has_read(&self, tokens: usize) -> bool {
        self.cache.len() >= tokens
    }

    /// Returns the number of tokens of its prompt that `other` can take over before it begins, once
    /// this sequence has processed them. Without `is_divisible` it is the whole prompt or none.
    pub(super) fn common_tokens(&self, other: &Self, is_divisible: bool) -> usize {
        if !other.cache.is_empty() {
            return 0;
        }
        let is_divisible = is_divisible && self.cache.prefix(0, 0).is_some();
        let fits = is_divisible || self.cache.capacity() == other.cache.capacity();
        if fits && !self.has_read(self.prompt.len()) && self.prompt == other.prompt {
            return other.prompt.len();
        }
        // The last token is processed in any case, for the prediction after it.
        let pairs = self.prompt.iter().zip(&other.prompt[..other.prompt.len() - 1]);
        let common = pairs.take_while(|(own, other)| own == other).count();
        if is_divisible && common >= MIN_COMMON_TOKENS { common } else { 0 }
    }

    /// Takes over the first `tokens` tokens of the prompt from `other`, which has processed them.
    /// If that is the whole prompt, `other` has written nothing yet.
    pub(super) fn take_prompt(&mut self, other: &Self, tokens: usize) -> Result<(), Error> {
        match other.cache.prefix(tokens, self.cache.capacity()) {
            Some(cache) => self.cache = cache,
            // Such a cache is taken over whole.
            None => self.cache.copy_from(&other.cache)?,
        }
        self.pending.drain(..tokens);
        if self.pending.is_empty() {
            self.prediction = other.prediction.clone();
        }
        Ok(())
    }

    /// Returns the number of tokens that still fit into the cache.
    fn room(&self) -> usize {
        self.cache.capacity().saturating_sub(self.cache.len() + self.pending.len())
    }

    /// Appends tokens that the model did not choose, if they and one more fit. Otherwise the
    /// sequence ends, and the result is `false`.
    pub(super) fn insert(&mut self, tokens: &[u32]) -> bool {
        if self.written + tokens.len() > self.limit {
            self.finish = Some(FinishReason::Length);
        } else if tokens.len() >= self.room() {
            self.finish = Some(FinishReason::Context);
        } else {
            self.written += tokens.len();
            self.pending.extend_from_slice(tokens);
            tokens.iter().for_each(|&token| self.sampler.accept(token));
            self.remember(tokens);
            return true;
        }
        false
    }

    /// Records tokens, if any are read ahead.
    fn remember(&mut self, tokens: &[u32]) {
        if self.read_ahead > 0 {
            self.history.extend_from_slice(tokens);
        }
    }

    /// Returns tokens that may follow the pending one: those that followed where the text had the
    /// same last tokens before, again and again.
    pub(super) fn guess(&self) -> Vec<u32> {
        if self.pending.len() != 1 || self.cache.is_empty() {
            return Vec::new();
        }
        let most = self.read_ahead.min(self.room()).min(self.limit.saturating_sub(self.written));
        let known = self.history.len().saturating_sub(1);
        let next = GUESSING_TOKENS.iter().find_map(|&count| {
            let last = &self.history[self.history.len().checked_sub(count)?..];
            let found = self.history[..known].windows(count).rposition(|window| window == last)?;
            Some(&self.history[found + count..])
        });
        next.map(|next| next.iter().copied().cycle().take(most).collect()).unwrap_or_default()
    }

    /// Returns `true` if guesses that are not drawn can be taken out of the cache again.
    pub(super) fn can_take_back(&mut self) -> bool {
        let len = self.cache.len();
        self.cache.set_len(len)
    }

    /// Writes tokens as [`write`](Self::write) does, as long as they are those that were guessed.
    /// `predictions` are those after the pending token and after each guess, all of which the model
    /// has processed.
    pub(super) fn write_guessed(
        &mut self,
        text: &TextTokenizer,
        guess: &[u32],
        predictions: Vec<Prediction>,
        on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let processed = self.cache.len() - guess.len();
        for (index, prediction) in predictions.into_iter().enumerate() {
            // Guesses behind this prediction count once they are drawn.
            self.cache.set_len(processed + index);
            self.prediction = prediction;
            self.write(text, on)?;
            let is_guessed = guess.get(index).is_some_and(|token| self.pending == [*token]);
            if self.finish.is_some() || !is_guessed {
                break;
            }
        }
        Ok(())
    }

    /// Draws a token, and returns it with its report if there is one.
    fn draw(&mut self) -> Result<(u32, Option<TokenReport>), Error> {
        // Masks and the sampler change logits in place.
        let is_watched = self.value.is_some() || self.affect.is_some() || self.reports.is_some();
        let logits = is_watched.then(|| self.prediction.logits.clone());
        if let Some(constraint) = &mut self.constraint {
            constraint.apply(&mut self.prediction.logits)?;
        }
        let token = self.sampler.sample(&mut self.prediction.logits)?;
        let Some(logits) = logits else { return Ok((token, None)) };
        let expected = self.prediction.expected_loss.map(f64::from);
        if let Some(value) = &mut self.value {
            *value += expected.map_or_else(|| log_probability(&logits, token), |loss| -loss);
        }
        if let Some((affect, temperature, sensitivity)) = &mut self.affect {
            affect.observe(
                expected.unwrap_or_else(|| entropy(&logits)),
                -log_probability(&logits, token),
            );
            let temperature = affect.temperature((*temperature).into(), *sensitivity);
            self.sampler.set_temperature(temperature as f32);
        }
        let report = self.reports.map(|top| TokenReport::new(&logits, token, expected, top));
        Ok((token, report))
    }

    /// Draws and appends a token. All pending tokens must have been processed.
    pub(super) fn write(
        &mut self,
        text: &TextTokenizer,
        on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.pending.clear();
        let (token, report) = self.draw()?;
        if !self.ignore_end && text.ends().contains(&token) {
            self.finish = Some(FinishReason::End);
            return self.finished(on);
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
        }
        self.sampler.accept_drawn(token, text.ends());
        self.remember(&[token]);
        self.written += 1;
        self.pending.push(token);
        let is_first = self.written == 1;
        let mut bytes = if is_first { text.first_bytes(token) } else { text.bytes(token) };
        if bytes.is_empty() && self.stream.stop_at(|stop| text.is_special(token, stop)) {
            // A special token has no text, so that its name never comes as one.
            self.finish = self.stream.stopped().map(|stop| FinishReason::Stop(stop.into()));
            return self.finished(on);
        }
        let called = self.watch.as_mut().and_then(|watch| watch.push(bytes));
        if let Some((_, used)) = called
            && used < bytes.len()
        {
            // The model continued past the marker without the result, so that part is discarded.
            bytes = &bytes[..used];
            self.pending = text.encode(&String::from_utf8_lossy(bytes))?;
        }
        self.last = bytes.to_vec();
        let mut heard = match &report {
            Some(report) => on(Event::Token(report)),
            None => ControlFlow::Continue(()),
        };
        if heard.is_continue() {
            heard = self.show(bytes, on);
        }
        if let Some((call, _)) = called
            && self.stream.stopped().is_none()
        {
            let inserted = call.inserted();
            if heard.is_continue() {
                heard = on(Event::Call(&call));
            }
            self.calls.push(call);
            if self.insert(&text.encode(&inserted)?) && heard.is_continue() {
                heard = self.show(inserted.as_bytes(), on);
            }
        }
        if heard.is_break() {
            self.finish = Some(FinishReason::Cancelled);
        } else if let Some(stop) = self.stream.stopped() {
            self.finish = Some(FinishReason::Stop(stop.into()));
        } else if self.constraint.as_ref().is_some_and(Constraint::is_complete) {
            self.finish = Some(FinishReason::End);
        } else if self.finish.is_none() && self.written >= self.limit {
            self.finish = Some(FinishReason::Length);
        } else if self.finish.is_none() && self.room() == 0 {
            self.finish = Some(FinishReason::Context);
        }
        if self.finish.is_some() { self.finished(on) } else { Ok(()) }
    }

    fn show(
        &mut self,
        bytes: &[u8],
        on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let certain = self.stream.push(bytes);
        self.text += &certain;
        if certain.is_empty() { ControlFlow::Continue(()) } else { on(Event::Text(&certain)) }
    }

    /// Emits the bytes that the stream withheld.
    fn finished(&mut self, on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>) -> Result<(), Error> {
        let rest = self.stream.finish();
        self.text += &rest;
        if !rest.is_empty()
            && self.finish != Some(FinishReason::Cancelled)
            && on(Event::Text(&rest)).is_break()
        {
            self.finish = Some(FinishReason::Cancelled);
        }
        Ok(())
    }

    /// Removes the part of the last token from its line break on, so that another line can follow.
    pub(super) fn cut_line(&mut self, text: &TextTokenizer) -> Result<(), Error> {
        if let Some(end) = self.last.iter().position(|&byte| byte == b'\n') {
            self.pending = text.encode(&String::from_utf8_lossy(&self.last[..end]))?;
        }
        Ok(())
    }

    pub(super) fn complete(self) -> Completion {
        Completion {
            text: self.text,
            tokens: self.written,
            calls: self.calls,
            finish: self.finish.unwrap_or(FinishReason::Length),
            affect: self.affect.map(|(affect, ..)| affect),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{generate, text::tests::BYTES};
    use std::cell::RefCell;

    /// Writes `script` whatever it reads: the token after `n` tokens is the script's `n`th, behind
    /// the prompt.
    pub(crate) struct Scripted {
        pub(crate) script: Vec<u32>,
        /// Processed tokens, in order.
        pub(crate) seen: RefCell<Vec<u32>>,
    }

    pub(crate) struct Count {
        len: usize,
        capacity: usize,
        /// Tokens of the script that have been given.
        given: usize,
    }

    impl LanguageModel for Scripted {
        type Cache = Count;

        fn context(&self) -> usize {
            200
        }

        fn vocabulary(&self) -> usize {
            260
        }

        fn new_cache(&self, capacity: usize) -> Result<Count, Error> {
            Ok(Count { len: 0, capacity, given: 0 })
        }

        fn forward(&self, inputs: &mut [SequenceInput<'_, Count>]) -> Result<(), Error> {
            crate::language_model::check(inputs, 260)?;
            for input in inputs {
                input.cache.len += input.tokens.len();
                self.seen.borrow_mut().extend_from_slice(input.tokens);
                let next = self.script.get(input.cache.given).copied().unwrap_or(257);
                input.cache.given += 1;
                input.prediction.logits = vec![0.0; 260];
                input.prediction.logits[next as usize] = 9.0;
            }
            Ok(())
        }
    }

    impl SequenceCache for Count {
        fn len(&self) -> usize {
            self.len
        }

        fn capacity(&self) -> usize {
            self.capacity
        }

        fn fork(&self) -> Result<Self, Error> {
            Ok(Self { ..*self })
        }
    }

    pub(crate) fn scripted(script: &str) -> Scripted {
        Scripted { script: BYTES.encode(script).unwrap(), seen: RefCell::default() }
    }

    fn request(prompt: &str) -> Request {
        let sampling = Sampling { temperature: 0.0, ..Default::default() };
        Request {
            prompt: BYTES.encode(prompt).unwrap(),
            max_tokens: 100,
            sampling,
            ..Default::default()
        }
    }

    fn write(model: &Scripted, request: Request) -> (Completion, String) {
        let mut heard = String::new();
        let done = generate(model, &BYTES, &[request], |_, event| {
            match event {
                Event::Text(text) => heard += text,
                Event::Call(call) => heard += &format!("[{}]", call.asked),
                Event::Token(_) => {}
            }
            ControlFlow::Continue(())
        });
        (done.unwrap().remove(0), heard)
    }

    #[test]
    fn a_text_ends_where_it_should() {
        let ends = |request| {
            let (done, heard) = write(&scripted("Grüße, Welt.\nEND of it"), request);
            assert_eq!(done.text, heard);
            (done.text, done.finish, done.tokens)
        };
        assert_eq!(ends(request("x")), ("Grüße, Welt.\nEND of it".into(), FinishReason::End, 24));
        assert_eq!(
            ends(Request { max_tokens: 3, ..request("x") }),
            ("Gr\u{fffd}".into(), FinishReason::Length, 3)
        );
        assert_eq!(
            ends(Request { max_tokens: 0, ..request("x") }),
            (String::new(), FinishReason::Length, 0)
        );
        let stop = vec!["\nEND".to_owned()];
        assert_eq!(
            ends(Request { stop: stop.clone(), ..request("x") }),
            ("Grüße, Welt.".into(), FinishReason::Stop("\nEND".into()), 18)
        );
        // A stop string that does not come whole is text.
        assert_eq!(
            ends(Request { stop, max_tokens: 17, ..request("x") }),
            ("Grüße, Welt.\nEN".into(), FinishReason::Length, 17)
        );
        let long = request(&"y".repeat(190));
        assert_eq!(ends(long), ("Grüße, W".into(), FinishReason::Context, 10));
        assert_eq!(ends(Request { ignore_end: true, max_tokens: 30, ..request("x") }).2, 30);
    }

    #[test]
    fn the_end_of_a_turn_is_no_repetition() {
        let sampling = Sampling { temperature: 0.0, repetition_penalty: 9.0, ..Default::default() };
        let prompt = [vec![259], BYTES.encode("x").unwrap()].concat();
        // The end scores 9 and the runner-up 2, to which a penalised end would lose.
        let model = Scripted { script: vec![259], seen: RefCell::default() };
        let mut sequence =
            Sequence::new(&model, &BYTES, &Request { prompt, sampling, ..request("x") }).unwrap();
        sequence.prediction.logits = vec![0.0; 260];
        sequence.prediction.logits[259] = 9.0;
        sequence.prediction.logits[usize::from(b'y')] = 2.0;
        sequence.write(&BYTES, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(sequence.finish, Some(FinishReason::End));
        sequence.ignore_end = true;
        for _ in 0..2 {
            sequence.write(&BYTES, &mut |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(sequence.pending, [259]);
        }
    }

    #[test]
    fn a_special_token_can_be_a_stop_string() {
        let script = [BYTES.encode("ab").unwrap(), vec![258], BYTES.encode("c").unwrap()].concat();
        let model = || Scripted { script: script.clone(), seen: RefCell::default() };
        let stop = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let ends = |request| {
            let (done, heard) = write(&model(), request);
            assert_eq!(done.text, heard);
            (done.text, done.finish)
        };
        let stopped = ("ab".to_owned(), FinishReason::Stop("<|im_start|>".into()));
        let request = || request("x");
        assert_eq!(ends(Request { stop: stop(&["z", "<|im_start|>"]), ..request() }), stopped);
        assert_eq!(ends(Request { stop: stop(&["<|im"]), ..request() }).0, "abc");
        // What the stream withheld as the start of another stop string is text.
        assert_eq!(ends(Request { stop: stop(&["bz", "<|im_start|>"]), ..request() }), stopped);
    }

    #[test]
    fn a_prompt_that_cannot_be_continued_is_an_error() {
        let fail = |prompt: &str| {
            generate(&scripted("a"), &BYTES, &[request(prompt)], |_, _| ControlFlow::Continue(()))
                .unwrap_err()
        };
        assert!(matches!(fail(&"y".repeat(200)), Error::Prompt { tokens: 200, context: 200 }));
        assert!(matches!(fail(""), Error::Empty));
        let control =
            Request { sampling: Sampling { top_p: 7.0, ..Default::default() }, ..request("x") };
        assert!(matches!(
            generate(&scripted("a"), &BYTES, &[control], |_, _| ControlFlow::Continue(())),
            Err(Error::Sampling(_))
        ));
    }

    #[test]
    fn results_are_inserted_where_tools_are_called() {
        let model = scripted("So <<calc: 6*7>>, see");
        let (done, heard) = write(&model, Request { tools: true, ..request("x") });
        assert_eq!(done.text, "So <<calc: 6*7>> = 42, see");
        assert_eq!(heard, "So <<calc: 6*7>>[calc: 6*7] = 42, see");
        assert_eq!(done.calls, [ToolCall::run("calc: 6*7")]);
        // The model has read the result where it stands.
        let read: Vec<u8> =
            model.seen.borrow().iter().flat_map(|&token| BYTES.bytes(token).to_vec()).collect();
        assert_eq!(read, b"xSo <<calc: 6*7>> = 42, see");
        let (done, _) = write(&scripted("<<calc: 1>>."), Request { tools: false, ..request("x") });
        assert_eq!((done.text.as_str(), done.calls.len()), ("<<calc: 1>>.", 0));
        // No room for the result.
        let (done, _) = write(
            &scripted("<<calc: 1>>."),
            Request { tools: true, max_tokens: 12, ..request("x") },
        );
        assert_eq!((done.text.as_str(), done.finish), ("<<calc: 1>>", FinishReason::Length));
    }

    #[test]
    fn surprise_is_recorded_and_cools() {
        let sampling = Sampling { temperature: 1.0, ..Default::default() };
        let run = |sensitivity| {
            write(&scripted(&"a".repeat(60)), Request { sampling, sensitivity, ..request("x") }).0
        };
        assert_eq!(run(0.0).affect, None);
        // At score 9 of 260 tokens the expected is drawn 31 times of 32, and seldom something else.
        let affect = run(1.0).affect.unwrap();
        assert!(affect.arousal() > 0.0 && affect.valence().abs() <= affect.arousal());
    }

    #[test]
    fn whoever_listens_may_break_off() {
        let mut count = 0;
        let done =
            generate(&scripted("abcdef"), &BYTES, &[request("x"), request("yz")], |index, _| {
                count += usize::from(index == 0);
                if count == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        let texts: Vec<_> =
            done.unwrap().into_iter().map(|done| (done.text, done.finish)).collect();
        assert_eq!(
            texts,
            [("abc".into(), FinishReason::Cancelled), ("abc".into(), FinishReason::Cancelled)]
        );
    }
}
