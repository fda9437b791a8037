// SPDX-License-Identifier: Apache-2.0

//! `GET /machine`: the machine and the work of this process.

use crate::control::{Activity, Control, Progress};
use axum::{Json, extract::State};
use pol_api::{ApiError, Problem};
use pol_hardware::{HardwareError, Machine};
use pol_primitives::recipe::{Numerics, Tier};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// State of the endpoint.
#[derive(Clone)]
struct Described {
    control: Control,
    /// Facts of the machine that stay.
    machine: Arc<OnceLock<Machine>>,
}

/// Machine and work of this process.
#[derive(Serialize, ToSchema)]
struct MachineReport {
    /// Role: trainer, validator, provider, or api.
    role: &'static str,
    /// Account that signs.
    account: Option<String>,
    /// Version of the program.
    version: &'static str,
    /// Start of the process, in UTC.
    started: String,
    /// Time since then, in seconds.
    uptime_seconds: f64,
    /// Genesis of the chain.
    genesis: Option<String>,
    /// Tier of a trainer.
    tier: Option<&'static str>,
    /// Processor.
    processor: Processor,
    /// Names of the NVIDIA GPUs.
    gpus: Vec<String>,
    /// Threads that compute.
    workers: Option<usize>,
    /// Memory.
    memory: Memory,
    /// Disk of the state folder.
    disk: Option<Disk>,
    /// Kernels that this process computes with: exact, or native.
    numerics: &'static str,
    /// Activity.
    activity: Activity,
    /// Progress of the lease under way.
    progress: Option<Progress>,
}

/// Processor of a machine.
#[derive(Serialize, ToSchema)]
struct Processor {
    /// Name.
    name: String,
    /// Cores that this process may run on.
    cores: usize,
    /// Set with AVX2.
    avx2: bool,
    /// Set with AVX-512F.
    avx512: bool,
}

/// Memory of a machine.
#[derive(Serialize, ToSchema)]
struct Memory {
    /// Memory that this process may use, in bytes.
    size_bytes: u64,
    /// Free memory of that, in bytes.
    available_bytes: u64,
    /// Memory that this process uses, in bytes.
    resident_bytes: Option<u64>,
}

/// Space on a disk.
#[derive(Serialize, ToSchema)]
struct Disk {
    /// Size, in bytes.
    size_bytes: u64,
    /// Free space, in bytes.
    free_bytes: u64,
}

impl Described {
    /// Describes the machine now. Asks the operating system, which may take a moment.
    fn report(&self) -> Result<MachineReport, HardwareError> {
        let work = self.control.state();
        let machine = self.machine()?;
        let memory = pol_hardware::memory()?;
        let folder: Option<PathBuf> = work.facts.folder;
        let disk = folder.map(|folder| pol_hardware::disk_space(&folder)).transpose()?;
        let (started, since) = self.control.started();
        Ok(MachineReport {
            role: work.facts.role,
            account: work.facts.account,
            version: env!("CARGO_PKG_VERSION"),
            started: started.to_owned(),
            uptime_seconds: since.elapsed().as_secs_f64(),
            genesis: work.facts.genesis.map(|hash| format!("0x{}", hex::encode(hash))),
            tier: work.facts.tier.map(tier_name),
            processor: Processor {
                name: machine.cpu.clone(),
                cores: machine.cores,
                avx2: machine.avx2,
                avx512: machine.avx512,
            },
            gpus: machine.gpus.clone(),
            workers: work.facts.workers,
            memory: Memory {
                size_bytes: memory.size_bytes,
                available_bytes: memory.available_bytes,
                resident_bytes: memory.resident_bytes,
            },
            disk: disk
                .map(|disk| Disk { size_bytes: disk.size_bytes, free_bytes: disk.free_bytes }),
            numerics: profile(work.facts.numerics),
            activity: work.activity,
            progress: work.progress,
        })
    }

    fn machine(&self) -> Result<&Machine, HardwareError> {
        if let Some(machine) = self.machine.get() {
            return Ok(machine);
        }
        let found = pol_hardware::detect(Path::new("."))?;
        Ok(self.machine.get_or_init(|| found))
    }
}

fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Mobile => "mobile",
        Tier::Participant => "participant",
        Tier::Miner => "miner",
        Tier::Whale => "whale",
    }
}

/// Returns the name of the profile that a process computes under. Without a recipe it takes the
/// kernels that the environment gives.
fn profile(numerics: Option<Numerics>) -> &'static str {
    match numerics {
        Some(Numerics::Exact) => "exact",
        Some(Numerics::Native { .. }) | None => "native",
    }
}

/// Describes the machine and the work of this process.
#[utoipa::path(
    get,
    path = "/machine",
    tag = "This process",
    responses(
        (status = 200, body = MachineReport),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn machine(State(described): State<Described>) -> Result<Json<MachineReport>, ApiError> {
    let report = tokio::task::spawn_blocking(move || described.report())
        .await
        .map_err(|error| ApiError::Internal(error.to_string()))?;
    report.map(Json).map_err(|error| ApiError::Internal(error.to_string()))
}

/// Returns the endpoint.
pub(super) fn routes(control: Control) -> OpenApiRouter {
    let described = Described { control, machine: Arc::default() };
    OpenApiRouter::new().routes(routes!(machine)).with_state(described)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_described_before_it_has_an_account() {
        let control = Control::new("trainer");
        control.describe(|facts| facts.folder = Some("not/created/yet".into()));
        let report = Described { control, machine: Arc::default() }.report().unwrap();
        assert_eq!((report.role, report.account), ("trainer", None));
        assert_eq!((report.numerics, profile(Some(Numerics::Exact))), ("native", "exact"));
        assert!(report.processor.cores > 0 && report.memory.size_bytes > 0);
        assert!(report.disk.is_some_and(|disk| disk.size_bytes > 0));
    }
}
