// SPDX-License-Identifier: Apache-2.0

//! Continues a prompt with a model that `pol-trainer model import` wrote:
//!
//! ```sh
//! cargo run --release -p pol-generate --example generate -- smollm2 'The capital of France is'
//! ```

use pol_generate::{Event, NativeModel, Request, TextTokenizer, generate};
use std::{env, error::Error, io::Write, ops::ControlFlow, path::Path, thread};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, prompt] = &arguments[..] else {
        return Err("give the folder of a model and a prompt".into());
    };
    let mut imported = pol_import::open(Path::new(folder))?;
    let tokenizer = imported.tokenizer.take().ok_or("the model has no tokenizer")?;
    let tokenizer = TextTokenizer::parse(&tokenizer)?.with_ends(&imported.report.special.end);
    let (spec, threads) = (imported.spec, thread::available_parallelism()?.get());
    let model = NativeModel::from_reader::<Box<dyn Error>>(&spec, threads, |values| {
        Ok(imported.read(values)?)
    })?;

    let request =
        Request { prompt: tokenizer.encode(prompt)?, max_tokens: 64, ..Request::default() };
    generate(&model, &tokenizer, &[request], |_, event| {
        if let Event::Text(text) = event {
            print!("{text}");
            // A closed standard output ends the generation.
            if std::io::stdout().flush().is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    println!();
    Ok(())
}
