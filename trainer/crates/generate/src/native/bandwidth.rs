// SPDX-License-Identifier: Apache-2.0

//! Speed at which memory is read, which bounds the speed of a single sequence.

use super::huge_pages::reserve_huge;
use crate::Error;
use rayon::prelude::*;
use std::{hint::black_box, time::Instant};

/// Bytes that are read at a time: more than caches hold.
const BYTES: usize = 1 << 29;
/// Numbers of a task.
const PART: usize = 1 << 16;
/// Times that all are read.
const TIMES: usize = 8;

/// Returns the bytes that `threads` threads read from memory in a second, the most of several
/// times.
///
/// # Errors
///
/// Fails if threads cannot be started.
pub fn memory_bandwidth(threads: usize) -> Result<f64, Error> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Error::Threads(error.to_string()))?;
    let mut numbers: Vec<u64> = Vec::new();
    reserve_huge(&mut numbers, BYTES / size_of::<u64>());
    numbers.resize(BYTES / size_of::<u64>(), 1);
    let sum = |part: &[u64]| part.iter().fold(0u64, |sum, number| sum.wrapping_add(*number));
    let mut most = 0.0f64;
    for _ in 0..TIMES {
        let start = Instant::now();
        let total =
            pool.install(|| numbers.par_chunks(PART).map(sum).reduce(|| 0, u64::wrapping_add));
        black_box(total);
        most = most.max(BYTES as f64 / start.elapsed().as_secs_f64());
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_a_speed() {
        let speed = memory_bandwidth(2).unwrap();
        assert!((1e8..1e13).contains(&speed), "{speed}");
    }
}
