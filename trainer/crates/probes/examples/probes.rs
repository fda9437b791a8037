//! Puts reasoning probes to a model and says how many of each kind it answers.
//!
//! `cargo run --release -p pol-model --example probes -- FOLDER [COUNT] [SHOTS] [ROUND]`, where
//! FOLDER was made by `pol-trainer model import` and SHOTS are the worked examples before each
//! question.

use pol_generate::{Native, Text};
use pol_import::load;
use pol_probes::{ask, metrics::reasoning_quality, probes::Task};
use std::{env, error::Error, path::Path, thread};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().ok_or("give the folder of a model")?;
    let count = arguments.next().map_or(Ok(50), |count| count.parse())?;
    let shots = arguments.next().map_or(Ok(2), |shots| shots.parse())?;
    let round = arguments.next().map_or(Ok(1), |round| round.parse())?;
    let model = load(Path::new(&folder))?;
    let text = Text::parse(&model.tokenizer.ok_or("the model has no tokenizer")?)?
        .with_ends(&model.report.special.end);
    let native =
        Native::new(&model.spec, &model.parameters, thread::available_parallelism()?.get())?;
    let answers = ask(&native, &text, (&[0; 32], round), count, shots)?;
    for task in Task::ALL {
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
