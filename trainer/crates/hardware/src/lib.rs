//! What this machine is, and the tier that fits it.
//!
//! Facts are what the process may use, not what is built in: cores of its affinity mask and quota,
//! memory of its control group. Decisions are pure functions of [`Machine`] and [`Recipe`].
#![deny(missing_docs)]

use pol_primitives::{
    model::{Norm, Positions},
    recipe::{Recipe, Tier},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// Share of the memory that training may take; the rest is for the system and for peers' requests.
const MEMORY_PERCENT: u64 = 80;
/// What a process with libtorch holds before it has a model, in bytes.
const PROCESS: u64 = 512 << 20;
/// Bytes of a float32.
const FLOAT: u64 = 4;
/// Vectors as long as the model that training holds at once: the parameters, the head they started
/// from, both moments of Adam, the error feedback, the summed gradient, and a copy being hashed or
/// written.
const VECTORS: u64 = 7;
/// Vectors as long as the model that each worker holds: its view of the parameters, and its
/// gradient.
const WORKER_VECTORS: u64 = 2;
/// One entry for every graphics card, where NVIDIA's driver is loaded.
const NVIDIA: &str = "/proc/driver/nvidia/gpus";

/// What a process can use of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Cores the process may run on.
    pub cores: usize,
    /// Memory the process may use, in bytes, free or not.
    pub memory_bytes: u64,
    /// Bytes the process may still write where it keeps its state.
    pub disk_free_bytes: u64,
    /// The processor's name.
    pub cpu: String,
    /// Whether it has AVX2.
    pub avx2: bool,
    /// Whether it has the foundation of AVX-512.
    pub avx512: bool,
    /// Names of NVIDIA graphics cards.
    pub gpus: Vec<String>,
}

/// Why a machine cannot be described, or cannot train.
#[derive(Debug, thiserror::Error)]
pub enum HardwareError {
    /// The operating system would not say.
    #[error("cannot find out about this machine's {what}: {source}")]
    Unknown {
        /// What was asked for.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Too little memory for the model in any tier that suits the machine.
    #[error(
        "training this model needs {} of memory, and {MEMORY_PERCENT} % of this machine's {} is not enough; raise the memory \
         limit or use a larger machine", Size(*needed), Size(*memory)
    )]
    Memory {
        /// Bytes the least demanding tier needs.
        needed: u64,
        /// Bytes there are.
        memory: u64,
    },
    /// Too little space on the disk.
    #[error("{} has {} free and {} are needed; free some or choose a folder on another disk", path.display(), Size(*free), Size(*needed))]
    Disk {
        /// The folder asked about.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
}

/// A number of bytes for people.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mebibytes = self.0 as f64 / f64::from(1 << 20);
        if mebibytes < 1024.0 {
            write!(f, "{mebibytes:.0} MiB")
        } else {
            write!(f, "{:.1} GiB", mebibytes / 1024.0)
        }
    }
}

