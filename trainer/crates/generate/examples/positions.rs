// SPDX-License-Identifier: Apache-2.0

//! Prints the loss of a model by the position in a text, which shows how far back it reads:
//!
//! ```sh
//! cargo run --release -p pol-generate --example positions -- smollm2 hamlet.txt [TOKENS]
//! ```
//!
//! Each row has the mean over a range of positions. A model that uses what it read long ago has a
//! lower loss in later rows; one beyond the texts that it was trained on has a higher one.

use pol_generate::{LanguageModel, NativeModel, Prediction, TextTokenizer, log_probability};
use std::{env, error::Error, fs, path::Path, thread};

/// Tokens that are processed together.
const PIECE: usize = 64;
/// Positions of the first row. Each row after it has as many as all before.
const FIRST: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, text, more @ ..] = &arguments[..] else {
        return Err("give the folder of a model and a text, and a number of tokens".into());
    };
    let most = more.first().map_or(Ok(usize::MAX), |tokens| tokens.parse())?;
    let mut imported = pol_import::open(Path::new(folder))?;
    let tokenizer = imported.tokenizer.take().ok_or("the model has no tokenizer")?;
    let tokenizer = TextTokenizer::parse(&tokenizer)?;
    let (spec, threads) = (imported.spec, thread::available_parallelism()?.get());
    let begin = imported.report.special.begin;
    let model = NativeModel::from_reader::<Box<dyn Error>>(&spec, threads, |values| {
        Ok(imported.read(values)?)
    })?;
    let tokens = tokenizer.encode(&fs::read_to_string(text)?)?;
    let tokens: Vec<u32> =
        begin.into_iter().chain(tokens).take(most.min(model.context())).collect();
    let known = tokens.len().checked_sub(1).ok_or("the text is empty")?;
    let (mut cache, mut losses) = (model.new_cache(tokens.len())?, Vec::new());
    for (piece, next) in tokens[..known].chunks(PIECE).zip(tokens[1..].chunks(PIECE)) {
        let mut predictions = vec![Prediction::default(); piece.len()];
        model.forward_each(&mut cache, piece, &mut predictions)?;
        let loss =
            |(prediction, next): (&Prediction, &u32)| -log_probability(&prediction.logits, *next);
        losses.extend(predictions.iter().zip(next).map(loss));
    }
    println!("positions          nats per token  perplexity");
    let (mut start, mut end) = (0, FIRST);
    while start < losses.len() {
        let row = &losses[start..end.min(losses.len())];
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        println!("{start:>6} to {:>6}  {mean:>14.4}  {:>10.2}", start + row.len(), mean.exp());
        (start, end) = (end, 2 * end);
    }
    Ok(())
}
