//! Reasoning step by step: as a chain, or as a search among many.
//!
//! A step is a line. The model is led to write `Step 1:`, `Step 2:` … and, when it finds `Answer:`
//! likelier than another step, an answer. A chain takes every step as it comes (Wei et al. 2022,
//! "Chain-of-Thought Prompting"). A tree writes several steps at each point, values them, and goes
//! on from the best (Yao et al. 2023, "Tree of Thoughts").

use crate::{
    Error,
    model::Model,
    stream::Stream,
    text::Text,
    tools::Call,
    writer::{Event, Finish, Request, Writer, read},
};
use std::ops::ControlFlow;

/// What the model is told to make it write steps, in front of its first.
pub const INSTRUCTION: &str = "Think step by step. Write each step on a line of its own, as \"Step 1: ...\", and last a line \"Answer: ...\" with the result.";
/// What the model is told about tools.
pub const TOOLS: &str = "Computations can be written as <<calc: 12*(3+4)>> and logic as <<sat: (a or b) and not a>>; the result is put behind them.";

const STEP: &str = "Step";
const ANSWER: &str = "Answer:";

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// Tokens to write at most, over all branches: steps, what introduces them, results of tools
    /// and the answer.
    pub budget: usize,
    /// Steps to the answer at most.
    pub steps: usize,
    /// Tokens of a step at most.
    pub step_tokens: usize,
    /// Steps tried at each point.
    pub branches: usize,
    /// Points gone on from at each depth.
    pub width: usize,
}

impl Search {
    /// One step after the other.
    pub fn chain(budget: usize) -> Self {
        Self { budget, steps: 12, step_tokens: 96, branches: 1, width: 1 }
    }

    /// Three steps tried at each of the best two points.
    pub fn tree(budget: usize) -> Self {
        Self { branches: 3, width: 2, ..Self::chain(budget) }
    }
}

/// A step as it was written.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Step {
    /// Its number, in the order in which steps were written.
    pub id: usize,
    /// The step before it.
    pub parent: Option<usize>,
    /// Which step on its path it is, from 1.
    pub depth: usize,
    /// The line, with what introduces it.
    pub text: String,
    /// Mean value of all tokens on the path, in nats: the loss that the introspection head expects,
    /// negated, or else the logarithm of the probability. Higher is better.
    pub value: f64,
}

