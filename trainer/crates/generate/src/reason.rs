// SPDX-License-Identifier: Apache-2.0

//! Reasoning in steps, as a chain or as a tree search.
//!
//! A step is a line. The prompt of each line is `Step 1:`, `Step 2:`, and so on, until the model
//! finds `Answer:` likelier than another step. A chain takes every step as it comes (Wei et al.
//! 2022, "Chain-of-Thought Prompting"). A tree generates several steps at each point, values them,
//! and continues from the best (Yao et al. 2023, "Tree of Thoughts").

use crate::{
    Error,
    language_model::{LanguageModel, SequenceCache},
    sequence::{Event, FinishReason, Request, Sequence, read},
    stream::TextStream,
    text::TextTokenizer,
    tools::ToolCall,
};
use std::ops::ControlFlow;

/// Instruction that makes the model write steps. It goes before the user's text.
pub const REASONING_INSTRUCTION: &str = "Think step by step. Write each step on a line of its \
     own, as \"Step 1: ...\", and last a line \"Answer: ...\" with the result.";
/// Instruction that describes the tools to the model.
pub const TOOL_INSTRUCTION: &str = "Computations can be written as <<calc: 12*(3+4)>> and logic as \
     <<sat: (a or b) and not a>>; the result is put behind them.";

const STEP: &str = "Step";
const ANSWER: &str = "Answer:";

/// Options of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchOptions {
    /// Largest number of generated tokens over all branches: steps, their introductions, results of
    /// tools, and the answer.
    pub budget: usize,
    /// Largest number of steps before the answer.
    pub steps: usize,
    /// Largest number of tokens of a step.
    pub step_tokens: usize,
    /// Number of steps generated at each point.
    pub branches: usize,
    /// Number of points kept at each depth.
    pub width: usize,
}

impl SearchOptions {
    /// Returns options of a chain, with one step after the other.
    pub fn chain(budget: usize) -> Self {
        Self { budget, steps: 12, step_tokens: 96, branches: 1, width: 1 }
    }

    /// Returns options of a tree with three steps at each of the best two points.
    pub fn tree(budget: usize) -> Self {
        Self { branches: 3, width: 2, ..Self::chain(budget) }
    }

    /// Returns the largest number of tokens on a path behind the prompt.
    pub fn path_tokens(&self) -> usize {
        let steps = self.steps.saturating_mul(self.step_tokens.saturating_add(8));
        steps.min(self.budget).max(1)
    }

    /// Returns the largest number of caches that a search has at a time, each for the prompt and
    /// [`path_tokens`](Self::path_tokens): those of all branches, and of the best path that ended.
    pub fn caches(&self) -> usize {
        match self.branches {
            0 | 1 => 1,
            branches => self.width.max(1).saturating_mul(branches).saturating_add(1),
        }
    }
}

/// Generated step.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ReasoningStep {
    /// Index, in the order of generation.
    pub id: usize,
    /// Index of the step before.
    pub parent: Option<usize>,
    /// Position on its path, from 1.
    pub depth: usize,
    /// Line, with its introduction.
    pub text: String,
    /// Mean value of all tokens on the path, in nats: the negated loss that the introspection head
    /// expects, or else the log-probability. Higher is better.
    pub value: f64,
}

