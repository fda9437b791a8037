// SPDX-License-Identifier: Apache-2.0

//! Asks a model reasoning probes and prints the number of answers of each kind.
//!
//! `cargo run --release -p pol-probes --example probes -- FOLDER [COUNT] [SHOTS] [ROUND]`. FOLDER
//! was written by `pol-trainer model import`. SHOTS is the number of worked examples before each
//! question.

use pol_generate::{NativeModel, TextTokenizer};
use pol_import::load;
use pol_probes::{metrics::reasoning_quality, probes::ProbeTask, run_probes};
use std::{env, error::Error, path::Path, thread};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().ok_or("give the folder of a model")?;
    let count = arguments.next().map_or(Ok(50), |count| count.parse())?;
    let shots = arguments.next().map_or(Ok(2), |shots| shots.parse())?;
    let round = arguments.next().map_or(Ok(1), |round| round.parse())?;
    let model = load(Path::new(&folder))?;
    let text = TextTokenizer::parse(&model.tokenizer.ok_or("the model has no tokenizer")?)?
        .with_ends(&model.report.special.end);
    let native =
        NativeModel::new(&model.spec, &model.parameters, thread::available_parallelism()?.get())?;
    let answers = run_probes(&native, &text, (&[0; 32], round), count, shots)?;
    for task in ProbeTask::ALL {
        let (asked, answered) = answers
            .iter()
            .filter(|(of, _)| *of == task)
            .fold((0, 0), |(asked, answered), (_, right)| {
                (asked + 1, answered + u32::from(*right))
            });
        println!("{task:?}: {answered} of {asked}");
    }
    if let Some(quality) = reasoning_quality(&answers) {
        println!("reasoning quality {quality:.3}");
    }
    Ok(())
}
