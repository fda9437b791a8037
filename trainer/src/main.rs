// SPDX-License-Identifier: Apache-2.0

//! `pol-trainer`: trains the global model and audits other trainers.

use pol_trainer::{cli::Cli, process};

fn main() {
    let (cli, errors) = Cli::read();
    let log = cli.log.clone();
    let numerics = process::numerics(&cli);
    process::run("pol-trainer", numerics, &log, errors, cli.execute())
}