/// What happens while the model reasons.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Thought<'a> {
    /// A step was written.
    Step(&'a Step),
    /// A tool was called in a step that is being written.
    Call(&'a Call),
    /// Of the steps last written, these are gone on from, the best first.
    Kept(&'a [usize]),
}

/// Where reasoning led.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Reasoned {
    /// The steps to the answer, the answer's line among them.
    pub path: Vec<Step>,
    /// What follows `Answer:`; empty when the budget allowed none.
    pub answer: String,
    /// Tokens written in all branches.
    pub tokens: usize,
    /// Steps written in all branches.
    pub considered: usize,
}

/// A path that can be gone on from.
struct Path<P> {
    writer: Writer<P>,
    steps: Vec<Step>,
    /// Tokens that were valued.
    valued: usize,
    answered: bool,
    /// The model ended the text.
    ended: bool,
}

impl<P> Path<P> {
    fn value(&self) -> f64 {
        self.steps.last().map_or(f64::NEG_INFINITY, |step| step.value)
    }
}

/// Writes on from `request`'s prompt, which should end where a line begins and have told the model
/// what to do ([`INSTRUCTION`]), in steps. Its `max_tokens` and `stop` do not apply.
pub fn reason<M: Model>(
    model: &M,
    text: &Text,
    request: &Request,
    search: &Search,
    mut on: impl FnMut(Thought<'_>),
) -> Result<Reasoned, Error> {
    let mut thinker = Thinker {
        model,
        text,
        search,
        left: search.budget,
        considered: 0,
        streams: request.stream,
    };
    let longest =
        search.steps.saturating_mul(search.step_tokens.saturating_add(8)).min(search.budget);
    let mut root = Writer::new(
        model,
        &Request { max_tokens: longest.max(1), stop: Vec::new(), ..request.clone() },
    )?;
    root.value = Some(0.0);
    // Once for all branches.
    read(model, std::iter::once(&mut root))?;
    root.pending.clear();
    let mut frontier =
        vec![Path { writer: root, steps: Vec::new(), valued: 0, answered: false, ended: false }];
    let mut done: Vec<Path<M::Past>> = Vec::new();
    // What the answer needs is not spent on steps.
    let reserve = (search.budget / 4).min(search.step_tokens);
    for depth in 1..=search.steps.max(1) {
        let children = thinker.grow(&mut frontier, depth, reserve, &mut on)?;
        let (ended, mut open): (Vec<_>, Vec<_>) =
            children.into_iter().partition(|path| path.answered || path.ended);
        done.extend(ended);
        best_first(&mut open);
        open.truncate(search.width.max(1));
        best_first(&mut done);
        let kept: Vec<usize> =
            open.iter().filter_map(|path| path.steps.last()).map(|step| step.id).collect();
        if search.branches > 1 && !kept.is_empty() {
            on(Thought::Kept(&kept));
        }
        let better = done
            .first()
            .is_some_and(|done| open.first().is_none_or(|open| done.value() >= open.value()));
        frontier = open;
        if better || thinker.left <= reserve {
            break;
        }
    }
    done.append(&mut frontier);
    best_first(&mut done);
    // Of equals an answer is better than none.
    let at =
        done.iter().position(|path| path.answered && path.value() >= done[0].value()).unwrap_or(0);
    let mut best = done.swap_remove(at);
    if !best.answered {
        let depth = best.steps.len() + 1;
        if let Some(answered) = thinker.answer(&mut best, depth, &mut on)? {
            best = answered;
        }
    }
    let last = best.steps.last().filter(|_| best.answered).map(|step| step.text.as_str());
    let answer =
        last.and_then(|line| line.strip_prefix(ANSWER)).unwrap_or_default().trim().to_owned();
    Ok(Reasoned {
        path: best.steps,
        answer,
        tokens: search.budget - thinker.left,
        considered: thinker.considered,
    })
}

fn best_first<P>(paths: &mut [Path<P>]) {
    paths.sort_by(|a, b| b.value().total_cmp(&a.value()));
}

struct Thinker<'a, M> {
    model: &'a M,
    text: &'a Text,
    search: &'a Search,
    /// Tokens that may still be written.
    left: usize,
    considered: usize,
    streams: u64,
}

impl<M: Model> Thinker<'_, M> {
    /// Writes the next steps of all of `frontier`, whose paths are left empty where nothing could
    /// be written.
    fn grow(
        &mut self,
        frontier: &mut Vec<Path<M::Past>>,
        depth: usize,
        reserve: usize,
        on: &mut impl FnMut(Thought<'_>),
    ) -> Result<Vec<Path<M::Past>>, Error> {
        let mut children = Vec::new();
        let mut leads = Vec::new();
        for path in frontier.iter_mut() {
            let lead = self.lead(path, depth)?;
            let tokens = self.text.encode(&lead)?;
            for _ in 0..self.search.branches.max(1) {
                if self.left < reserve + tokens.len() + 1 {
                    break;
                }
                self.streams = self.streams.wrapping_add(1);
                let mut child = Path {
                    writer: path.writer.fork(self.streams)?,
                    steps: path.steps.clone(),
                    ..*path
                };
                if child.writer.insert(&tokens) {
                    self.left -= tokens.len();
                    children.push(child);
                    leads.push(lead.clone());
                }
            }
        }
        if children.is_empty() {
            // No step can be paid for: the paths so far are all there is.
            return Ok(std::mem::take(frontier)
                .into_iter()
                .map(|path| Path { ended: true, ..path })
                .collect());
        }
        self.write(&mut children, &leads, depth, reserve, on)?;
        Ok(children)
    }

    /// What introduces the next line: another step, or the answer where the model finds that
    /// likelier.
    fn lead(&mut self, path: &mut Path<M::Past>, depth: usize) -> Result<String, Error> {
        let step = format!("{STEP} {depth}:");
        if depth == 1 {
            return Ok(step);
        }
        let line = self.text.encode("\n")?;
        if self.left <= line.len() || !path.writer.insert(&line) {
            return Ok(step);
        }
        self.left -= line.len();
        read(self.model, std::iter::once(&mut path.writer))?;
        path.writer.pending.clear();
        let score = |text: &str| -> Result<f32, Error> {
            let first = self.text.encode(text)?.first().copied();
            Ok(first
                .and_then(|token| path.writer.reading.scores.get(token as usize))
                .copied()
                .unwrap_or(f32::NEG_INFINITY))
        };
        Ok(if score(ANSWER)? > score(&step)? { ANSWER.into() } else { step })
    }

    /// Writes the line of each of `paths` to its end.
    fn write(
        &mut self,
        paths: &mut [Path<M::Past>],
        leads: &[String],
        depth: usize,
        reserve: usize,
        on: &mut impl FnMut(Thought<'_>),
    ) -> Result<(), Error> {
        let ends: Vec<usize> =
            paths.iter().map(|path| path.writer.written + self.search.step_tokens).collect();
        for path in paths.iter_mut() {
            path.writer.stream = Stream::new(&["\n".into()]);
            path.writer.text.clear();
        }
        loop {
            let mut active: Vec<_> = paths
                .iter_mut()
                .zip(&ends)
                .filter(|(path, end)| path.writer.finish.is_none() && path.writer.written < **end)
                .collect();
            // Those that cannot be paid for wait, and so end here.
            active.truncate(self.left.saturating_sub(reserve));
            if active.is_empty() {
                break;
            }
            read(self.model, active.iter_mut().map(|(path, _)| &mut path.writer))?;
            let count = active.len();
            for (index, (path, _)) in active.into_iter().enumerate() {
                let before = path.writer.written;
                // The result of a tool must be paid for too, and a token of each of the others.
                let affordable = self.left.saturating_sub(reserve + count - index - 1);
                let limit = std::mem::replace(&mut path.writer.limit, before + affordable);
                path.writer.write(self.text, &mut |event| {
                    if let Event::Call(call) = event {
                        on(Thought::Call(call));
                    }
                    ControlFlow::Continue(())
                })?;
                path.writer.limit = limit;
                path.valued += 1;
                self.left = self.left.saturating_sub(path.writer.written - before);
            }
        }
        for (path, lead) in paths.iter_mut().zip(leads) {
            let Path { writer, steps, valued, answered, ended } = path;
            let rest = writer.stream.finish();
            writer.text += &rest;
            match writer.finish.take() {
                Some(Finish::Stop(_)) => writer.cut_line(self.text)?,
                Some(Finish::End | Finish::Context | Finish::Cancelled) => *ended = true,
                Some(Finish::Length) | None => {}
            }
            *answered = lead == ANSWER;
            let value = writer.value.unwrap_or(0.0) / (*valued).max(1) as f64;
            let text = format!("{lead}{}", writer.text.trim_end());
            let step = Step {
                id: self.considered,
                parent: steps.last().map(|step| step.id),
                depth,
                text,
                value,
            };
            self.considered += 1;
            on(Thought::Step(&step));
            steps.push(step);
        }
        Ok(())
    }

    /// Makes the model answer, with what is left of the budget.
    fn answer(
        &mut self,
        path: &mut Path<M::Past>,
        depth: usize,
        on: &mut impl FnMut(Thought<'_>),
    ) -> Result<Option<Path<M::Past>>, Error> {
        let lead = if path.steps.is_empty() { ANSWER.to_owned() } else { format!("\n{ANSWER}") };
        let tokens = self.text.encode(&lead)?;
        if self.left <= tokens.len() {
            return Ok(None);
        }
        self.streams = self.streams.wrapping_add(1);
        let mut child =
            Path { writer: path.writer.fork(self.streams)?, steps: path.steps.clone(), ..*path };
        if !child.writer.insert(&tokens) {
            return Ok(None);
        }
        self.left -= tokens.len();
        self.write(std::slice::from_mut(&mut child), &[ANSWER.to_owned()], depth, 0, on)?;
        Ok(Some(child))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Past, Sampling,
        text::tests::BYTES,
        writer::tests::{Scripted, scripted},
    };
    use pol_primitives::prf::Prf;
    use proptest::prelude::*;

    fn request(tools: bool) -> Request {
        let sampling = Sampling { temperature: 0.0, ..Default::default() };
        Request {
            prompt: BYTES.encode("How much?\n").unwrap(),
            sampling,
            tools,
            ..Default::default()
        }
    }

    fn run(model: &Scripted, tools: bool, search: &Search) -> (Reasoned, Vec<String>) {
        let mut shown = Vec::new();
        let reasoned = reason(model, &BYTES, &request(tools), search, |thought| {
            shown.push(match thought {
                Thought::Step(step) => format!("{} {:?} {}", step.id, step.parent, step.text),
                Thought::Call(call) => call.asked.clone(),
                Thought::Kept(kept) => format!("{kept:?}"),
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
        let (reasoned, shown) = run(&model, true, &Search::chain(100));
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
        let (reasoned, shown) =
            run(&model, false, &Search { branches: 2, width: 1, ..Search::tree(200) });
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
        let (reasoned, _) = run(&model, false, &Search::chain(60));
        assert!(reasoned.tokens <= 60);
        assert_eq!(reasoned.path.len(), 2);
        assert!(reasoned.path[1].text.starts_with("Answer:") && !reasoned.answer.is_empty());
    }

    /// Scores that look random, and often prefer what ends a line or a text.
    struct Noise(u64);

    impl Model for Noise {
        type Past = <Scripted as Model>::Past;

        fn context(&self) -> usize {
            200
        }

        fn vocabulary(&self) -> usize {
            260
        }

        fn begin(&self, capacity: usize) -> Result<Self::Past, Error> {
            scripted("").begin(capacity)
        }

        fn read(&self, jobs: &mut [crate::Job<'_, Self::Past>]) -> Result<(), Error> {
            scripted("").read(jobs)?;
            for job in jobs {
                let seed = [job.past.len() as u8; 32];
                let bytes: Vec<u8> = job.tokens.iter().map(|&token| token as u8).collect();
                let mut draws = Prf::new("noise", &seed, &[&self.0.to_le_bytes(), &bytes]);
                job.reading.scores = (0..260).map(|_| draws.below(1_000) as f32 / 500.0).collect();
                job.reading.scores[usize::from(b'\n')] += 3.0;
                job.reading.scores[257] += 1.0;
            }
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_budget_is_kept(budget in 1usize..300, steps in 0usize..6, step_tokens in 1usize..40, branches in 0usize..4,
                              width in 0usize..4, seed: u64, tools: bool) {
            let search = Search { budget, steps, step_tokens, branches, width };
            let sampling = Sampling { seed, ..Default::default() };
            let request = Request { sampling, ..request(tools) };
            let mut ids = 0;
            let reasoned = reason(&Noise(seed), &BYTES, &request, &search, |thought| {
                if let Thought::Step(step) = thought {
                    assert_eq!(step.id, ids);
                    ids += 1;
                }
            }).unwrap();
            prop_assert!(reasoned.tokens <= budget);
            prop_assert_eq!(reasoned.considered, ids);
            prop_assert!(reasoned.path.len() <= steps.max(1) + 1);
            prop_assert!(reasoned.path.windows(2).all(|pair| pair[1].parent == Some(pair[0].id)));
            prop_assert_eq!(&reasoned, &reason(&Noise(seed), &BYTES, &request, &search, |_| ()).unwrap());
        }
    }
}
