// SPDX-License-Identifier: Apache-2.0

//! Instruction sets, and the choice among them.

use crate::simd::{Portable, Simd};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Place in [`Kernels::all`] of the set that was chosen, plus one; zero for none.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// The kernels of one instruction set.
///
/// All sets give the same bits. [`Kernels::best`] is the fastest one, and tests try [`all`].
///
/// [`all`]: Kernels::all
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(crate::simd::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(crate::simd::Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(crate::simd::Neon),
}

/// Work that is compiled for each instruction set.
pub(crate) trait Task {
    /// Result of the work.
    type Output;

    /// Does the work. It has to be inlined, or else it is compiled for the least processor.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

impl Kernels {
    /// Returns the kernels of every set that this processor has, the fastest first.
    pub fn all() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            sets.extend(crate::simd::Avx512::detect().map(Set::Avx512));
            sets.extend(crate::simd::Avx2::detect().map(Set::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        sets.extend(crate::simd::Neon::detect().map(Set::Neon));
        sets.push(Set::Portable(Portable));
        sets.into_iter().map(Self).collect()
    }

    /// Returns the kernels of the fastest set that this processor has, or those that were
    /// [chosen](Self::choose).
    pub fn best() -> Self {
        let chosen = CHOSEN.load(Ordering::Relaxed).saturating_sub(1);
        Self::all().get(chosen).copied().unwrap_or(Self(Set::Portable(Portable)))
    }

    /// Has [`best`](Self::best) return these kernels everywhere in this process, to measure them
    /// and to compare sets. What runs goes on with those that it has.
    pub fn choose(self) {
        let place = Self::all().iter().position(|&kernels| kernels == self);
        CHOSEN.store(place.map_or(0, |place| place + 1), Ordering::Relaxed);
    }

    /// Returns the name of the set.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "AVX-512",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "NEON",
        }
    }

    /// Does `task` with the instructions of the set.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self.0 {
            Set::Portable(simd) => task.run(simd),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a value of the type exists only where the processor has AVX2 and FMA.
            Set::Avx2(simd) => unsafe { with_avx2(task, simd) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a value of the type exists only where the processor has AVX-512F.
            Set::Avx512(simd) => unsafe { with_avx512(task, simd) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: a value of the type exists only where the processor has NEON.
            Set::Neon(simd) => unsafe { with_neon(task, simd) },
        }
    }

    /// Returns rows and columns of the tiles of products.
    pub(crate) fn tile(self) -> (usize, usize) {
        struct Size;
        impl Task for Size {
            type Output = (usize, usize);

            fn run<S: Simd>(self, _: S) -> (usize, usize) {
                (S::ROWS, S::COLUMNS)
            }
        }
        self.run(Size)
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<T: Task>(task: T, simd: crate::simd::Avx2) -> T::Output {
    task.run(simd)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn with_avx512<T: Task>(task: T, simd: crate::simd::Avx512) -> T::Output {
    task.run(simd)
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn with_neon<T: Task>(task: T, simd: crate::simd::Neon) -> T::Output {
    task.run(simd)
}
