// SPDX-License-Identifier: Apache-2.0

//! Start and end of a program.

use crate::{
    cli::Cli,
    error::{self, ErrorFormat},
    options::LogOptions,
    traces::Traces,
};
use pol_engine::determinism::{self, NumericsMode};
use std::{ffi::c_int, future::Future, io::Write, panic, time::Duration};

/// Longest wait for a node to report the numerics of its recipe.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

unsafe extern "C" {
    /// Ends the process at once (POSIX).
    safe fn _exit(status: c_int) -> !;
}

/// Returns the settings of libtorch for a process with this command line, or `None` if the
/// processor and the environment decide.
///
/// A member needs them only if its network's recipe trains exactly on libtorch. Without an answer
/// from a node it takes what there is, and ends with an error once it learns of such a recipe.
pub fn numerics(cli: &Cli) -> Option<NumericsMode> {
    let Some(node) = cli.node_of_numerics() else { return cli.numerics() };
    let recipe = async { node.connect().await?.recipe().await };
    let recipe = async { tokio::time::timeout(CONNECT_TIMEOUT, recipe).await.ok()?.ok()? };
    // A runtime of its own: `determinism::ensure` may replace the process after this.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    determinism::mode(&runtime.block_on(recipe)?)
}

/// Runs `work` as the whole of the program `name` and ends the process. If `work` fails, the error
/// goes to standard error in the form `errors`, and the exit code is 1. `numerics` is the mode in
/// which libtorch computes, if one is needed.
pub fn run(
    name: &str,
    numerics: Option<NumericsMode>,
    log: &LogOptions,
    errors: ErrorFormat,
    work: impl Future<Output = anyhow::Result<()>>,
) -> ! {
    // Must precede the first use of libtorch: the environment at process start selects its kernels.
    if let Some(mode) = numerics
        && let Err(error) = determinism::ensure(mode)
    {
        errors.print(name, &error.to_string());
        _exit(1);
    }
    let traces = Traces::from_env(name).unwrap_or_else(|error| {
        errors.print(name, &error.to_string());
        _exit(1)
    });
    let layer = traces.as_ref().map(|traces| traces.layer(pol_metrics::SPANS));
    log.start(name, errors, layer);
    guard_output(name, errors);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(work);
            runtime.shutdown_background();
            outcome
        });
    if let Err(error) = &outcome {
        errors.print(name, &error::explain(error));
    }
    if let Some(traces) = &traces {
        traces.finish();
    }
    // A thread may still be training and would crash if an orderly exit unloaded libtorch under it.
    // Its files are consistent at any moment.
    let _ = std::io::stdout().flush();
    _exit(outcome.is_err().into())
}

/// Ends the program without a panic where standard output cannot be written, which makes `println!`
/// panic. Nothing is said if the reader has closed the pipe, as `head` does. Other panics are
/// reported in the form `errors`.
fn guard_output(name: &str, errors: ErrorFormat) {
    let (name, report) = (name.to_owned(), panic::take_hook());
    panic::set_hook(Box::new(move |panic| {
        match panic.payload_as_str().filter(|text| text.starts_with("failed printing to stdout")) {
            Some(text) if text.contains("Broken pipe") => _exit(1),
            Some(text) => {
                errors.print(&name, text);
                _exit(1)
            }
            None if errors == ErrorFormat::Json => errors.print(&name, &panic.to_string()),
            None => report(panic),
        }
    }));
}
