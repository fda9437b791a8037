//! Text written with a model.

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use pol_generate::{
    Completion, Event, INSTRUCTION, Model, Native, Request, Sampling, Search, TOOLS, Text, Thought,
    Torch, Turn, generate, reason,
};
use pol_import::load;
use pol_model::{Layout, Weights};
use serde_json::{Value, json};
use std::{
    io::{Read, Write, stdin, stdout},
    ops::ControlFlow,
    path::PathBuf,
    time::Instant,
};
use tch::Device;

const EXAMPLES: &str = "\
Examples:
  pol-trainer generate --model smollm2 'The capital of France is'
  pol-trainer generate --model smollm2 --chat --seed 7 'Why is the sky blue?'
  pol-trainer generate --model smollm2 --temperature 0 --stop '\\n\\n' --max-tokens 50 - < prompt.txt
  pol-trainer generate --model smollm2 --batch prompts.txt --json        a prompt a line, all at once
  pol-trainer generate --model smollm2 --chat --reason tree --budget 600 --tools 'What is 17 * 23?'

The text goes to standard output as it is written, speed and seed to standard error. The same seed gives the same text: on every
machine with AVX2 for a model without experts and mind, on the same machine for others.

Tools (--tools) are called by the model with markers, and results are put behind them: <<calc: 12*(3+4)>> is exact arithmetic,
<<sat: (a or b) and not a>> propositional satisfiability.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct GenerateOptions {
    /// What to continue, or with --chat to answer; - reads standard input.
    #[arg(value_name = "PROMPT", required_unless_present = "batch")]
    prompt: Option<String>,
    /// Folder made by `model import`.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// File with a prompt on each line, all continued at once; - reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "reason"])]
    batch: Option<String>,
    /// Tokens to write at most, to each prompt.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Scores are divided by this; at 0 the best token is taken every time.
    #[arg(long, default_value_t = 0.7, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw from so many of the best tokens; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_k: usize,
    /// Draw from the fewest best tokens whose probabilities sum to this.
    #[arg(long, default_value_t = 0.95, allow_negative_numbers = true)]
    top_p: f32,
    /// Draw from tokens with at least this share of the best one's probability.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Divide scores of tokens that occurred by this; 1 for no penalty.
    #[arg(long, default_value_t = 1.1, allow_negative_numbers = true)]
    repetition_penalty: f32,
    /// Let surprise at its own text lower the temperature, from 0 for not at all to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    sensitivity: f64,
    /// Fixes every draw. [default: a new one every time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End before this string; \n is a line break. Can be repeated.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Go on when the model ends its text.
    #[arg(long)]
    ignore_end: bool,
    /// Write the prompt as a user's turn of a conversation (ChatML), and the model answers.
    #[arg(long)]
    chat: bool,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// Let the model call tools.
    #[arg(long)]
    tools: bool,
    /// Reason step by step, and show every step.
    #[arg(long, value_enum)]
    reason: Option<Reasoning>,
    /// Tokens that reasoning may take, over all branches.
    #[arg(long, value_name = "N", default_value_t = 512, requires = "reason")]
    budget: usize,
    /// Steps that a tree tries at each point.
    #[arg(long, value_name = "N", default_value_t = 3, requires = "reason")]
    branches: usize,
    /// Points that a tree goes on from.
    #[arg(long, value_name = "N", default_value_t = 2, requires = "reason")]
    width: usize,
    /// Threads. [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// What reads the model: libtorch's decoder, or one that is made for writing and serves models
    /// without experts and mind. [default: the latter where it can]
    #[arg(long, value_enum)]
    decoder: Option<DecoderOption>,
    /// Print the result as JSON, in batches an object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reasoning {
    /// One step after the other.
    Chain,
    /// Several steps are tried at each point, and the best gone on from.
    Tree,
}

/// What reads a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecoderOption {
    Native,
    Torch,
}

pub async fn run(options: GenerateOptions) -> Result<()> {
    tokio::task::spawn_blocking(move || {
        // What is wrong with these is said before a large model is read.
        let sampling = sampling(&options)?;
        ensure!(
            (0.0..=1.0).contains(&options.sensitivity),
            "sensitivity must be from 0 to 1, not {}",
            options.sensitivity
        );
        let (model, text, begin) = open(&options)?;
        match model {
            Either::Native(model) => write(&*model, &text, begin, sampling, &options),
            Either::Torch(model) => write(&*model, &text, begin, sampling, &options),
        }
    })
    .await?
}

/// How tokens are drawn.
fn sampling(options: &GenerateOptions) -> Result<Sampling> {
    let seed = match options.seed {
        Some(seed) => seed,
        None => {
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes)?;
            u32::from_le_bytes(bytes).into()
        }
    };
    let sampling = Sampling {
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: options.top_p,
        min_p: options.min_p,
        repetition_penalty: options.repetition_penalty,
        seed,
    };
    sampling.validate()?;
    Ok(sampling)
}

/// A model, by what reads it.
pub enum Either {
    /// Made for writing.
    Native(Box<Native>),
    /// libtorch.
    Torch(Box<Torch>),
}

