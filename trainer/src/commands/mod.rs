//! The subcommands.

pub mod adapt;
mod bench;
pub mod calibrate;
mod data;
pub mod generate;
mod keys;
mod model;
mod money;
mod observe;
pub mod propose;
pub mod recipe;
pub mod run;
mod status;
mod verify_head;

use crate::{
    cli::{Command, Options},
    conduct::Honest,
};
use anyhow::Result;

/// Does what was asked for.
pub async fn run(options: Options) -> Result<()> {
    match options.command {
        None => run::run(options.run, Honest).await,
        Some(Command::Data(command)) => data::run(command).await,
        Some(Command::Recipe(command)) => recipe::run(command).await,
        Some(Command::Model(command)) => model::run(command).await,
        Some(Command::Generate(options)) => generate::run(options).await,
        Some(Command::Status(options)) => status::run(options).await,
        Some(Command::Keys(command)) => keys::run(command),
        Some(Command::Bench(options)) => bench::run(&options),
        Some(Command::Calibrate(options)) => calibrate::run(&options),
        Some(Command::VerifyHead(options)) => verify_head::run(options).await,
        Some(Command::Observe(options)) => observe::run(options).await,
    }
}
