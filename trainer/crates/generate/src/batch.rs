// SPDX-License-Identifier: Apache-2.0

//! Sequences that are generated together, and that join and leave between steps (continuous
//! batching; Yu et al. 2022, "Orca: A Distributed Serving System for Transformer-Based Generative
//! Models").

use crate::{
    Error,
    language_model::{LanguageModel, Prediction, SequenceInput},
    sequence::{Completion, Event, Request, Sequence},
    text::TextTokenizer,
};
use std::ops::ControlFlow;

/// Generates continuations of all `requests` at once.
///
/// `on` receives each event with the index of its request. If it returns [`ControlFlow::Break`],
/// that text ends with [`FinishReason::Cancelled`](crate::FinishReason::Cancelled).
///
/// # Errors
///
/// Fails if a prompt is empty or fills the context, if a sampling parameter is out of range, or if
/// the model or the tokenizer fails.
pub fn generate<M: LanguageModel>(
    model: &M,
    text: &TextTokenizer,
    requests: &[Request],
    mut on: impl FnMut(usize, Event<'_>) -> ControlFlow<()>,
) -> Result<Vec<Completion>, Error> {
    let mut batch = Batch::new(model, text);
    for (id, request) in (0..).zip(requests) {
        batch.add(id, request)?;
    }
    let mut completions = Vec::new();
    while !batch.is_empty() {
        for (id, completion) in batch.step(|id, event| on(id as usize, event))? {
            completions.push((id, completion?));
        }
    }
    completions.sort_unstable_by_key(|&(id, _)| id);
    Ok(completions.into_iter().map(|(_, completion)| completion).collect())
}

/// Guessed tokens, with the predictions before, between, and behind them.
type Guess = (Vec<u32>, Vec<Prediction>);

/// Sequence from which another one takes over the first tokens of its prompt.
#[derive(Clone, Copy)]
struct Leader {
    /// Place in the batch, before that of the other sequence.
    index: usize,
    /// Number of tokens.
    tokens: usize,
}

/// Sequences that are generated together. Each step draws a token of each.
///
/// A step reads the parameters of the model once for all sequences. The text of a sequence is that
/// of [`generate`](crate::generate()), whatever else is in the batch. Beginnings that prompts have
/// in common are processed once.
pub struct Batch<'a, M: LanguageModel> {
    model: &'a M,
    text: &'a TextTokenizer,
    sequences: Vec<(u64, Sequence<M::Cache>)>,
    /// Largest number of prompt tokens of a step.
    prompt_tokens: usize,
}

/// Sequence that ended, by its name, with its text.
pub type Ended = (u64, Result<Completion, Error>);

impl<'a, M: LanguageModel> Batch<'a, M> {
    /// Creates an empty batch.
    pub fn new(model: &'a M, text: &'a TextTokenizer) -> Self {
        Self { model, text, sequences: Vec::new(), prompt_tokens: usize::MAX }
    }

    /// Divides prompts, so that a step processes at most `tokens` of them and a long prompt delays
    /// other sequences less. Nothing changes for a model whose predictions depend on the division.
    #[must_use]
    pub fn with_prompt_tokens(mut self, tokens: usize) -> Self {
        if self.model.is_divisible() {
            self.prompt_tokens = tokens.max(1);
        }
        self
    }

    /// Adds a sequence with the name `id`.
    ///
    /// # Errors
    ///
    /// Fails if the prompt is empty, fills the context, or has a token outside the vocabulary, if a
    /// sampling parameter is out of range, or if memory cannot be allocated.
    pub fn add(&mut self, id: u64, request: &Request) -> Result<(), Error> {
        self.sequences.push((id, Sequence::new(self.model, self.text, request)?));
        Ok(())
    }

    /// Removes the sequence `id`, which frees its memory.
    pub fn remove(&mut self, id: u64) {
        self.sequences.retain(|(other, _)| *other != id);
    }

