//! The numerics profile of a process.
//!
//! libtorch, MKL and oneDNN choose their kernels by processor unless environment variables, read
//! when they are loaded, say otherwise. So a process that must compute exactly re-executes itself
//! with them. Under [`Mode::Exact`] a training step gives the same bits on every x86-64 processor
//! with AVX2 and FMA.

use std::{env, os::unix::process::CommandExt, process::Command};

/// Which kernels a process computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The network's: the same bits everywhere.
    Exact,
    /// libtorch's own choice for this processor, faster, for comparison only.
    Stock,
}

/// Why a process cannot compute exactly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The processor lacks an instruction set.
    #[error(
        "this processor has no AVX2 and FMA instructions, which the network's exact arithmetic needs; use another machine"
    )]
    Processor,
    /// The process did not set the profile up.
    #[error(
        "this process was not started under the exact numerics profile; call determinism::ensure first thing in main"
    )]
    NotApplied,
    /// The process could not be started again.
    #[error("cannot start this program again with its numerics profile: {0}")]
    Exec(#[from] std::io::Error),
}

/// One intra-op thread, since the number of threads changes bits and workers use the cores; threads
/// that wait spin for some microseconds, as long as from one operation to the next, and then sleep;
/// and freed memory is kept, since training allocates the same large buffers over and over.
const COMMON: [(&str, &str); 7] = [
    ("OMP_NUM_THREADS", "1"),
    ("MKL_NUM_THREADS", "1"),
    ("OMP_WAIT_POLICY", "passive"),
    ("GOMP_SPINCOUNT", "20000"),
    ("MALLOC_MMAP_THRESHOLD_", "2147483647"),
    ("MALLOC_TRIM_THRESHOLD_", "8589934592"),
    ("MALLOC_TOP_PAD_", "268435456"),
];

/// The same kernels on every processor.
const EXACT: [(&str, &str); 3] =
    [("ATEN_CPU_CAPABILITY", "avx2"), ("MKL_CBWR", "COMPATIBLE"), ("ONEDNN_MAX_CPU_ISA", "AVX2")];

/// Variables that would change kernels or precision behind the profile's back.
const FOREIGN: [&str; 5] = [
    "DNNL_MAX_CPU_ISA",
    "DNNL_DEFAULT_FPMATH_MODE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_DEBUG_CPU_TYPE",
];

impl Mode {
    /// The variables of this profile, with no value for those that must not be set.
    fn variables(self) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
        let exact = EXACT
            .into_iter()
            .map(move |(name, value)| (name, (self == Self::Exact).then_some(value)));
        let common = COMMON.into_iter().map(|(name, value)| (name, Some(value)));
        common.chain(exact).chain(FOREIGN.into_iter().map(|name| (name, None)))
    }
}

/// Whether this process was started under `mode`.
pub fn applied(mode: Mode) -> bool {
    mode.variables().all(|(name, value)| env::var_os(name).as_deref() == value.map(AsRef::as_ref))
}

/// Makes `command` start under `mode`.
pub fn configure(command: &mut Command, mode: Mode) {
    for (name, value) in mode.variables() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Makes sure that this process computes under `mode`: starts it again, with the same arguments in
/// the same process, unless it was started so. To be called first thing in `main`, before threads
/// are started or libtorch is used.
///
/// Fails when the processor cannot compute exactly, or the program cannot be started again.
pub fn ensure(mode: Mode) -> Result<(), Error> {
    if mode == Mode::Exact {
        check_processor()?;
    }
    if applied(mode) {
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
pub(crate) fn check() -> Result<(), Error> {
    check_processor()?;
    if applied(Mode::Exact) { Ok(()) } else { Err(Error::NotApplied) }
}

fn check_processor() -> Result<(), Error> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return Ok(());
    }
    Err(Error::Processor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_command_is_configured_whole() {
        let environment = |mode| {
            let mut command = Command::new("true");
            command.env("MKL_CBWR", "AVX512").env("MKL_DEBUG_CPU_TYPE", "5");
            configure(&mut command, mode);
            command
                .get_envs()
                .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
                .collect::<HashMap<_, _>>()
        };
        let (exact, stock) = (environment(Mode::Exact), environment(Mode::Stock));
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
