//! A program from its start to its end.

use crate::{
    cli::{LogOptions, Options},
    failure,
};
use pol_chain::Chain;
use pol_engine::determinism::{self, NumericsMode};
use pol_primitives::recipe::Numerics;
use std::{ffi::c_int, future::Future, io::Write, time::Duration};

/// Longest that a node is asked which profile its network computes by.
const PATIENCE: Duration = Duration::from_secs(5);

unsafe extern "C" {
    /// Ends the process at once (POSIX).
    safe fn _exit(status: c_int) -> !;
}

/// How a process with these `options` computes: a member by the profile of its network's recipe,
/// which is the exact one as long as no node says otherwise. Under the native one it takes what the
/// processor and the environment give it.
pub fn numerics(options: &Options) -> Option<NumericsMode> {
    if options.command.is_some() {
        return options.numerics();
    }
    let asked = async { Chain::connect(&options.run.node.url).await?.recipe().await };
    let asked = async { tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()? };
    // A runtime of its own: the process may be started again after this.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    match runtime.block_on(asked).map(|recipe| recipe.numerics) {
        Some(Numerics::Native { .. }) => None,
        Some(Numerics::Exact) | None => Some(NumericsMode::Exact),
    }
}

/// Runs `work` as everything that the program `name` does, and ends the process: with 1 and the
/// error on standard error where it fails. `numerics` is how it computes, if it computes anything
/// with a model.
pub fn run(
    name: &str,
    numerics: Option<NumericsMode>,
    log: &LogOptions,
    work: impl Future<Output = anyhow::Result<()>>,
) -> ! {
    // Before anything loads a kernel: the exact profile is chosen by the environment the process
    // starts with.
    if let Some(mode) = numerics
        && let Err(error) = determinism::ensure(mode)
    {
        eprintln!("{name}: {error}");
        _exit(1);
    }
    log.start();
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
        eprintln!("{name}: {}", error::explain(error));
    }
    // A thread may still be training, and would crash if libtorch were taken down under it by an
    // orderly exit. What it leaves on disk is whole at any moment.
    let _ = std::io::stdout().flush();
    _exit(outcome.is_err().into())
}
