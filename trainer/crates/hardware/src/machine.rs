// SPDX-License-Identifier: Apache-2.0

//! Description of the machine.

use crate::HardwareError;
use nvml_wrapper::Nvml;
use std::{ffi::OsStr, io, path::Path};
use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System,
};

/// File names of NVIDIA's management library. Drivers install the first one, development packages
/// add the second.
const NVML_LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// Resources of a machine that the process can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Cores that the process may run on.
    pub cores: usize,
    /// Memory that the process may use, in bytes, free or not.
    pub memory_bytes: u64,
    /// Free space on the disk of the state folder, in bytes.
    pub disk_free_bytes: u64,
    /// Name of the processor.
    pub cpu: String,
    /// `true` if the processor has AVX2.
    pub avx2: bool,
    /// `true` if the processor has AVX-512F.
    pub avx512: bool,
    /// Names of the NVIDIA GPUs.
    pub gpus: Vec<String>,
}

/// Describes this machine, with the disk of `path`. The path need not exist yet.
///
/// # Errors
///
/// Fails if the operating system does not tell cores, memory or free space.
pub fn detect(path: &Path) -> Result<Machine, HardwareError> {
    let refresh = RefreshKind::nothing()
        .with_memory(MemoryRefreshKind::nothing().with_ram())
        .with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(refresh).map_err(|error| HardwareError::Unknown {
        property: "memory and processor",
        source: io::Error::other(error.to_string()),
    })?;
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    let cpu = system.cpus().first().map(|cpu| cpu.brand().trim()).filter(|brand| !brand.is_empty());
    let cores = std::thread::available_parallelism()
        .map_err(|source| HardwareError::Unknown { property: "cores", source })?;
    let (avx2, avx512) = vector_extensions();
    Ok(Machine {
        cores: cores.get(),
        memory_bytes: system.total_memory().min(limit),
        disk_free_bytes: free_space(path)?,
        cpu: cpu.unwrap_or(std::env::consts::ARCH).to_owned(),
        avx2,
        avx512,
        gpus: gpu_names(&NVML_LIBRARIES),
    })
}

#[cfg(target_arch = "x86_64")]
fn vector_extensions() -> (bool, bool) {
    (is_x86_feature_detected!("avx2"), is_x86_feature_detected!("avx512f"))
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_extensions() -> (bool, bool) {
    (false, false)
}

/// Returns the names of the NVIDIA GPUs. A machine without the driver or its library has none.
fn gpu_names(libraries: &[&str]) -> Vec<String> {
    let load = |library: &&str| Nvml::builder().lib_path(OsStr::new(library)).init().ok();
    let Some(nvml) = libraries.iter().find_map(load) else { return Vec::new() };
    let name = |index| nvml.device_by_index(index).ok()?.name().ok();
    (0..nvml.device_count().unwrap_or(0)).filter_map(name).collect()
}

/// Memory of a machine and of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Memory that the process may use, in bytes, free or not.
    pub size_bytes: u64,
    /// Free memory of that, in bytes.
    pub available_bytes: u64,
    /// Memory that the process uses, in bytes.
    pub resident_bytes: Option<u64>,
}

/// Returns the memory of this machine and of this process as they are now.
///
/// # Errors
///
/// Fails if the operating system does not tell.
pub fn memory() -> Result<MemoryUse, HardwareError> {
    let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let mut system = System::new_with_specifics(refresh).map_err(|error| {
        HardwareError::Unknown { property: "memory", source: io::Error::other(error.to_string()) }
    })?;
    let (size, free) = system
        .cgroup_limits()
        .map_or((u64::MAX, u64::MAX), |limits| (limits.total_memory, limits.free_memory));
    let own = sysinfo::get_current_pid().ok();
    if let Some(own) = own {
        let refresh = ProcessRefreshKind::nothing().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, refresh);
    }
    Ok(MemoryUse {
        size_bytes: system.total_memory().min(size),
        available_bytes: system.available_memory().min(free),
        resident_bytes: own.and_then(|own| system.process(own)).map(|process| process.memory()),
    })
}

/// Space on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Space that the process may still use, in bytes.
    pub free_bytes: u64,
    /// Size of the disk, in bytes.
    pub size_bytes: u64,
}

/// Returns the space on the disk of `path`, which need not exist yet.
///
/// # Errors
///
/// Fails if the operating system does not tell.
pub fn disk_space(path: &Path) -> Result<DiskSpace, HardwareError> {
    let unknown = |source| HardwareError::Unknown { property: "disk", source };
    let path = std::path::absolute(path).map_err(unknown)?;
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(&path);
    let disk = rustix::fs::statvfs(existing).map_err(|errno| unknown(errno.into()))?;
    Ok(DiskSpace {
        free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
        size_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
    })
}

/// Returns the free space on the disk of `path`, in bytes. The path need not exist yet.
fn free_space(path: &Path) -> Result<u64, HardwareError> {
    Ok(disk_space(path)?.free_bytes)
}

/// Checks that `bytes` more can be written at `path`, which need not exist yet.
///
/// # Errors
///
/// Fails if the disk has less free space, or if the operating system does not tell.
pub fn require_disk(path: &Path, bytes: u64) -> Result<(), HardwareError> {
    let free = free_space(path)?;
    if free >= bytes {
        Ok(())
    } else {
        Err(HardwareError::TooLittleDisk { path: path.to_owned(), free, needed: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let machine = detect(&folder.path().join("not/yet")).unwrap();
        assert!(machine.cores >= 1 && machine.memory_bytes > 64 << 20 && !machine.cpu.is_empty());
        assert!(machine.avx2 || !machine.avx512);
        assert!(detect(Path::new("relative/state")).is_ok());
    }

    #[test]
    fn this_process_uses_a_part_of_the_memory() {
        let memory = memory().unwrap();
        assert!(memory.available_bytes <= memory.size_bytes, "{memory:?}");
        let resident = memory.resident_bytes.unwrap();
        assert!(resident > 1 << 20 && resident < memory.size_bytes, "{memory:?}");
    }

    #[test]
    fn a_disk_has_no_more_free_space_than_it_has() {
        let space = disk_space(Path::new("not/created/yet")).unwrap();
        assert!(space.size_bytes > 0 && space.free_bytes <= space.size_bytes, "{space:?}");
    }

    #[test]
    fn a_full_disk_is_noticed_before_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(require_disk(&path, 0).is_ok());
        let error = require_disk(&path, u64::MAX).unwrap_err();
        assert!(matches!(
            &error,
            HardwareError::TooLittleDisk { path: at, needed: u64::MAX, .. } if *at == path
        ));
        assert!(error.to_string().contains("free some"), "{error}");
    }

    #[test]
    fn a_machine_without_the_drivers_library_has_no_gpus() {
        assert!(gpu_names(&[]).is_empty());
        assert!(gpu_names(&["libpol-no-such-library.so"]).is_empty());
        // The C library can be loaded, and is not NVIDIA's.
        assert!(gpu_names(&["libc.so.6"]).is_empty());
    }
}
