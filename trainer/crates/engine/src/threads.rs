// SPDX-License-Identifier: Apache-2.0

//! Threads that share the work on a batch.

use crate::EngineError;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Products of a token with a parameter that keep a thread busy for some milliseconds. A batch has
/// about a hundred operators, and threads wait for each other after each.
const WORK_OF_THREAD: usize = 1 << 26;

/// Pools of this process by their number of threads. They sleep between batches and are never
/// ended: threads that end while the process does may run after what they use is gone.
static POOLS: Mutex<BTreeMap<usize, Arc<ThreadPool>>> = Mutex::new(BTreeMap::new());

/// Returns threads for batches of `tokens` tokens through `parameters` parameters: as many as are
/// worth it, and at most `most`. No result depends on their number.
pub(crate) fn pool(
    tokens: usize,
    parameters: usize,
    most: usize,
) -> Result<Arc<ThreadPool>, EngineError> {
    let worth = 1 + tokens.saturating_mul(parameters) / WORK_OF_THREAD;
    let count = worth.min(most.max(1));
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.get(&count) {
        return Ok(Arc::clone(pool));
    }
    let builder = ThreadPoolBuilder::new().thread_name(|index| format!("compute-{index}"));
    let pool = Arc::new(builder.num_threads(count).build().map_err(EngineError::Threads)?);
    pools.insert(count, Arc::clone(&pool));
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_follow_the_work_and_the_limit() {
        let count = |tokens, most| pool(tokens, 1 << 20, most).unwrap().current_num_threads();
        assert_eq!([count(1, 8), count(64, 8), count(256, 8), count(256, 3)], [1, 2, 5, 3]);
        assert_eq!([count(usize::MAX, 2), count(256, 0)], [2, 1]);
        assert!(Arc::ptr_eq(&pool(64, 1 << 20, 8).unwrap(), &pool(64, 1 << 20, 2).unwrap()));
    }
}