impl Either {
    /// The model of `spec` with these parameters, read as asked for or by what is fastest.
    pub fn new(
        spec: &pol_primitives::model::ModelSpec,
        parameters: &[f32],
        decoder: Option<DecoderOption>,
        threads: usize,
    ) -> Result<Self> {
        let decoder = decoder.unwrap_or(if Native::supports(spec) {
            DecoderOption::Native
        } else {
            DecoderOption::Torch
        });
        Ok(match decoder {
            DecoderOption::Native => Self::Native(Native::new(spec, parameters, threads)?.into()),
            DecoderOption::Torch => {
                tch::set_num_threads(i32::try_from(threads)?);
                let weights =
                    Weights::new(&Layout::new(spec).map_err(pol_model::Error::from)?, parameters)?;
                Self::Torch(Torch::new(spec, weights, Device::Cpu)?.into())
            }
        })
    }
}

fn open(options: &GenerateOptions) -> Result<(Either, Text, Option<u32>)> {
    let model = load(&options.model)?;
    let json = model.tokenizer.with_context(|| {
        format!(
            "{} has no tokenizer; import the model again with --tokenizer FILE",
            options.model.display()
        )
    })?;
    let special = &model.report.special;
    let text = Text::parse(&json)?.with_ends(&special.end);
    let threads = threads(options.threads)?;
    Ok((
        Either::new(&model.spec, &model.parameters, options.decoder, threads)?,
        text,
        special.begin,
    ))
}

/// As many threads as asked for, or as there are cores.
pub fn threads(asked: Option<u16>) -> Result<usize> {
    Ok(match asked {
        Some(threads) => threads.into(),
        None => std::thread::available_parallelism()?.get(),
    })
}

fn write<M: Model>(
    model: &M,
    text: &Text,
    begin: Option<u32>,
    sampling: Sampling,
    options: &GenerateOptions,
) -> Result<()> {
    let request = Request {
        max_tokens: options.max_tokens,
        sampling,
        stop: options.stop.iter().map(|stop| stop.replace("\\n", "\n")).collect(),
        tools: options.tools,
        ignore_end: options.ignore_end,
        sensitivity: options.sensitivity,
        ..Request::default()
    };
    match (&options.batch, options.reason) {
        (Some(batch), _) => {
            let prompts: Vec<String> = given(batch, true)?
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(Into::into)
                .collect();
            ensure!(!prompts.is_empty(), "there is no prompt in {batch}");
            let requests = prompts.iter().zip(0..).map(|(prompt, stream)| {
                Ok(Request {
                    prompt: tokens(text, begin, prompt, options)?,
                    stream,
                    ..request.clone()
                })
            });
            several(model, text, &prompts, &requests.collect::<Result<Vec<_>>>()?, options.json)
        }
        (None, reasoning) => {
            let prompt = given(options.prompt.as_deref().unwrap_or_default(), false)?;
            let request = Request { prompt: tokens(text, begin, &prompt, options)?, ..request };
            match reasoning {
                Some(reasoning) => think(model, text, &prompt, &request, reasoning, options),
                None => one(model, text, &prompt, &request, options.json),
            }
        }
    }
}

/// The text given on the command line, in a file if it can be one, or on standard input.
fn given(argument: &str, file: bool) -> Result<String> {
    if argument == "-" {
        let mut text = String::new();
        stdin().read_to_string(&mut text).context("standard input")?;
        // The line break that ends a file is not meant.
        return Ok(text.strip_suffix('\n').map(Into::into).unwrap_or(text));
    }
    if file {
        std::fs::read_to_string(argument).with_context(|| argument.to_owned())
    } else {
        Ok(argument.to_owned())
    }
}

/// What the model reads first.
fn tokens(
    text: &Text,
    begin: Option<u32>,
    prompt: &str,
    options: &GenerateOptions,
) -> Result<Vec<u32>> {
    let told = [options.reason.is_some().then_some(INSTRUCTION), options.tools.then_some(TOOLS)];
    let told: Vec<&str> = told.into_iter().flatten().collect();
    if options.chat {
        let turn = |role: &str, text: &str| Turn { role: role.into(), text: text.into() };
        let system = options.system.iter().map(|system| turn("system", system));
        let asked = std::iter::once(prompt).chain(told).collect::<Vec<_>>().join("\n");
        return Ok(text.encode_chat(&system.chain([turn("user", &asked)]).collect::<Vec<_>>())?);
    }
    let mut written = told.into_iter().chain([prompt]).collect::<Vec<_>>().join("\n\n");
    if options.reason.is_some() && !written.ends_with('\n') {
        written.push('\n');
    }
    Ok(begin.into_iter().chain(text.encode(&written)?).collect())
}

/// Tokens and seconds of what was written.
struct Clock {
    start: Instant,
    first: Option<f64>,
}

impl Clock {
    fn start() -> Self {
        Self { start: Instant::now(), first: None }
    }

