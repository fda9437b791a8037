// SPDX-License-Identifier: Apache-2.0

//! Progress bars.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Returns a progress bar on standard error. It is hidden if `json` is set or if standard error is
/// not a terminal.
pub(crate) fn progress_bar(json: bool, template: &str) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
