// SPDX-License-Identifier: Apache-2.0

//! Settings of libtorch in a process, for what libtorch computes.
//!
//! libtorch, MKL and oneDNN choose their kernels by processor, unless environment variables that
//! they read when loaded say otherwise. The kernels of [`pol_step`] need none. So only a process
//! whose recipe they do not cover re-executes itself with these variables: [`mode`] tells which.
//! Under [`NumericsMode::Exact`] a training step on libtorch gives the same bits on every x86-64
//! processor with AVX2 and FMA.

use pol_primitives::recipe::{Numerics, Recipe};
use std::{env, os::unix::process::CommandExt, process::Command};

/// Kernels of libtorch that a process computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumericsMode {
    /// The same kernels on every processor, so the same bits.
    Exact,
    /// libtorch's own choice for this processor: faster, for the native profile and for comparison.
    Stock,
}

/// Reasons why a process cannot compute exactly.
#[derive(Debug, thiserror::Error)]
pub enum NumericsError {
    /// The processor lacks an instruction set.
    #[error(
        "this processor has no AVX2 and FMA instructions, which exact arithmetic on libtorch \
         needs; use another machine"
    )]
    Processor,
    /// The process was not started under the profile.
    #[error(
        "the recipe's micro-batches are too large for kernels, and this process was not started \
         under the settings of libtorch that they need; call determinism::ensure first thing in \
         main"
    )]
    NotApplied,
    /// The process could not be started again.
    #[error("cannot start this program again with its numerics profile: {0}")]
    Exec(#[from] std::io::Error),
}

/// Variables of every mode.
///
/// One intra-op thread, since the number of threads changes bits and workers use the cores. Waiting
/// threads spin for some microseconds, about the time between two operations, and then sleep. Freed
/// memory is kept, since training allocates the same large buffers repeatedly.
const COMMON: [(&str, &str); 7] = [
    ("OMP_NUM_THREADS", "1"),
    ("MKL_NUM_THREADS", "1"),
    ("OMP_WAIT_POLICY", "passive"),
    ("GOMP_SPINCOUNT", "20000"),
    ("MALLOC_MMAP_THRESHOLD_", "2147483647"),
    ("MALLOC_TRIM_THRESHOLD_", "8589934592"),
    ("MALLOC_TOP_PAD_", "268435456"),
];

/// Variables that select the same kernels on every processor.
const EXACT: [(&str, &str); 3] =
    [("ATEN_CPU_CAPABILITY", "avx2"), ("MKL_CBWR", "COMPATIBLE"), ("ONEDNN_MAX_CPU_ISA", "AVX2")];

/// Variables that would change kernels or precision, and must not be set.
const FORBIDDEN: [&str; 5] = [
    "DNNL_MAX_CPU_ISA",
    "DNNL_DEFAULT_FPMATH_MODE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_DEBUG_CPU_TYPE",
];

impl NumericsMode {
    /// Returns the variables of this mode, with `None` for those that must not be set.
    fn variables(self) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
        let exact = EXACT
            .into_iter()
            .map(move |(name, value)| (name, (self == Self::Exact).then_some(value)));
        let common = COMMON.into_iter().map(|(name, value)| (name, Some(value)));
        common.chain(exact).chain(FORBIDDEN.into_iter().map(|name| (name, None)))
    }
}

/// Returns the mode of a process that trains by `recipe`: [`NumericsMode::Exact`] for a recipe of
/// the exact profile whose micro-batches are too large for kernels, and `None` for all others,
/// which any environment will do for.
pub fn mode(recipe: &Recipe) -> Option<NumericsMode> {
    let on_libtorch = recipe.numerics == Numerics::Exact && !pol_step::covers(recipe);
    on_libtorch.then_some(NumericsMode::Exact)
}

/// Returns `true` if this process was started under `mode`.
pub fn is_applied(mode: NumericsMode) -> bool {
    mode.variables().all(|(name, value)| env::var_os(name).as_deref() == value.map(AsRef::as_ref))
}

/// Sets the environment of `command` so that it starts under `mode`.
pub fn configure(command: &mut Command, mode: NumericsMode) {
    for (name, value) in mode.variables() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Ensures that this process computes under `mode`: unless it was started so, it re-executes itself
/// with the same arguments, keeping its process id.
///
/// Call it first thing in `main`, before threads are started or libtorch is used.
///
/// # Errors
///
/// Fails if the processor cannot compute exactly, or if the program cannot be executed again.
pub fn ensure(mode: NumericsMode) -> Result<(), NumericsError> {
    if mode == NumericsMode::Exact {
        check_processor()?;
    }
    if is_applied(mode) {
        return Ok(());
    }
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1));
    if let Some(name) = env::args_os().next() {
        command.arg0(name);
    }
    configure(&mut command, mode);
    Err(command.exec().into())
}

/// Fails unless this process computes exactly.
pub(crate) fn check() -> Result<(), NumericsError> {
    check_processor()?;
    if is_applied(NumericsMode::Exact) { Ok(()) } else { Err(NumericsError::NotApplied) }
}

fn check_processor() -> Result<(), NumericsError> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return Ok(());
    }
    Err(NumericsError::Processor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_recipe::recipe;
    use std::collections::HashMap;

    #[test]
    fn only_exact_recipes_that_kernels_do_not_cover_need_a_mode() {
        let mut recipe = recipe();
        assert_eq!(mode(&recipe), None);
        recipe.tiers[3].micro_batch = u16::MAX;
        assert_eq!(mode(&recipe), Some(NumericsMode::Exact));
        recipe.numerics = Numerics::Native { tolerance: 2_000 };
        assert_eq!(mode(&recipe), None);
    }

    #[test]
    fn a_command_gets_all_variables_of_its_mode() {
        let environment = |mode| {
            let mut command = Command::new("true");
            command.env("MKL_CBWR", "AVX512").env("MKL_DEBUG_CPU_TYPE", "5");
            configure(&mut command, mode);
            command
                .get_envs()
                .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
                .collect::<HashMap<_, _>>()
        };
        let (exact, stock) = (environment(NumericsMode::Exact), environment(NumericsMode::Stock));
        assert_eq!(
            exact["MKL_CBWR".as_ref() as &std::ffi::OsStr].as_deref(),
            Some("COMPATIBLE".as_ref())
        );
        assert_eq!(stock["MKL_CBWR".as_ref() as &std::ffi::OsStr], None);
        assert_eq!(exact["MKL_DEBUG_CPU_TYPE".as_ref() as &std::ffi::OsStr], None);
        assert_eq!(
            stock["OMP_NUM_THREADS".as_ref() as &std::ffi::OsStr].as_deref(),
            Some("1".as_ref())
        );
    }
}
