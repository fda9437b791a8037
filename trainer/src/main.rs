//! `pol-trainer`: trains the global model, and checks others doing the same.

use clap::Parser;
use pol_trainer::{cli::Options, commands, process};

fn main() {
    let options = Options::parse();
    let log = options.log.clone();
    let numerics = process::numerics(&options);
    process::run("pol-trainer", numerics, &log, commands::run(options))
}
