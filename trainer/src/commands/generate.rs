// SPDX-License-Identifier: Apache-2.0

//! Generation of text with a model.

use super::{
    controls::{ControlOptions, TextControls},
    decoder::{AnyDecoder, DecoderOption, thread_count},
    loaded_model::{LoadedModel, ModelSource},
    receipt::{ReceiptOptions, ReceiptWriter},
};
use crate::options::NodeOptions;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use pol_generate::{
    Completion, Event, LanguageModel, MAX_READ_AHEAD, Prompt, Request, Sampling, SearchEvent,
    SearchOptions, generate, reason,
};
use serde_json::{Value, json};
use std::{
    io::{Read, Write, stdin, stdout},
    ops::ControlFlow,
    path::PathBuf,
    time::Instant,
};

const EXAMPLES: &str = "\
Examples:
  pol-trainer generate --model smollm2 'The capital of France is'
  pol-trainer generate --model smollm2 --chat --seed 7 'Why is the sky blue?'
  pol-trainer generate --model smollm2 --temperature 0 --stop '\\n\\n' - < prompt.txt
  pol-trainer generate --model smollm2 --batch prompts.txt --json
      one prompt per line, all at once
  pol-trainer generate --model smollm2 --chat --reason tree --budget 600 --tools 'What is 17 * 23?'
  pol-trainer generate --receipt receipt.json --account me 'Once upon'
      continue a text with the model of the chain, and sign a receipt for `verify-receipt`

The text goes to standard output while it is generated, speed and seed to standard error. The same \
seed gives the same text: on every machine with AVX2 for a model without experts and mind, on the \
same machine for others.

With --tools the model calls tools by markers, and results are inserted after them: \
<<calc: 12*(3+4)>> is exact arithmetic, <<sat: (a or b) and not a>> propositional satisfiability.";

/// Options of `generate`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GenerateOptions {
    /// Text to continue, or with --chat a message to answer; - reads standard input.
    #[arg(value_name = "PROMPT", required_unless_present = "batch")]
    prompt: Option<String>,
    /// Folder made by `model import`. [default: the model at the head of the chain]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    node: NodeOptions,
    /// File with one prompt per line, all continued at once; - reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "reason"])]
    batch: Option<String>,
    /// Most tokens to generate for each prompt.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Divisor of the logits; 0 always takes the most likely token.
    #[arg(long, default_value_t = 0.7, allow_negative_numbers = true)]
    temperature: f32,
    /// Sample from this many of the most likely tokens; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_k: usize,
    /// Sample from the fewest most likely tokens whose probabilities sum to this, above 0 to 1.
    #[arg(long, default_value_t = 0.95, allow_negative_numbers = true)]
    top_p: f32,
    /// Sample from tokens with at least this share of the greatest probability, 0 to 1.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Penalty on the logits of tokens that occurred before; 1 for none.
    #[arg(long, default_value_t = 1.1, allow_negative_numbers = true)]
    repetition_penalty: f32,
    #[command(flatten)]
    controls: ControlOptions,
    /// Lower the temperature when the model's own text surprises it, from 0 (never) to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    sensitivity: f64,
    /// Seed of the sampling. [default: a new one every time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End before this string; \n is a line break. Can be repeated.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Go on when the model ends its text.
    #[arg(long)]
    ignore_end: bool,
    /// Treat the prompt as a user's message in a conversation, and answer it.
    #[arg(long)]
    chat: bool,
    /// System message before the conversation.
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
    /// Points from which a tree goes on at each depth.
    #[arg(long, value_name = "N", default_value_t = 2, requires = "reason")]
    width: usize,
    /// Read up to this many tokens ahead where the text repeats itself. Changes no text.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["batch", "reason"],
        value_parser = clap::value_parser!(u16).range(0..=MAX_READ_AHEAD as i64))]
    read_ahead: u16,
    /// Threads. [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Decoder of the model. [default: native if it supports the model]
    #[arg(long, value_enum)]
    decoder: Option<DecoderOption>,
    /// Keep keys and values as float16, in half the memory. Texts may differ from those with
    /// float32, so there are no receipts of them. Only for the native decoder.
    #[arg(long, conflicts_with = "file")]
    float16_cache: bool,
    #[command(flatten)]
    receipt: ReceiptOptions,
    /// Print the result as JSON; with --batch one object per line.
    #[arg(long)]
    json: bool,
}

/// Order in which reasoning searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reasoning {
    /// Take one step after the other.
    Chain,
    /// Try several steps at each point, and go on from the best.
    Tree,
}

