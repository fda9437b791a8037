// SPDX-License-Identifier: Apache-2.0

//! The terminal as a full screen: its state before and after, input, and signals.

use anyhow::{Result, ensure};
use futures::future::{pending, select_all};
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::{
        event::{self, Event},
        terminal,
    },
};
use std::{thread, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Time between two looks for the end of the program while there is no input.
const INPUT_INTERVAL: Duration = Duration::from_millis(200);
/// Inputs that wait to be handled.
const WAITING_INPUTS: usize = 64;
/// Most cells of a terminal. Each takes memory, and a terminal may claim billions.
const MAX_CELLS: u32 = 1 << 20;

/// Full screen. The terminal is as it was before once this is dropped, and before a panic of any
/// thread is reported.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> Result<Self> {
        check_size()?;
        Ok(ratatui::try_init().map(Self)?)
    }

    /// Draws a frame. Only cells that differ from the last one are written.
    pub(super) fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        check_size()?;
        self.0.draw(render)?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = ratatui::try_restore();
    }
}

fn check_size() -> Result<()> {
    let (columns, lines) = terminal::size()?;
    ensure!(
        u32::from(columns) * u32::from(lines) <= MAX_CELLS,
        "the terminal claims {columns} × {lines} cells; set its size, as `stty cols 100 rows 40` \
         does"
    );
    Ok(())
}

/// Reads keys and changes of the size on a thread of its own, which ends with the receiver, and
/// with the terminal.
pub(super) fn read_input() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(WAITING_INPUTS);
    thread::spawn(move || {
        while !sender.is_closed() {
            let input = event::poll(INPUT_INTERVAL)
                .and_then(|is_there| if is_there { event::read().map(Some) } else { Ok(None) });
            let sent = match input {
                Ok(Some(input)) => sender.blocking_send(input).is_ok(),
                Ok(None) => true,
                Err(_) => false,
            };
            if !sent {
                return;
            }
        }
    });
    receiver
}

/// Waits for a signal that ends programs.
pub(super) async fn signalled() {
    let kinds = [
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
    ];
    let arrivals = kinds.map(|kind| {
        Box::pin(async move {
            match signal(kind) {
                Ok(mut signals) => {
                    signals.recv().await;
                }
                Err(_) => pending().await,
            }
        })
    });
    select_all(arrivals).await;
}