/// Event of a running search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SearchEvent<'a> {
    /// A step was generated.
    Step(&'a ReasoningStep),
    /// The model called a tool within a step.
    Call(&'a ToolCall),
    /// The search continues from these of the last steps, the best first.
    Kept(&'a [usize]),
}

/// Result of reasoning.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ReasoningResult {
    /// Steps to the answer, with the line of the answer.
    pub path: Vec<ReasoningStep>,
    /// Text after `Answer:`; empty if the budget allowed none.
    pub answer: String,
    /// Number of tokens generated in all branches.
    pub tokens: usize,
    /// Number of steps generated in all branches.
    pub considered: usize,
}

/// Path of steps that can be continued.
struct Path<P> {
    sequence: Sequence<P>,
    steps: Vec<ReasoningStep>,
    /// Number of valued tokens.
    valued: usize,
    answered: bool,
    /// Set if the model ended the text.
    ended: bool,
}

impl<P> Path<P> {
    fn value(&self) -> f64 {
        self.steps.last().map_or(f64::NEG_INFINITY, |step| step.value)
    }

    /// Returns `true` if this path is a better end than `other`. Of equal values, one with an
    /// answer is.
    fn is_better_end(&self, other: &Self) -> bool {
        self.value().total_cmp(&other.value()).then(self.answered.cmp(&other.answered)).is_gt()
    }
}

impl<P: SequenceCache> Path<P> {
    /// Copies the path, to continue it with the draws of `stream`.
    fn fork(&self, stream: u64) -> Result<Self, Error> {
        Ok(Self { sequence: self.sequence.fork(stream)?, steps: self.steps.clone(), ..*self })
    }
}

/// Keeps the better of two ends, and frees the other one.
fn keep_better<P>(best: &mut Option<Path<P>>, path: Path<P>) {
    if best.as_ref().is_none_or(|best| path.is_better_end(best)) {
        *best = Some(path);
    }
}

/// Generates steps and an answer after the prompt of `request`.
///
/// The prompt should end at the start of a line and contain [`REASONING_INSTRUCTION`].
/// `max_tokens`, `stop`, and `constraint` of the request do not apply.
///
/// # Errors
///
/// Fails as [`generate`](crate::generate()) does.
pub fn reason<M: LanguageModel>(
    model: &M,
    text: &TextTokenizer,
    request: &Request,
    search: &SearchOptions,
    mut on: impl FnMut(SearchEvent<'_>),
) -> Result<ReasoningResult, Error> {
    let mut thinker = Thinker {
        model,
        text,
        search,
        left: search.budget,
        considered: 0,
        streams: request.stream,
    };
    let mut root = Sequence::new(
        model,
        text,
        &Request {
            max_tokens: search.path_tokens(),
            stop: Vec::new(),
            constraint: None,
            ..request.clone()
        },
    )?;
    root.value = Some(0.0);
    // All branches share the prompt's cache.
    read(model, std::iter::once(&mut root))?;
    root.pending.clear();
    let mut frontier =
        vec![Path { sequence: root, steps: Vec::new(), valued: 0, answered: false, ended: false }];
    // Best path that ended. Caches are large, so that no other one is kept.
    let mut done: Option<Path<M::Cache>> = None;
    // Steps may not spend the tokens that the answer needs.
    let reserve = (search.budget / 4).min(search.step_tokens);
    for depth in 1..=search.steps.max(1) {
        let children = thinker.grow(frontier, depth, reserve, &mut on)?;
        let (ended, mut open): (Vec<_>, Vec<_>) =
            children.into_iter().partition(|path| path.answered || path.ended);
        ended.into_iter().for_each(|path| keep_better(&mut done, path));
        open.sort_by(|a, b| b.value().total_cmp(&a.value()));
        open.truncate(search.width.max(1));
        let kept: Vec<usize> =
            open.iter().filter_map(|path| path.steps.last()).map(|step| step.id).collect();
        if search.branches > 1 && !kept.is_empty() {
            on(SearchEvent::Kept(&kept));
        }
        let better = done
            .as_ref()
            .is_some_and(|done| open.first().is_none_or(|open| done.value() >= open.value()));
        frontier = open;
        if better || thinker.left <= reserve {
            break;
        }
    }
    frontier.into_iter().for_each(|path| keep_better(&mut done, path));
    let Some(mut best) = done else {
        return Ok(thinker.result(Vec::new(), String::new()));
    };
    if !best.answered {
        thinker.answer(&mut best, &mut on)?;
    }
    let last = best.steps.last().filter(|_| best.answered).map(|step| step.text.as_str());
    let answer =
        last.and_then(|line| line.strip_prefix(ANSWER)).unwrap_or_default().trim().to_owned();
    Ok(thinker.result(best.steps, answer))
}

struct Thinker<'a, M> {
    model: &'a M,
    text: &'a TextTokenizer,
    search: &'a SearchOptions,
    /// Number of tokens left in the budget.
    left: usize,
    considered: usize,
    streams: u64,
}

impl<M: LanguageModel> Thinker<'_, M> {
    /// Returns the result of the search with the path of its answer.
    fn result(&self, path: Vec<ReasoningStep>, answer: String) -> ReasoningResult {
        let (tokens, considered) = (self.search.budget - self.left, self.considered);
        ReasoningResult { path, answer, tokens, considered }
    }

    /// Generates the next steps of all paths in `frontier`. A path without a new step is dropped.
    fn grow(
        &mut self,
        frontier: Vec<Path<M::Cache>>,
        depth: usize,
        reserve: usize,
        on: &mut impl FnMut(SearchEvent<'_>),
    ) -> Result<Vec<Path<M::Cache>>, Error> {
        let (mut children, mut leads, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for mut path in frontier {
            let lead = self.lead(&mut path, depth)?;
            let tokens = self.text.encode(&lead)?;
            let affordable = self.left.saturating_sub(reserve + 1) / tokens.len().max(1);
            let count = affordable.min(self.search.branches.max(1));
            if count == 0 || !path.sequence.insert(&tokens) {
                path.sequence.finish = None;
                last.push(path);
                continue;
            }
            self.left -= count * tokens.len();
            leads.extend(std::iter::repeat_n(lead, count));
            for _ in 1..count {
                self.streams = self.streams.wrapping_add(1);
                children.push(path.fork(self.streams)?);
            }
            // The last branch takes the cache of the point itself.
            self.streams = self.streams.wrapping_add(1);
            path.sequence.sampler.restart(self.streams);
            children.push(path);
        }
        if children.is_empty() {
            // The budget allows no further step, so the search ends with the paths so far.
            return Ok(last.into_iter().map(|path| Path { ended: true, ..path }).collect());
        }
        drop(last);
        self.write(&mut children, &leads, depth, reserve, on)?;
        Ok(children)
    }

    /// Inserts the introduction of the next line: another step, or the answer if the model finds
    /// that likelier.
    fn lead(&mut self, path: &mut Path<M::Cache>, depth: usize) -> Result<String, Error> {
        let step = format!("{STEP} {depth}:");
        if depth == 1 {
            return Ok(step);
        }
        let line = self.text.encode("\n")?;
        if self.left <= line.len() || !path.sequence.insert(&line) {
            return Ok(step);
        }
        self.left -= line.len();
        read(self.model, std::iter::once(&mut path.sequence))?;
        path.sequence.pending.clear();
        let score = |text: &str| -> Result<f32, Error> {
            let first = self.text.encode(text)?.first().copied();
            Ok(first
                .and_then(|token| path.sequence.prediction.logits.get(token as usize))
                .copied()
                .unwrap_or(f32::NEG_INFINITY))
        };
        Ok(if score(ANSWER)? > score(&step)? { ANSWER.into() } else { step })
    }

    /// Generates the line of each path to its end.
    fn write(
        &mut self,
        paths: &mut [Path<M::Cache>],
        leads: &[String],
        depth: usize,
        reserve: usize,
        on: &mut impl FnMut(SearchEvent<'_>),
    ) -> Result<(), Error> {
        let ends: Vec<usize> =
            paths.iter().map(|path| path.sequence.written + self.search.step_tokens).collect();
        for path in paths.iter_mut() {
            path.sequence.stream = TextStream::new(&["\n".into()]);
            path.sequence.text.clear();
        }
        loop {
            let mut active: Vec<_> = paths
                .iter_mut()
                .zip(&ends)
                .filter(|(path, end)| {
                    path.sequence.finish.is_none() && path.sequence.written < **end
                })
                .collect();
            // Paths that the budget does not cover end here.
            active.truncate(self.left.saturating_sub(reserve));
            if active.is_empty() {
                break;
            }
            read(self.model, active.iter_mut().map(|(path, _)| &mut path.sequence))?;
            let count = active.len();
            for (index, (path, _)) in active.into_iter().enumerate() {
                let before = path.sequence.written;
                // The budget also covers the result of a tool, and one token of each other path.
                let affordable = self.left.saturating_sub(reserve + count - index - 1);
                let limit = std::mem::replace(&mut path.sequence.limit, before + affordable);
                path.sequence.write(self.text, &mut |event| {
                    if let Event::Call(call) = event {
                        on(SearchEvent::Call(call));
                    }
                    ControlFlow::Continue(())
                })?;
                path.sequence.limit = limit;
                path.valued += 1;
                self.left = self.left.saturating_sub(path.sequence.written - before);
            }
        }
        for (path, lead) in paths.iter_mut().zip(leads) {
            let Path { sequence, steps, valued, answered, ended } = path;
            let rest = sequence.stream.finish();
            sequence.text += &rest;
            match sequence.finish.take() {
                Some(FinishReason::Stop(_)) => sequence.cut_line(self.text)?,
                Some(FinishReason::End | FinishReason::Context | FinishReason::Cancelled) => {
                    *ended = true
                }
                Some(FinishReason::Length) | None => {}
            }
            *answered = lead == ANSWER;
            let value = sequence.value.unwrap_or(0.0) / (*valued).max(1) as f64;
            let text = format!("{lead}{}", sequence.text.trim_end());
            let step = ReasoningStep {
                id: self.considered,
                parent: steps.last().map(|step| step.id),
                depth,
                text,
                value,
            };
            self.considered += 1;
            on(SearchEvent::Step(&step));
            steps.push(step);
        }
        Ok(())
    }

    /// Generates the answer with the rest of the budget, if that allows one.
    fn answer(
        &mut self,
        path: &mut Path<M::Cache>,
        on: &mut impl FnMut(SearchEvent<'_>),
    ) -> Result<(), Error> {
        let lead = if path.steps.is_empty() { ANSWER.to_owned() } else { format!("\n{ANSWER}") };
        let tokens = self.text.encode(&lead)?;
        if self.left <= tokens.len() || !path.sequence.insert(&tokens) {
            return Ok(());
        }
        self.left -= tokens.len();
        self.streams = self.streams.wrapping_add(1);
        path.sequence.sampler.restart(self.streams);
        let depth = path.steps.len() + 1;
        self.write(std::slice::from_mut(path), &[ANSWER.to_owned()], depth, 0, on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Sampling, SequenceInput,
        sequence::tests::{Scripted, scripted},
        text::tests::BYTES,
    };
    use pol_primitives::prf::Prf;
    use proptest::prelude::*;
    use std::{cell::Cell, rc::Rc};

    fn request(tools: bool) -> Request {
        let sampling = Sampling { temperature: 0.0, ..Default::default() };
        Request {
            prompt: BYTES.encode("How much?\n").unwrap(),
            sampling,
            tools,
            ..Default::default()
        }
    }

    fn run(
        model: &Scripted,
        tools: bool,
        search: &SearchOptions,
    ) -> (ReasoningResult, Vec<String>) {
        let mut shown = Vec::new();
        let reasoned = reason(model, &BYTES, &request(tools), search, |thought| {
            shown.push(match thought {
                SearchEvent::Step(step) => format!("{} {:?} {}", step.id, step.parent, step.text),
                SearchEvent::Call(call) => call.asked.clone(),
                SearchEvent::Kept(kept) => format!("{kept:?}"),
            });
        });
        (reasoned.unwrap(), shown)
    }

    /// The script's first token is what follows the prompt, which is not asked for; later, one
    /// follows each line break.
    fn script(lines: &[&str]) -> Scripted {
        scripted(&format!("?{}", lines.join("\n")))
    }

    #[test]
    fn a_chain_is_a_path_of_lines() {
        // After each line the model is asked whether it would answer: 'S' or 'A'.
        let model = script(&[" it is 6*7", "S that is <<calc: 6*7>>", "A 42", "S never"]);
        let (reasoned, shown) = run(&model, true, &SearchOptions::chain(100));
        assert_eq!(reasoned.answer, "42");
        let expected = [
            "0 None Step 1: it is 6*7",
            "calc: 6*7",
            "1 Some(0) Step 2: that is <<calc: 6*7>> = 42",
            "2 Some(1) Answer: 42",
        ];
        assert_eq!(shown, expected);
        assert_eq!(reasoned.path.iter().map(|step| step.depth).collect::<Vec<_>>(), [1, 2, 3]);
        let read: Vec<u8> =
            model.seen.borrow().iter().flat_map(|&token| BYTES.bytes(token).to_vec()).collect();
        let text = "How much?\nStep 1: it is 6*7\nStep 2: that is <<calc: 6*7>> = 42\nAnswer: 42";
        assert_eq!(String::from_utf8(read).unwrap(), text);
        // Each of three line breaks was written by the model and taken back.
        assert_eq!(
            reasoned.tokens,
            BYTES.encode(text).unwrap().len() - BYTES.encode("How much?\n").unwrap().len() + 3
        );
    }

    #[test]
    fn a_tree_shows_what_it_tried_and_kept() {
        let model = script(&[" a", "A b"]);
        let (reasoned, shown) = run(
            &model,
            false,
            &SearchOptions { branches: 2, width: 1, ..SearchOptions::tree(200) },
        );
        let expected = [
            "0 None Step 1: a",
            "1 None Step 1: a",
            "[0]",
            "2 Some(0) Answer: b",
            "3 Some(0) Answer: b",
        ];
        assert_eq!(shown, expected);
        assert_eq!(
            (reasoned.answer.as_str(), reasoned.considered, reasoned.path.len()),
            ("b", 4, 2)
        );
    }

    #[test]
    fn an_answer_is_asked_for_when_the_budget_ends() {
        let model = script(&[&" long".repeat(40)]);
        let (reasoned, _) = run(&model, false, &SearchOptions::chain(60));
        assert!(reasoned.tokens <= 60);
        assert_eq!(reasoned.path.len(), 2);
        assert!(reasoned.path[1].text.starts_with("Answer:") && !reasoned.answer.is_empty());
    }

    /// Scores that look random, and often prefer what ends a line or a text.
    #[derive(Default)]
    struct Noise {
        seed: u64,
        caches: Rc<Caches>,
    }

    /// Caches that exist, and the most that did.
    #[derive(Default)]
    struct Caches {
        now: Cell<usize>,
        most: Cell<usize>,
    }

    struct CountedCache {
        len: usize,
        capacity: usize,
        caches: Rc<Caches>,
    }

    impl CountedCache {
        fn new(len: usize, capacity: usize, caches: &Rc<Caches>) -> Self {
            caches.now.update(|now| now + 1);
            caches.most.update(|most| most.max(caches.now.get()));
            Self { len, capacity, caches: Rc::clone(caches) }
        }
    }

    impl Drop for CountedCache {
        fn drop(&mut self) {
            self.caches.now.update(|now| now - 1);
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
            Ok(Self::new(self.len, self.capacity, &self.caches))
        }
    }

    impl LanguageModel for Noise {
        type Cache = CountedCache;

        fn context(&self) -> usize {
            200
        }

        fn vocabulary(&self) -> usize {
            260
        }

        fn new_cache(&self, capacity: usize) -> Result<CountedCache, Error> {
            Ok(CountedCache::new(0, capacity, &self.caches))
        }

        fn forward(&self, inputs: &mut [SequenceInput<'_, CountedCache>]) -> Result<(), Error> {
            crate::language_model::check(inputs, 260)?;
            for input in inputs {
                input.cache.len += input.tokens.len();
                let seed = [input.cache.len as u8; 32];
                let bytes: Vec<u8> = input.tokens.iter().map(|&token| token as u8).collect();
                let mut draws = Prf::new("noise", &seed, &[&self.seed.to_le_bytes(), &bytes]);
                input.prediction.logits =
                    (0..260).map(|_| draws.below(1_000) as f32 / 500.0).collect();
                input.prediction.logits[usize::from(b'\n')] += 3.0;
                input.prediction.logits[257] += 1.0;
            }
            Ok(())
        }
    }

    #[test]
    fn a_search_has_the_caches_that_it_states() {
        // With seven branches at each of five points, and ends that are better than what goes on.
        let mut fullest = 0;
        for seed in 0..40 {
            let search = SearchOptions { branches: 7, width: 5, ..SearchOptions::tree(2_000) };
            let model = Noise { seed, ..Noise::default() };
            reason(&model, &BYTES, &request(false), &search, |_| ()).unwrap();
            let most = model.caches.most.get();
            assert!(most <= search.caches(), "{most} caches with the seed {seed}");
            assert_eq!(model.caches.now.get(), 0);
            fullest = fullest.max(most);
        }
        // The bound is no larger than searches need.
        assert!(fullest >= 35, "{fullest}");
        let model = Noise::default();
        reason(&model, &BYTES, &request(false), &SearchOptions::chain(200), |_| ()).unwrap();
        assert_eq!(model.caches.most.get(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_budget_is_kept(
            budget in 1usize..300,
            steps in 0usize..6,
            step_tokens in 1usize..40,
            branches in 0usize..4,
            width in 0usize..4,
            seed: u64,
            tools: bool,
        ) {
            let search = SearchOptions { budget, steps, step_tokens, branches, width };
            let sampling = Sampling { seed, ..Default::default() };
            let request = Request { sampling, ..request(tools) };
            let mut ids = 0;
            let model = Noise { seed, ..Noise::default() };
            let reasoned = reason(&model, &BYTES, &request, &search, |thought| {
                if let SearchEvent::Step(step) = thought {
                    assert_eq!(step.id, ids);
                    ids += 1;
                }
            }).unwrap();
            prop_assert!(reasoned.tokens <= budget);
            prop_assert_eq!(reasoned.considered, ids);
            prop_assert!(reasoned.path.len() <= steps.max(1) + 1);
            prop_assert!(reasoned.path.windows(2).all(|pair| pair[1].parent == Some(pair[0].id)));
            prop_assert!(model.caches.most.get() <= search.caches());
            let again = reason(&model, &BYTES, &request, &search, |_| ()).unwrap();
            prop_assert_eq!(&reasoned, &again);
        }
    }
}
