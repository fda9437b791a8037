// SPDX-License-Identifier: Apache-2.0

//! Threads that share the work on a batch.

use crate::EngineError;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::{
    collections::BTreeMap,
    hint::black_box,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Products of a token with a parameter that keep a thread busy for some milliseconds. A batch has
/// about a hundred operators, and threads wait for each other after each.
const WORK_OF_THREAD: usize = 1 << 26;

/// Pools that nobody uses, by their number of threads. They sleep and are never ended: threads that
/// end while the process does may run after what they use is gone.
static IDLE: Mutex<BTreeMap<usize, Vec<Arc<ThreadPool>>>> = Mutex::new(BTreeMap::new());

/// Set if batches are shared among all allowed threads, however small they are.
static SHARES_ALL: AtomicBool = AtomicBool::new(false);

/// Threads of one computation. Another one at the same time has its own, since a thread of rayon
/// that waits in one may take up the other and let the first wait for all of it.
pub(crate) struct Threads {
    pool: Arc<ThreadPool>,
}

impl Threads {
    /// Returns threads for batches of `tokens` tokens through `parameters` parameters: as many as
    /// are worth it, and at most `most`. No result depends on their number.
    ///
    /// # Errors
    ///
    /// Fails if not even one thread can be started, or if threads do not compute as IEEE 754 says.
    pub(crate) fn new(tokens: usize, parameters: usize, most: usize) -> Result<Self, EngineError> {
        let worth = match SHARES_ALL.load(Ordering::Relaxed) {
            true => usize::MAX,
            false => threads_worth(tokens, parameters),
        };
        let count = worth.min(most.max(1));
        let idle = idle_pools().get_mut(&count).and_then(Vec::pop);
        let pool = idle.map_or_else(|| start(count).map(Arc::new), Ok)?;
        Ok(Self { pool })
    }
}

impl Deref for Threads {
    type Target = ThreadPool;

    fn deref(&self) -> &ThreadPool {
        &self.pool
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let count = self.pool.current_num_threads();
        idle_pools().entry(count).or_default().push(Arc::clone(&self.pool));
    }
}

/// Returns the number of threads that batches of `tokens` tokens through `parameters` parameters
/// are worth.
fn threads_worth(tokens: usize, parameters: usize) -> usize {
    1 + tokens.saturating_mul(parameters) / WORK_OF_THREAD
}

/// Shares all further batches of this process among as many threads as are allowed, though they may
/// not be worth it. So tests compare numbers of threads on small models.
#[doc(hidden)]
pub fn share_all_batches() {
    SHARES_ALL.store(true, Ordering::Relaxed);
}

/// Runs `work`, whose kernels compute on one thread.
///
/// # Errors
///
/// Fails if the thread cannot be started, or if it does not compute as IEEE 754 says.
pub fn on_one_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, EngineError> {
    Ok(Threads::new(1, 1, 1)?.install(work))
}

fn idle_pools() -> MutexGuard<'static, BTreeMap<usize, Vec<Arc<ThreadPool>>>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts `count` threads, or fewer where the system refuses so many.
fn start(mut count: usize) -> Result<ThreadPool, EngineError> {
    loop {
        let builder = ThreadPoolBuilder::new().thread_name(|index| format!("compute-{index}"));
        match builder.num_threads(count).build() {
            Ok(pool) if pool.broadcast(|_| keeps_subnormals()).into_iter().all(|is_so| is_so) => {
                return Ok(pool);
            }
            Ok(_) => return Err(EngineError::Flushed),
            Err(error) if count == 1 => return Err(EngineError::Threads(error)),
            Err(error) => {
                tracing::warn!("cannot start {count} threads: {error}; trying half as many");
                count /= 2;
            }
        }
    }
}

/// Returns `true` if this thread keeps subnormal numbers and rounds to nearest, ties to even. A
/// library may have set it up otherwise.
fn keeps_subnormals() -> bool {
    let product = black_box(f32::MIN_POSITIVE) * black_box(0.5);
    let sum = black_box(f32::from_bits(1)) + black_box(f32::from_bits(1));
    let tie = black_box(1f32) + black_box(f32::EPSILON / 2.0);
    (product.to_bits(), sum.to_bits(), tie) == (1 << 22, 2, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_follow_the_work_and_the_limit() {
        assert_eq!([1, 63, 64, 256].map(|tokens| threads_worth(tokens, 1 << 20)), [1, 1, 2, 5]);
        assert_eq!(threads_worth(usize::MAX, 2), 1 + usize::MAX / WORK_OF_THREAD);
        // Work that is worth them, so that sharing in other tests of this process does not matter.
        let count = |most| Threads::new(256, 1 << 20, most).unwrap().current_num_threads();
        assert_eq!([count(3), count(2), count(0)], [3, 2, 1]);
    }

    #[test]
    fn all_batches_are_shared_on_request() {
        share_all_batches();
        let count = |most| Threads::new(1, 1, most).unwrap().current_num_threads();
        assert_eq!([count(5), count(1), count(0)], [5, 1, 1]);
    }

    #[test]
    fn computations_at_the_same_time_have_their_own_threads() {
        // A number of threads that no other test has.
        let new = || Threads::new(usize::MAX, 1, 11).unwrap();
        let (first, second) = (new(), new());
        let place = |threads: &Threads| threads.install(|| std::thread::current().id());
        let [a, b] = [&first, &second].map(|threads| threads.broadcast(|_| place(threads)));
        assert!(a.iter().all(|id| !b.contains(id)));
        drop((first, second));
        let again = new();
        let ids = again.broadcast(|_| place(&again));
        assert!(a.contains(&ids[0]) || b.contains(&ids[0]), "idle threads are used again");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn threads_that_flush_subnormals_are_noticed() {
        use std::arch::asm;
        assert!(keeps_subnormals());
        let flushes = std::thread::spawn(|| {
            // All exceptions masked, and subnormals flushed in results and in arguments.
            let flushing = 0x9fc0u32;
            // SAFETY: only this thread's arithmetic changes, and it ends right after.
            unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const flushing) };
            !keeps_subnormals()
        });
        assert!(flushes.join().unwrap());
    }
}