/// Generates text as the options say.
pub(crate) async fn run(options: GenerateOptions) -> Result<()> {
    // Reading a large model takes long, so invalid options are reported before it.
    let sampling = options.sampling()?;
    ensure!(
        (0.0..=1.0).contains(&options.sensitivity),
        "sensitivity must be from 0 to 1, not {}",
        options.sensitivity
    );
    let receipt = options.receipt.writer()?;
    let controls = options.controls.read(receipt.is_some())?;
    let head = match &options.model {
        Some(_) => None,
        None => Some(ModelSource::fetch(&options.node, None).await?),
    };
    tokio::task::spawn_blocking(move || {
        let source = match (head, &options.model) {
            (None, Some(folder)) => ModelSource::read(folder)?,
            (head, _) => head.context("there is no model")?,
        };
        let source = if receipt.is_some() { source.verified() } else { source };
        let source = source.with_float16_cache(options.float16_cache);
        let model = &source.open(options.decoder, thread_count(options.threads)?, None)?;
        let (options, receipt, controls) = (&options, receipt.as_ref(), &controls);
        match &model.decoder {
            AnyDecoder::Native(decoder) => {
                Session { decoder: &**decoder, model, receipt, controls, options }.run(sampling)
            }
            AnyDecoder::Torch(decoder) => {
                Session { decoder: &**decoder, model, receipt, controls, options }.run(sampling)
            }
        }
    })
    .await?
}

impl GenerateOptions {
    /// Returns the checked sampling parameters.
    fn sampling(&self) -> Result<Sampling> {
        let seed = match self.seed {
            Some(seed) => seed,
            None => {
                let mut bytes = [0; 4];
                getrandom::fill(&mut bytes)?;
                u32::from_le_bytes(bytes).into()
            }
        };
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed,
        };
        sampling.validate()?;
        Ok(sampling)
    }
}

/// Reads an argument: as it is, from the file it names, or from standard input if it is `-`.
fn read_argument(argument: &str, names_file: bool) -> Result<String> {
    if argument == "-" {
        let mut text = String::new();
        stdin().read_to_string(&mut text).context("cannot read standard input")?;
        // A line break at the end belongs to the file, not to the prompt.
        return Ok(text.strip_suffix('\n').map(Into::into).unwrap_or(text));
    }
    if names_file {
        std::fs::read_to_string(argument).with_context(|| argument.to_owned())
    } else {
        Ok(argument.to_owned())
    }
}

/// One run of the command with a loaded model.
struct Session<'a, M> {
    decoder: &'a M,
    model: &'a LoadedModel,
    receipt: Option<&'a ReceiptWriter>,
    controls: &'a TextControls,
    options: &'a GenerateOptions,
}

