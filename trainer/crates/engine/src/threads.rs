// SPDX-License-Identifier: Apache-2.0

//! Threads that share the work on a batch.

use crate::EngineError;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Products of a token with a parameter that keep a thread busy for some milliseconds. A batch has
/// about a hundred operators, and threads wait for each other after each.
const WORK_OF_THREAD: usize = 1 << 26;

/// Starts threads for batches of `tokens` tokens through `parameters` parameters: as many as are
/// worth it, and at most `most`. No result depends on their number.
pub(crate) fn pool(
    tokens: usize,
    parameters: usize,
    most: usize,
) -> Result<ThreadPool, EngineError> {
    let worth = 1 + tokens.saturating_mul(parameters) / WORK_OF_THREAD;
    let builder = ThreadPoolBuilder::new().thread_name(|index| format!("compute-{index}"));
    builder.num_threads(worth.min(most.max(1))).build().map_err(EngineError::Threads)
}