    /// The first token came.
    fn tick(&mut self) {
        self.first.get_or_insert_with(|| self.start.elapsed().as_secs_f64());
    }

    /// Seconds to the first token, and tokens a second after it.
    fn speed(&self, tokens: usize) -> (f64, f64) {
        let first = self.first.unwrap_or_default();
        (first, tokens.saturating_sub(1) as f64 / (self.start.elapsed().as_secs_f64() - first))
    }

    fn json(&self, tokens: usize) -> Value {
        let (first, speed) = self.speed(tokens);
        json!({ "seconds_to_first_token": first, "tokens_per_second": speed })
    }

    fn report(&self, read: usize, tokens: usize, seed: u64) {
        let (first, speed) = self.speed(tokens);
        eprintln!(
            "{tokens} tokens at {speed:.1} tokens/s after a prompt of {read} tokens in {first:.2} s; seed {seed}"
        );
    }
}

fn one<M: Model>(
    model: &M,
    text: &Text,
    prompt: &str,
    request: &Request,
    json: bool,
) -> Result<()> {
    let (mut clock, mut failed) = (Clock::start(), None);
    let mut done = generate(model, text, std::slice::from_ref(request), |_, event| {
        clock.tick();
        if json {
            return ControlFlow::Continue(());
        }
        let shown = match event {
            Event::Text(text) => {
                stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush())
            }
            Event::Call(_) => Ok(()),
        };
        match shown {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error).context("standard output");
    }
    let Some(done) = done.pop() else { bail!("nothing was written") };
    if json {
        let mut object = described(prompt, request, &done);
        object["speed"] = clock.json(done.tokens);
        println!("{object}");
        return Ok(());
    }
    println!();
    clock.report(request.prompt.len(), done.tokens, request.sampling.seed);
    Ok(())
}

fn described(prompt: &str, request: &Request, done: &Completion) -> Value {
    let calls: Vec<Value> = done
        .calls
        .iter()
        .map(|call| match &call.result {
            Ok(result) => json!({ "asked": call.asked, "result": result }),
            Err(error) => json!({ "asked": call.asked, "error": error.to_string() }),
        })
        .collect();
    let affect = done
        .affect
        .map(|affect| json!({ "valence": affect.valence(), "arousal": affect.arousal() }));
    json!({
        "prompt": prompt, "text": done.text, "finish": done.finish, "prompt_tokens": request.prompt.len(), "tokens": done.tokens,
        "seed": request.sampling.seed, "calls": calls,
        "affect": affect,
    })
}

fn several<M: Model>(
    model: &M,
    text: &Text,
    prompts: &[String],
    requests: &[Request],
    json: bool,
) -> Result<()> {
    let mut clock = Clock::start();
    let done = generate(model, text, requests, |_, _| {
        clock.tick();
        ControlFlow::Continue(())
    })?;
    for ((prompt, request), done) in prompts.iter().zip(requests).zip(&done) {
        if json {
            println!("{}", described(prompt, request, done));
        } else {
            println!("> {prompt}\n{}\n", done.text);
        }
    }
    let read = requests.iter().map(|request| request.prompt.len()).sum();
    let written = done.iter().map(|done| done.tokens).sum();
    clock.report(read, written, requests.first().map_or(0, |request| request.sampling.seed));
    Ok(())
}

fn think<M: Model>(
    model: &M,
    text: &Text,
    prompt: &str,
    request: &Request,
    reasoning: Reasoning,
    options: &GenerateOptions,
) -> Result<()> {
    let search = match reasoning {
        Reasoning::Chain => Search::chain(options.budget),
        Reasoning::Tree => Search {
            branches: options.branches,
            width: options.width,
            ..Search::tree(options.budget)
        },
    };
    let mut clock = Clock::start();
    let reasoned = reason(model, text, request, &search, |thought| {
        clock.tick();
        if options.json {
            return;
        }
        match thought {
            Thought::Step(step) if reasoning == Reasoning::Chain => println!("{}", step.text),
            Thought::Step(step) => {
                let after =
                    step.parent.map(|parent| format!(" after {parent}")).unwrap_or_default();
                println!("[{}{after}, value {:.2}] {}", step.id, step.value, step.text);
            }
            Thought::Call(call) => println!("  {}{}", call.asked, call.inserted()),
            Thought::Kept(kept) => println!("  going on from {kept:?}"),
        }
    })?;
    if options.json {
        println!(
            "{}",
            json!({ "prompt": prompt, "seed": request.sampling.seed, "reasoned": reasoned, "speed": clock.json(reasoned.tokens) })
        );
        return Ok(());
    }
    if reasoning == Reasoning::Tree {
        println!("\nThe best path:");
        reasoned.path.iter().for_each(|step| println!("{}", step.text));
    }
    if reasoned.answer.is_empty() {
        println!("The budget of {} tokens allowed no answer; give it more.", options.budget);
    }
    eprintln!("{} steps, {} of {} tokens", reasoned.considered, reasoned.tokens, options.budget);
    clock.report(request.prompt.len(), reasoned.tokens, request.sampling.seed);
    Ok(())
}