/// Describes this machine, with the disk that `path` is or will be on.
pub fn detect(path: &Path) -> Result<Machine, HardwareError> {
    let refresh = RefreshKind::nothing()
        .with_memory(MemoryRefreshKind::nothing().with_ram())
        .with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(refresh).map_err(|error| HardwareError::Unknown {
        what: "memory and processor",
        source: io::Error::other(error.to_string()),
    })?;
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    let cpu = system.cpus().first().map(|cpu| cpu.brand().trim()).filter(|brand| !brand.is_empty());
    let cores = std::thread::available_parallelism()
        .map_err(|source| HardwareError::Unknown { what: "cores", source })?;
    let (avx2, avx512) = vector_extensions();
    Ok(Machine {
        cores: cores.get(),
        memory_bytes: system.total_memory().min(limit),
        disk_free_bytes: free_space(path)?,
        cpu: cpu.unwrap_or(std::env::consts::ARCH).to_owned(),
        avx2,
        avx512,
        gpus: gpus(Path::new(NVIDIA)),
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

/// Names of the cards in the driver's folder, in the order of their addresses.
fn gpus(folder: &Path) -> Vec<String> {
    let mut cards: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    cards.sort();
    cards
        .iter()
        .filter_map(|card| fs::read_to_string(card.join("information")).ok())
        .filter_map(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("Model:"))
                .map(|name| name.trim().to_owned())
        })
        .collect()
}

/// Bytes that may still be written at `path`, which need not exist yet.
fn free_space(path: &Path) -> Result<u64, HardwareError> {
    let unknown = |source| HardwareError::Unknown { what: "disk", source };
    let path = std::path::absolute(path).map_err(unknown)?;
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(&path);
    let disk = rustix::fs::statvfs(existing).map_err(|errno| unknown(errno.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Makes sure that `bytes` more can be written at `path`, which need not exist yet.
pub fn require_disk(path: &Path, bytes: u64) -> Result<(), HardwareError> {
    let free = free_space(path)?;
    if free >= bytes {
        Ok(())
    } else {
        Err(HardwareError::Disk { path: path.to_owned(), free, needed: bytes })
    }
}

/// Estimate, in bytes, of what training as `tier` with `workers` micro-batches at a time takes, in
/// float32.
///
/// With `P` parameters, `T` tokens in a micro-batch, `s` in a sequence, `l` layers, width `d`, `h`
/// heads of together width `a`, queries, keys and values of together width `q`, feed-forward width
/// `f` and vocabulary `V`:
///
/// ```text
/// 512 MiB + 4 · (7·P + workers · (2·P + T · (l · (n·d + r·q + 3·h·s + 2·a + 2·d + g·f) + 2·d + 3·V)))
/// ```
///
/// Of each layer the backward pass needs the inputs and outputs of the norms (`n` is 2 a LayerNorm
/// and 4 an RMSNorm, which is written out), queries, keys and values as computed, as turned and as
/// laid out by head (`r` is 2, with rotary positions 5), the attention's scores before, under and
/// after the mask and softmax (3·h·s), its output twice and both projections, and the feed-forward
/// part before and after its activation (`g` is 2, gated 4, and that for each active expert). Of
/// the output it needs the final norm's input and output, and the logits, their logarithms of
/// probabilities and gradients.
pub fn memory_needed(recipe: &Recipe, tier: Tier, workers: usize) -> u64 {
    let spec = &recipe.model;
    let [v, d, l, h, f] =
        [spec.vocabulary, spec.width, spec.layers.into(), spec.heads.into(), spec.feed_forward]
            .map(u64::from);
    let [attention, projected] =
        [spec.attention_width(), spec.query_key_value_width()].map(u64::from);
    let norms = if spec.parallel { 1 } else { 2 }
        * if matches!(spec.norm, Norm::Layer { .. }) { 2 } else { 4 };
    let copies = if spec.positions == Positions::Learned { 2 } else { 5 };
    let active = spec.experts.map_or(1, |experts| experts.active.into());
    let inner = if spec.gated { 4 } else { 2 } * active;
    let sequence = u64::from(recipe.sequence);
    let tokens = u64::from(recipe.tier(tier).micro_batch) * sequence;
    let layer = (norms + 2) * d + copies * projected + 3 * h * sequence + 2 * attention + inner * f;
    let activations = tokens.saturating_mul(l * layer + 2 * d + 3 * v);
    let parameters = recipe.model.size();
    let worker = parameters.saturating_mul(WORKER_VECTORS).saturating_add(activations);
    parameters
        .saturating_mul(VECTORS)
        .saturating_add(worker.saturating_mul(workers as u64))
        .saturating_mul(FLOAT)
        .saturating_add(PROCESS)
}

/// Bytes that training may take.
fn budget(machine: &Machine) -> u64 {
    machine.memory_bytes / 100 * MEMORY_PERCENT
}

/// The largest tier whose lease a machine can be expected to finish in time:
///
/// | tier | cores |
/// |---|---|
/// | whale | 64, or 16 and a graphics card |
/// | miner | 16 |
/// | participant | 4 |
/// | mobile | fewer |
///
/// A graphics card alone makes no data-centre machine: what is trained bit for bit is trained on
/// the processor.
fn class(machine: &Machine) -> Tier {
    match machine.cores {
        0..4 => Tier::Mobile,
        4..16 => Tier::Participant,
        16..64 if machine.gpus.is_empty() => Tier::Miner,
        _ => Tier::Whale,
    }
}

/// The largest tier that suits the machine's cores (64, or 16 and a graphics card: whale; 16:
/// miner; 4: participant; fewer: mobile) and whose training with one worker fits in 80 % of its
/// memory.
pub fn fitting_tier(machine: &Machine, recipe: &Recipe) -> Result<Tier, HardwareError> {
    let class = class(machine);
    let suiting = || Tier::ALL.into_iter().filter(move |tier| *tier <= class);
    suiting().rfind(|tier| memory_needed(recipe, *tier, 1) <= budget(machine)).ok_or_else(|| {
        HardwareError::Memory {
            needed: suiting().map(|tier| memory_needed(recipe, tier, 1)).min().unwrap_or(u64::MAX),
            memory: machine.memory_bytes,
        }
    })
}

/// Micro-batches to compute at a time: one a core, as many as a step has, as many as fit in 80 % of
/// the memory, and at least one.
pub fn workers(machine: &Machine, recipe: &Recipe, tier: Tier) -> usize {
    let most = machine.cores.min(usize::from(recipe.tier(tier).accumulation)).max(1);
    (1..=most)
        .rev()
        .find(|&workers| memory_needed(recipe, tier, workers) <= budget(machine))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{
        MILLION,
        model::ModelSpec,
        recipe::{AdamW, Compression, Numerics, Schedule, TierParameters},
    };

    const GIB: u64 = 1 << 30;

    fn machine(cores: usize, memory_bytes: u64, gpus: usize) -> Machine {
        let gpus = vec!["NVIDIA H200".to_owned(); gpus];
        Machine {
            cores,
            memory_bytes,
            disk_free_bytes: 0,
            cpu: String::new(),
            avx2: true,
            avx512: false,
            gpus,
        }
    }

    /// GPT-2 of 124 million parameters, with micro-batches of 1, 4, 8 and 16 sequences.
    fn recipe() -> Recipe {
        let tier = |micro_batch, accumulation| TierParameters {
            micro_batch,
            accumulation,
            inner_steps: 10,
            cadence: 1,
        };
        Recipe {
            model: ModelSpec::gpt2(50_257, 768, 12, 12, 3_072, 1_024),
            tokenizer: [1; 32],
            seed: [2; 32],
            pretrained: None,
            rewrite: None,
            sequence: 1_024,
            shard_tokens: 1 << 20,
            tiers: [tier(1, 2), tier(4, 8), tier(8, 16), tier(16, 32)],
            optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
            schedule: Schedule {
                peak: 1_000_000,
                warmup_steps: 20,
                decay_tokens: 0,
                floor: 100_000,
            },
            gradient_clip: MILLION,
            outer_rate: MILLION,
            compression: Compression { top_k: 256, feedback: 950_000 },
            segments: 10,
            numerics: Numerics::Exact,
        }
    }

    #[test]
    fn memory_follows_its_formula() {
        let recipe = recipe();
        assert!(recipe.validate().is_ok());
        let activations =
            1_024 * (12 * (14 * 768 + 2 * 3_072 + 3 * 12 * 1_024) + 2 * 768 + 3 * 50_257);
        assert_eq!(memory_needed(&recipe, Tier::Mobile, 0), (512 << 20) + 4 * 7 * 124_439_808);
        let worker = 4 * (2 * 124_439_808 + activations);
        assert_eq!(
            memory_needed(&recipe, Tier::Mobile, 3),
            (512 << 20) + 4 * 7 * 124_439_808 + 3 * worker
        );
        assert!(memory_needed(&recipe, Tier::Whale, 1) > memory_needed(&recipe, Tier::Miner, 1));
        assert_eq!(memory_needed(&recipe, Tier::Whale, usize::MAX), u64::MAX);
    }

    #[test]
    fn the_largest_models_do_not_overflow() {
        let mut recipe = recipe();
        let largest = ModelSpec::gpt2(1 << 20, 1 << 16, 512, 1 << 15, 1 << 18, 1 << 20);
        (recipe.model, recipe.sequence, recipe.tiers[3].micro_batch) =
            (largest, u16::MAX, u16::MAX);
        assert!(memory_needed(&recipe, Tier::Whale, 64) > 1 << 60);
    }

    #[test]
    fn the_tier_follows_cores_cards_and_memory() {
        let recipe = recipe();
        let tier =
            |cores, memory, gpus| fitting_tier(&machine(cores, memory, gpus), &recipe).unwrap();
        let much = 1_000 * GIB;
        assert_eq!(tier(2, much, 1), Tier::Mobile);
        assert_eq!(tier(4, much, 0), Tier::Participant);
        assert_eq!(tier(15, much, 1), Tier::Participant);
        assert_eq!(tier(16, much, 0), Tier::Miner);
        assert_eq!(tier(16, much, 1), Tier::Whale);
        assert_eq!(tier(64, much, 0), Tier::Whale);

        // Memory decides where there is less of it than the class wants.
        for (needs, below) in [
            (Tier::Whale, Tier::Miner),
            (Tier::Miner, Tier::Participant),
            (Tier::Participant, Tier::Mobile),
        ] {
            let needed = memory_needed(&recipe, needs, 1);
            assert_eq!(tier(64, needed * 126 / 100, 0), needs);
            assert_eq!(tier(64, needed * 124 / 100, 0), below);
        }
        let error = fitting_tier(&machine(64, 4 * GIB, 0), &recipe).unwrap_err();
        assert!(
            matches!(error, HardwareError::Memory { needed, memory } if needed == memory_needed(&recipe, Tier::Mobile, 1) && memory == 4 * GIB)
        );
        assert!(error.to_string().contains("of this machine's 4.0 GiB"), "{error}");
    }

    #[test]
    fn workers_are_bounded_by_cores_work_and_memory() {
        let recipe = recipe();
        let count = |cores, memory| workers(&machine(cores, memory, 0), &recipe, Tier::Participant);
        assert_eq!(count(2, 1_000 * GIB), 2);
        assert_eq!(count(64, 1_000 * GIB), 8);
        assert_eq!(count(64, memory_needed(&recipe, Tier::Participant, 3) * 126 / 100), 3);
        assert_eq!(count(64, memory_needed(&recipe, Tier::Participant, 3) * 124 / 100), 2);
        assert_eq!(count(64, 0), 1);
        assert_eq!(count(0, 1_000 * GIB), 1);
    }

    #[test]
    fn this_machine_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let machine = detect(&folder.path().join("not/yet")).unwrap();
        assert!(machine.cores >= 1 && machine.memory_bytes > 64 << 20 && !machine.cpu.is_empty());
        assert!(machine.avx2 || !machine.avx512);
        assert!(detect(Path::new("relative/state")).is_ok());
    }

    #[test]
    fn a_full_disk_is_noticed_before_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(require_disk(&path, 0).is_ok());
        let error = require_disk(&path, u64::MAX).unwrap_err();
        assert!(
            matches!(&error, HardwareError::Disk { path: at, needed: u64::MAX, .. } if *at == path)
        );
        assert!(error.to_string().contains("free some"), "{error}");
    }

    #[test]
    fn cards_are_read_from_the_driver() {
        let folder = tempfile::tempdir().unwrap();
        for (address, text) in [
            ("0000:41:00.0", "Model: \t\t NVIDIA H200\nIRQ:   12\n"),
            ("0000:01:00.0", "Model: A\n"),
            ("x", "IRQ: 1\n"),
        ] {
            fs::create_dir(folder.path().join(address)).unwrap();
            fs::write(folder.path().join(address).join("information"), text).unwrap();
        }
        fs::create_dir(folder.path().join("empty")).unwrap();
        assert_eq!(gpus(folder.path()), ["A", "NVIDIA H200"]);
        assert!(gpus(&folder.path().join("none")).is_empty());
    }
}