impl<M: LanguageModel> Session<'_, M> {
    fn run(&self, sampling: Sampling) -> Result<()> {
        let options = self.options;
        let request = Request {
            max_tokens: options.max_tokens,
            sampling,
            controls: self.controls.controls.clone(),
            constraint: self.controls.constraint(&self.model.text)?,
            stop: options.stop.iter().map(|stop| stop.replace("\\n", "\n")).collect(),
            tools: options.tools,
            ignore_end: options.ignore_end,
            sensitivity: options.sensitivity,
            read_ahead: options.read_ahead.into(),
            ..Request::default()
        };
        if let Some(batch) = &options.batch {
            return self.run_batch(batch, &request);
        }
        let prompt = read_argument(options.prompt.as_deref().unwrap_or_default(), false)?;
        let request = Request { prompt: self.encode_prompt(&prompt)?, ..request };
        match options.reason {
            Some(reasoning) => self.reason(&prompt, &request, reasoning),
            None => self.continue_one(&prompt, &request),
        }
    }

    /// Returns the tokens of a prompt with its instructions.
    fn encode_prompt(&self, prompt: &str) -> Result<Vec<u32>> {
        let GenerateOptions { chat, tools, .. } = *self.options;
        let (system, reason) = (self.options.system.as_deref(), self.options.reason.is_some());
        let prompt = Prompt { text: prompt, chat, system, history: &[], tools, reason };
        Ok(prompt.encode(&self.model.text, self.model.begin)?)
    }

    /// Continues the prompts in a file, one per line, all at once.
    fn run_batch(&self, batch: &str, request: &Request) -> Result<()> {
        let lines = read_argument(batch, true)?;
        let prompts: Vec<&str> = lines.lines().filter(|line| !line.trim().is_empty()).collect();
        ensure!(!prompts.is_empty(), "there is no prompt in {batch}");
        let requests = prompts.iter().zip(0..).map(|(prompt, stream)| {
            Ok(Request { prompt: self.encode_prompt(prompt)?, stream, ..request.clone() })
        });
        let requests = requests.collect::<Result<Vec<_>>>()?;
        let mut clock = Stopwatch::start();
        let completions = generate(self.decoder, &self.model.text, &requests, |_, _| {
            clock.record_first_token();
            ControlFlow::Continue(())
        })?;
        for ((prompt, request), completion) in prompts.iter().zip(&requests).zip(&completions) {
            if self.options.json {
                println!("{}", completion_json(prompt, request, completion));
            } else {
                println!("> {prompt}\n{}\n", completion.text);
            }
        }
        let prompt_tokens = requests.iter().map(|request| request.prompt.len()).sum();
        let tokens = completions.iter().map(|completion| completion.tokens).sum();
        clock.report(prompt_tokens, tokens, request.sampling.seed);
        Ok(())
    }

    /// Continues one prompt, and prints the text while it is generated.
    fn continue_one(&self, prompt: &str, request: &Request) -> Result<()> {
        let (mut clock, mut failure) = (Stopwatch::start(), None);
        let requests = std::slice::from_ref(request);
        let mut completions = generate(self.decoder, &self.model.text, requests, |_, event| {
            clock.record_first_token();
            let printed = match event {
                Event::Text(text) if !self.options.json => {
                    stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush())
                }
                _ => Ok(()),
            };
            match printed {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failure {
            return Err(error).context("cannot write to standard output");
        }
        let Some(completion) = completions.pop() else { bail!("no text was generated") };
        if let Some(receipt) = self.receipt {
            receipt.write(self.model, request, &completion)?;
        }
        if self.options.json {
            let mut object = completion_json(prompt, request, &completion);
            object["speed"] = clock.to_json(completion.tokens);
            println!("{object}");
            return Ok(());
        }
        println!();
        clock.report(request.prompt.len(), completion.tokens, request.sampling.seed);
        Ok(())
    }

    /// Reasons about one prompt, and prints every step.
    fn reason(&self, prompt: &str, request: &Request, reasoning: Reasoning) -> Result<()> {
        let options = self.options;
        let search = match reasoning {
            Reasoning::Chain => SearchOptions::chain(options.budget),
            Reasoning::Tree => SearchOptions {
                branches: options.branches,
                width: options.width,
                ..SearchOptions::tree(options.budget)
            },
        };
        let mut clock = Stopwatch::start();
        let reasoned = reason(self.decoder, &self.model.text, request, &search, |event| {
            clock.record_first_token();
            if !options.json {
                print_search_event(&event, reasoning);
            }
        })?;
        if options.json {
            println!(
                "{}",
                json!({
                    "prompt": prompt,
                    "seed": request.sampling.seed,
                    "reasoned": reasoned,
                    "speed": clock.to_json(reasoned.tokens),
                })
            );
            return Ok(());
        }
        if reasoning == Reasoning::Tree {
            println!("\nThe best path:");
            reasoned.path.iter().for_each(|step| println!("{}", step.text));
        }
        if reasoned.answer.is_empty() {
            println!("{} tokens were not enough for an answer; raise --budget.", options.budget);
        }
        eprintln!(
            "{} steps, {} of {} tokens",
            reasoned.considered, reasoned.tokens, options.budget
        );
        clock.report(request.prompt.len(), reasoned.tokens, request.sampling.seed);
        Ok(())
    }
}

fn print_search_event(event: &SearchEvent<'_>, reasoning: Reasoning) {
    match event {
        SearchEvent::Step(step) if reasoning == Reasoning::Chain => println!("{}", step.text),
        SearchEvent::Step(step) => {
            let after = step.parent.map(|parent| format!(" after {parent}")).unwrap_or_default();
            println!("[{}{after}, value {:.2}] {}", step.id, step.value, step.text);
        }
        SearchEvent::Call(call) => println!("  {}{}", call.asked, call.inserted()),
        SearchEvent::Kept(kept) => println!("  going on from {kept:?}"),
    }
}

fn completion_json(prompt: &str, request: &Request, completion: &Completion) -> Value {
    json!({
        "prompt": prompt,
        "text": completion.text,
        "finish": completion.finish,
        "prompt_tokens": request.prompt.len(),
        "tokens": completion.tokens,
        "seed": request.sampling.seed,
        "calls": completion.calls,
        "affect": completion.affect,
    })
}

/// Measurement of the speed of generation.
struct Stopwatch {
    start: Instant,
    /// Seconds from the start to the first token.
    first_token: Option<f64>,
}

impl Stopwatch {
    fn start() -> Self {
        Self { start: Instant::now(), first_token: None }
    }

    /// Records the time of the first token. Later calls change nothing.
    fn record_first_token(&mut self) {
        self.first_token.get_or_insert_with(|| self.start.elapsed().as_secs_f64());
    }

    /// Returns the seconds to the first token, and the tokens per second after it.
    fn speed(&self, tokens: usize) -> (f64, f64) {
        let first = self.first_token.unwrap_or_default();
        (first, tokens.saturating_sub(1) as f64 / (self.start.elapsed().as_secs_f64() - first))
    }

    fn to_json(&self, tokens: usize) -> Value {
        let (first, speed) = self.speed(tokens);
        json!({ "seconds_to_first_token": first, "tokens_per_second": speed })
    }

    /// Prints the speed on standard error.
    fn report(&self, prompt_tokens: usize, tokens: usize, seed: u64) {
        let (first, speed) = self.speed(tokens);
        eprintln!(
            "{tokens} tokens at {speed:.1} tokens/s after a prompt of {prompt_tokens} tokens in \
             {first:.2} s; seed {seed}"
        );
    }
}
