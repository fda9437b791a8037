//! Keys of accounts.

use crate::cli::KeysCommand;
use anyhow::Result;
use pol_chain::Signer;

pub fn run(command: KeysCommand) -> Result<()> {
    let signer = match command {
        KeysCommand::Generate { out } => Signer::generate(&out)?,
        KeysCommand::Show { key } => key.signer()?,
    };
    println!("{}", signer.ss58());
    Ok(())
}
