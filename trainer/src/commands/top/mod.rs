// SPDX-License-Identifier: Apache-2.0

//! The network in a terminal, straight from a node: a task follows the chain, and each state of it
//! is drawn.

mod draw;
mod facts;
mod feed;
#[cfg(test)]
mod fixture;
mod history;
mod navigation;
mod news;
mod screen;
mod view;

use crate::options::{LookOptions, NodeOptions};
use anyhow::{Context, Result, bail};
use clap::Args;
use draw::Theme;
use facts::FactReader;
use feed::{Update, follow};
use navigation::{Navigation, Step};
use screen::{Screen, read_input, signalled};
use std::{
    env,
    io::{IsTerminal, stdin, stdout},
    pin::pin,
    time::Duration,
};
use tokio::{sync::watch, time};
use view::View;

/// Columns of a frame of plain text.
const PLAIN_COLUMNS: u16 = 100;
/// Longest time between two frames, which show ages.
const FRAME_INTERVAL: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  pol-trainer top                            watch the network of a local node
  pol-trainer top --node ws://host:9944      watch that of another node
  pol-trainer top --account main             and your account beside it
  pol-trainer top --once                     print one frame as plain text
  pol-trainer top --json | jq .losses        one JSON object, for scripts

Keys: Tab and 1 to 6 choose a page, the arrows and PgUp, PgDn, Home, End scroll it, q ends. \
Colours are left out if NO_COLOR is set.";

/// Options of `top`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopOptions {
    #[command(flatten)]
    node: NodeOptions,
    // The account that is shown beside the network.
    #[command(flatten)]
    of: LookOptions,
    /// Print one frame as plain text and end, as without a terminal.
    #[arg(long)]
    once: bool,
    /// Print one JSON object and end. Amounts are in the token's smallest unit.
    #[arg(long, conflicts_with = "once")]
    json: bool,
}

impl TopOptions {
    /// Returns `true` if the terminal is drawn on, so that nothing else may write to it.
    pub(crate) fn is_interactive(&self) -> bool {
        !self.once
            && !self.json
            && stdin().is_terminal()
            && stdout().is_terminal()
            && env::var_os("TERM").is_some_and(|kind| kind != "dumb")
    }
}

/// Shows the network until it is told to end, or prints it once.
pub(crate) async fn run(options: TopOptions) -> Result<()> {
    let account = options.of.account()?;
    let chain = options.node.connect_soon().await?;
    let mut reader = FactReader::new(chain, account).await?;
    let facts = reader.read_best().await?;
    let node = options.node.addresses();
    if options.json {
        println!("{}", view::to_json(&facts));
        return Ok(());
    }
    let update = Update::live(facts);
    if !options.is_interactive() {
        print!("{}", draw::plain(&View::new(&node, &update), PLAIN_COLUMNS));
        return Ok(());
    }
    let (updates, shown) = watch::channel(update);
    let following = tokio::spawn(follow(reader, updates));
    let screen = Screen::open().context("cannot draw on this terminal; try --once")?;
    tokio::select! {
        outcome = show(screen, &node, shown) => outcome,
        outcome = following => outcome.context("the task that follows the chain failed")?,
    }
}

/// Draws each update, until a key or a signal ends it.
async fn show(mut screen: Screen, node: &str, mut updates: watch::Receiver<Update>) -> Result<()> {
    let (mut navigation, theme) = (Navigation::default(), Theme::of_environment());
    let mut input = read_input();
    let mut frames = time::interval(FRAME_INTERVAL);
    let mut ended = pin!(signalled());
    loop {
        let view = View::new(node, &updates.borrow_and_update());
        screen.draw(|frame| draw::page(frame, &view, &mut navigation, theme))?;
        tokio::select! {
            changed = updates.changed() => if changed.is_err() {
                bail!("the chain is no longer followed");
            },
            event = input.recv() => {
                if event.is_none_or(|event| navigation.handle(&event) == Step::End) {
                    return Ok(());
                }
            }
            _ = frames.tick() => {}
            () = &mut ended => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_for_scripts_needs_no_terminal() {
        let options = |once, json| TopOptions {
            node: NodeOptions { urls: Vec::new() },
            of: LookOptions::default(),
            once,
            json,
        };
        assert!(!options(true, false).is_interactive());
        assert!(!options(false, true).is_interactive());
    }
}