    /// Returns the number of sequences.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Returns `true` if there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Draws the next token of each sequence whose prompt is processed, and returns the sequences
    /// that ended, which leave the batch.
    ///
    /// `on` receives each event with the name of its sequence. If it returns
    /// [`ControlFlow::Break`], that sequence ends with
    /// [`FinishReason::Cancelled`](crate::FinishReason::Cancelled).
    ///
    /// # Errors
    ///
    /// Fails if the model cannot be run. The batch is of no use after that.
    pub fn step(
        &mut self,
        mut on: impl FnMut(u64, Event<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Ended>, Error> {
        let mut ended: Vec<Ended> = Vec::new();
        let finished = |(_, sequence): &mut (u64, Sequence<_>)| sequence.finish.is_some();
        let complete = |(id, sequence): (u64, Sequence<_>)| (id, Ok(sequence.complete()));
        ended.extend(self.sequences.extract_if(.., finished).map(complete));
        let ahead = self.read_ahead()?;
        if let (Some((guess, predictions)), [(id, sequence)]) = (ahead, &mut self.sequences[..]) {
            let on = &mut |event: Event<'_>| on(*id, event);
            let written = sequence.write_guessed(self.text, &guess, predictions, on);
            ended.extend(written.err().map(|error| (*id, Err(error))));
        } else {
            let mut leaders = self.leaders();
            self.share_prompts(&mut leaders)?;
            let shares = self.shares(&leaders);
            self.read(&shares)?;
            self.share_prompts(&mut leaders)?;
            for ((id, sequence), share) in self.sequences.iter_mut().zip(shares) {
                if share < sequence.pending.len() {
                    sequence.pending.drain(..share);
                } else if let Err(error) = sequence.write(self.text, &mut |event| on(*id, event)) {
                    ended.push((*id, Err(error)));
                }
            }
        }
        self.sequences.retain(|(id, _)| !ended.iter().any(|(other, _)| other == id));
        ended.extend(self.sequences.extract_if(.., finished).map(complete));
        Ok(ended)
    }

    /// Returns for each sequence the earlier one from which it takes over most tokens. As leaders
    /// are earlier and chosen anew in each step, the first one that waits always goes on.
    fn leaders(&self) -> Vec<Option<Leader>> {
        let is_divisible = self.model.is_divisible();
        let leader = |(index, (_, sequence)): (usize, &(u64, Sequence<M::Cache>))| {
            let earlier = self.sequences[..index].iter().enumerate();
            let leaders = earlier.map(|(index, (_, other))| Leader {
                index,
                tokens: other.common_tokens(sequence, is_divisible),
            });
            // Of equals, the first one has processed most. It comes last here, and so it is taken.
            leaders.rev().filter(|leader| leader.tokens > 0).max_by_key(|leader| leader.tokens)
        };
        self.sequences.iter().enumerate().map(leader).collect()
    }

    /// Returns the number of pending tokens of each sequence that the next step processes.
    fn shares(&self, leaders: &[Option<Leader>]) -> Vec<usize> {
        let mut left = self.prompt_tokens;
        let share = |((_, sequence), leader): (&(u64, Sequence<M::Cache>), &Option<Leader>)| {
            let pending = sequence.pending.len();
            if leader.is_some() {
                return 0;
            } else if pending == 1 {
                return 1;
            }
            let share = pending.min(left);
            left -= share;
            share
        };
        self.sequences.iter().zip(leaders).map(share).collect()
    }

    /// Gives beginnings of prompts that leaders have processed to the sequences that wait for them,
    /// which have no leader any more. They share the memory of keys and values.
    fn share_prompts(&mut self, leaders: &mut [Option<Leader>]) -> Result<(), Error> {
        for (index, waits) in leaders.iter_mut().enumerate() {
            let Some(leader) = *waits else { continue };
            let (before, after) = self.sequences.split_at_mut(index);
            if let (Some((_, other)), Some((_, sequence))) =
                (before.get(leader.index), after.first_mut())
                && other.has_read(leader.tokens)
            {
                sequence.take_prompt(other, leader.tokens)?;
                *waits = None;
            }
        }
        Ok(())
    }

    /// Processes the pending token of the only sequence and guesses of those after it. Returns the
    /// guesses with the predictions before, between, and behind them; `None` without a guess.
    fn read_ahead(&mut self) -> Result<Option<Guess>, Error> {
        let [(_, sequence)] = &mut self.sequences[..] else { return Ok(None) };
        let guess = sequence.guess();
        if guess.is_empty() || !self.model.is_divisible() || !sequence.can_take_back() {
            return Ok(None);
        }
        let tokens = [sequence.pending.as_slice(), &guess].concat();
        let mut predictions = vec![Prediction::default(); tokens.len()];
        self.model.forward_each(&mut sequence.cache, &tokens, &mut predictions)?;
        Ok(Some((guess, predictions)))
    }

    /// Processes these numbers of pending tokens. Meanwhile other threads compute which tokens may
    /// follow in texts of a given form.
    fn read(&mut self, shares: &[usize]) -> Result<(), Error> {
        let (mut inputs, mut constraints) = (Vec::new(), Vec::new());
        let sequences = self.sequences.iter_mut().zip(shares).filter(|(_, share)| **share > 0);
        for ((_, sequence), &share) in sequences {
            let Sequence { cache, prediction, pending, constraint, .. } = sequence;
            constraints.extend(constraint);
            inputs.push(SequenceInput { cache, tokens: &pending[..share], prediction });
        }
        if inputs.is_empty() {
            return Ok(());
        }
        rayon::in_place_scope(|scope| {
            for constraint in constraints {
                scope.spawn(move |_| constraint.prepare());
            }
            self.model.forward(&mut inputs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        FinishReason, NativeCache, NativeModel, Sampling, TokenReport,
        sequence::tests::{Count, Scripted, scripted},
        text::tests::BYTES,
    };
    use pol_model::initial_parameters;
    use pol_primitives::model::ModelSpec;
    use std::{cell::Cell, collections::HashMap};

    fn model() -> NativeModel {
        let spec = ModelSpec::gpt2(260, 32, 2, 4, 64, 96);
        let flat: Vec<f32> =
            initial_parameters(&spec, &[5; 32]).into_iter().map(|value| value * 6.0).collect();
        NativeModel::new(&spec, &flat, 2).unwrap()
    }

    fn request(prompt: &str, stream: u64) -> Request {
        Request {
            prompt: BYTES.encode(prompt).unwrap(),
            max_tokens: 12 + stream as usize,
            sampling: Sampling { temperature: 1.2, top_p: 0.9, seed: 3, ..Sampling::default() },
            stream,
            ignore_end: true,
            sensitivity: 0.5,
            reports: Some(2),
            ..Request::default()
        }
    }

    /// Text, reports, and affect of a sequence, which show each bit of its predictions.
    type Record = (Vec<TokenReport>, Option<Completion>);

    fn record(records: &mut HashMap<u64, Record>, id: u64, event: Event<'_>) -> ControlFlow<()> {
        if let Event::Token(report) = event {
            records.entry(id).or_default().0.push(report.clone());
        }
        ControlFlow::Continue(())
    }

    fn alone(model: &NativeModel, request: &Request) -> Record {
        let mut records = HashMap::new();
        let done = generate(model, &BYTES, std::slice::from_ref(request), |_, event| {
            record(&mut records, 0, event)
        });
        (records.remove(&0).unwrap().0, done.unwrap().pop())
    }

    #[test]
    fn neither_company_nor_arrival_nor_the_division_of_prompts_changes_a_bit() {
        let model = model();
        let long = "long ".repeat(11);
        let longer = format!("{long}road");
        let prompts = ["a", "another text", &long, "b", &long, "", &longer, &long[..30], "the end"];
        let requests: Vec<Request> = prompts
            .iter()
            .zip(0..)
            .map(|(prompt, stream)| request(&format!("x{prompt}"), stream))
            .collect();
        let mut batch = Batch::new(&model, &BYTES).with_prompt_tokens(7);
        let mut records: HashMap<u64, Record> = HashMap::new();
        let mut waiting = requests.iter().zip(0..);
        let mut steps = 0;
        loop {
            // One more sequence arrives at every third step, while others end.
            if steps % 3 == 0
                && let Some((request, id)) = waiting.next()
            {
                batch.add(id, request).unwrap();
            }
            if batch.is_empty() {
                break;
            }
            for (id, done) in batch.step(|id, event| record(&mut records, id, event)).unwrap() {
                records.entry(id).or_default().1 = Some(done.unwrap());
            }
            steps += 1;
        }
        for (request, id) in requests.iter().zip(0..) {
            assert_eq!(records[&id], alone(&model, request), "sequence {id}");
        }
    }

    /// A model that counts how often its parameters are read.
    struct Counted<'a> {
        model: &'a NativeModel,
        passes: Cell<usize>,
        tokens: Cell<usize>,
    }

    impl LanguageModel for Counted<'_> {
        type Cache = NativeCache;

        fn context(&self) -> usize {
            self.model.context()
        }

        fn vocabulary(&self) -> usize {
            self.model.vocabulary()
        }

        fn is_divisible(&self) -> bool {
            self.model.is_divisible()
        }

        fn new_cache(&self, capacity: usize) -> Result<NativeCache, Error> {
            self.model.new_cache(capacity)
        }

        fn forward(&self, inputs: &mut [SequenceInput<'_, NativeCache>]) -> Result<(), Error> {
            let tokens: usize = inputs.iter().map(|input| input.tokens.len()).sum();
            self.tokens.set(self.tokens.get() + tokens);
            self.passes.set(self.passes.get() + 1);
            self.model.forward(inputs)
        }

        fn forward_each(
            &self,
            cache: &mut NativeCache,
            tokens: &[u32],
            predictions: &mut [Prediction],
        ) -> Result<(), Error> {
            self.passes.set(self.passes.get() + 1);
            self.model.forward_each(cache, tokens, predictions)
        }
    }

    #[test]
    fn prompts_that_are_the_same_are_processed_once() {
        let model = model();
        let long = "long ".repeat(9);
        for limit in [usize::MAX, 7] {
            let requests: Vec<Request> = [long.as_str(), "other", &long, &long]
                .iter()
                .zip(0..)
                .map(|(prompt, stream)| Request { max_tokens: 14, ..request(prompt, stream) })
                .collect();
            let counted = Counted { model: &model, passes: Cell::new(0), tokens: Cell::new(0) };
            let mut batch = Batch::new(&counted, &BYTES).with_prompt_tokens(limit);
            let mut records: HashMap<u64, Record> = HashMap::new();
            for (request, id) in requests[..3].iter().zip(0..) {
                batch.add(id, request).unwrap();
            }
            let mut steps = 0;
            while !batch.is_empty() {
                // The last one comes while the prompt is processed in parts, or later.
                if steps == 2 {
                    batch.add(3, &requests[3]).unwrap();
                }
                // The sequence that has begun with the prompt goes, and another one begins.
                if steps == 1 && limit == 7 {
                    batch.remove(0);
                }
                for (id, done) in batch.step(|id, event| record(&mut records, id, event)).unwrap() {
                    records.entry(id).or_default().1 = Some(done.unwrap());
                }
                steps += 1;
            }
            let first = if limit == 7 { 1 } else { 0 };
            for (request, id) in requests.iter().zip(0..).skip(first) {
                assert_eq!(records[&id], alone(&model, request), "sequence {id}, limit {limit}");
            }
            // The prompt has 45 tokens, and 13 are processed behind each. One that comes after the
            // first draw processes the last token again.
            let expected = if limit == 7 { 7 + 45 + 5 + 3 * 13 } else { 45 + 1 + 5 + 4 * 13 };
            assert_eq!(counted.tokens.get(), expected, "limit {limit}");
        }
    }

    /// Generates with a prompt of 27 tokens, three that arrive with it, and one that arrives after
    /// `arrival` steps. The first sequence is removed after `removal` steps. Compares texts with
    /// those of sequences that are alone, and returns the number of processed tokens.
    fn with_a_common_beginning(limit: usize, arrival: usize, removal: usize) -> usize {
        let model = model();
        let beginning = "You are a kind helper. ";
        let alike = ["Why?", "Who?", "", "Why not?"].map(|end| format!("{beginning}{end}"));
        let [first, second, third, late] = alike.each_ref().map(String::as_str);
        let prompts = [first, second, third, "You are a mouse", late];
        let requests: Vec<Request> =
            prompts.iter().zip(0..).map(|(prompt, stream)| request(prompt, stream)).collect();
        let counted = Counted { model: &model, passes: Cell::new(0), tokens: Cell::new(0) };
        let mut batch = Batch::new(&counted, &BYTES).with_prompt_tokens(limit);
        let mut records: HashMap<u64, Record> = HashMap::new();
        for (request, id) in requests[..4].iter().zip(0..) {
            batch.add(id, request).unwrap();
        }
        let mut steps = 0;
        while !batch.is_empty() {
            if steps == arrival {
                batch.add(4, &requests[4]).unwrap();
            }
            if steps == removal {
                batch.remove(0);
            }
            for (id, done) in batch.step(|id, event| record(&mut records, id, event)).unwrap() {
                records.entry(id).or_default().1 = Some(done.unwrap());
            }
            steps += 1;
            assert!(steps < 100, "a sequence waits for ever");
        }
        let is_whole = |id: &u64| removal == usize::MAX || *id > 0;
        for (request, id) in requests.iter().zip(0..).filter(|(_, id)| is_whole(id)) {
            assert_eq!(records[&id], alone(&model, request), "sequence {id}, limit {limit}");
        }
        counted.tokens.get()
    }

    #[test]
    fn a_beginning_that_prompts_share_is_processed_once() {
        // Two tokens are left of the second prompt, one of the third, and five of the late one. The
        // fourth begins with fewer common tokens than are worth sharing.
        let prompts = 27 + 2 + 1 + 15 + 5;
        let written = 11 + 12 + 13 + 14 + 15;
        for limit in [usize::MAX, 7] {
            for arrival in [0, 2, 6] {
                let processed = with_a_common_beginning(limit, arrival, usize::MAX);
                assert_eq!(processed, prompts + written, "limit {limit}, arrival {arrival}");
            }
        }
    }

    #[test]
    fn whoever_waits_for_a_sequence_that_leaves_goes_on_alone() {
        // The first sequence has processed 14 tokens when it leaves, and the next one begins anew.
        // The late one has fewer tokens in common with that.
        let written = 12 + 13 + 14 + 15;
        let processed = with_a_common_beginning(7, 6, 2);
        assert_eq!(processed, 14 + 27 + 1 + 15 + 6 + written);
        // Here the first one has given its prompt away and written once, and it leaves.
        let processed = with_a_common_beginning(usize::MAX, 6, 1);
        assert_eq!(processed, 27 + 2 + 1 + 15 + 6 + written);
    }

    #[test]
    fn reading_ahead_changes_no_bit() {
        let model = model();
        for (prompt, stream) in [("abcabcabcabc", 0), ("the end. the end. the e", 1), ("x", 2)] {
            for temperature in [0.0, 0.2, 1.2] {
                let request = request(prompt, stream);
                let sampling = Sampling { temperature, ..request.sampling };
                let plain = Request { max_tokens: 60, sampling, ..request };
                let expected = alone(&model, &plain);
                for read_ahead in [1, 4, 30] {
                    let ahead = Request { read_ahead, ..plain.clone() };
                    assert_eq!(alone(&model, &ahead), expected, "{prompt} {temperature}");
                }
            }
        }
    }

    #[test]
    fn a_text_that_repeats_itself_is_read_ahead() {
        // All logits are the same, so the first token is taken each time.
        let spec = ModelSpec::gpt2(260, 32, 2, 4, 64, 96);
        let flat = vec![0.0; spec.size() as usize];
        let zeros = NativeModel::new(&spec, &flat, 1).unwrap();
        let passes = |read_ahead| {
            let counted = Counted { model: &zeros, passes: Cell::new(0), tokens: Cell::new(0) };
            let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
            let plain = Request { sampling, sensitivity: 0.0, reports: None, ..request("x", 48) };
            let request = Request { read_ahead, ..plain };
            let go_on = |_, _: Event<'_>| ControlFlow::Continue(());
            let done = generate(&counted, &BYTES, &[request], go_on).unwrap();
            assert_eq!((done[0].tokens, &done[0].finish), (60, &FinishReason::Length));
            counted.passes.get()
        };
        assert_eq!(passes(0), 60);
        assert!(passes(9) < 12, "{}", passes(9));
    }

    /// A model that could be read ahead, and whose cache cannot take guesses back.
    struct Divisible(Scripted);

    impl LanguageModel for Divisible {
        type Cache = Count;

        fn context(&self) -> usize {
            self.0.context()
        }

        fn vocabulary(&self) -> usize {
            self.0.vocabulary()
        }

        fn is_divisible(&self) -> bool {
            true
        }

        fn new_cache(&self, capacity: usize) -> Result<Count, Error> {
            self.0.new_cache(capacity)
        }

        fn forward(&self, inputs: &mut [SequenceInput<'_, Count>]) -> Result<(), Error> {
            self.0.forward(inputs)
        }
    }

    #[test]
    fn what_cannot_be_taken_back_is_not_read_ahead() {
        let script = "abcd abcd abce abcf";
        let model = Divisible(scripted(script));
        let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
        let plain = Request { sampling, sensitivity: 0.0, reports: None, ..request("x", 7) };
        let request = Request { read_ahead: 5, ..plain };
        let go_on = |_, _: Event<'_>| ControlFlow::Continue(());
        let done = generate(&model, &BYTES, &[request], go_on).unwrap();
        assert_eq!(done[0].text, script);
    }

    #[test]
    fn a_sequence_that_is_removed_frees_its_place() {
        let model = model();
        let mut batch = Batch::new(&model, &BYTES);
        batch.add(1, &request("a", 1)).unwrap();
        batch.add(2, &request("b", 2)).unwrap();
        batch.step(|_, _| ControlFlow::Continue(())).unwrap();
        batch.remove(1);
        assert_eq!(batch.len(), 1);
        let mut records = HashMap::new();
        while !batch.is_empty() {
            batch.step(|id, event| record(&mut records, id, event)).unwrap();
        }
        assert_eq!(records.keys().collect::<Vec<_>>(), [&2]);
    }

    #[test]
    fn one_that_breaks_off_ends_alone() {
        let model = model();
        let mut batch = Batch::new(&model, &BYTES);
        batch.add(1, &request("a", 1)).unwrap();
        batch.add(2, &request("b", 2)).unwrap();
        let ended = batch
            .step(|id, _| if id == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            .unwrap();
        let reasons: Vec<_> =
            ended.into_iter().map(|(id, done)| (id, done.unwrap().finish)).collect();
        assert_eq!(reasons, [(1, FinishReason::Cancelled)]);
        assert_eq!(batch.len(), 1);
    }

    #[test]
    fn a_token_of_another_vocabulary_is_refused_before_it_harms_others() {
        let model = model();
        let mut batch = Batch::new(&model, &BYTES);
        let foreign = Request { prompt: vec![260], ..request("a", 0) };
        assert!(matches!(batch.add(1, &foreign), Err(Error::Token { token: 260, .. })));
        assert!(batch.is_empty());
    }
}
